//! The disk image that the tree for Buildroot makes of `qemuarm64`, U-Boot's environment in emulated flash, and a kernel with this
//! project's fragments of its configuration: it starts, takes an update, and falls back.

use rota_qemu::boards;
use rota_qemu::error::Result;
use rota_qemu::kind::Maker;

#[test]
fn an_image_of_genimage_lives() -> Result<()> {
    boards::run("qemuarm64", Maker::Genimage)
}
