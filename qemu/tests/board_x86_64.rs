//! The disk image that the tree for Buildroot makes of `qemux86-64`: it starts, takes an update, and falls back.

use rota_qemu::boards;
use rota_qemu::error::Result;
use rota_qemu::kind::Maker;

#[test]
fn an_image_of_genimage_lives() -> Result<()> {
    boards::run("qemux86-64", Maker::Genimage)
}
