//! An SD card with U-Boot's environment raw in its first partition: the disk of `arm64` and `armhf`. It has no write cache.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::uboot::{Copies, UBoot};
use super::{Kind, Slot};
use crate::disk::{self, MIB};
use crate::error::{Context, Result};
use crate::house::House;

const DATA: usize = 4;
/// Bytes of a copy of the environment and where the copies are, as in `qemu/u-boot/arm64.cfg`.
const ENV_SIZE: usize = 0x10000;
const COPIES: [u64; 2] = [MIB, MIB + ENV_SIZE as u64];

pub const MOUNTS: &[(&str, &str, &str)] = &[("/dev/mmcblk0p4", "/data", "ext4")];

/// The client's configuration of slots and boot loader.
pub const CLIENT: &str = "[slots]
a = \"/dev/mmcblk0p2\"
b = \"/dev/mmcblk0p3\"

[boot]
backend = \"uboot\"
";

/// The environment on a card.
pub fn copies(disk: &Path) -> Result<Copies> {
    let card = File::open(disk).context("open", disk.display())?;
    let mut copies = Copies([vec![0; ENV_SIZE], vec![0; ENV_SIZE]]);
    for (copy, at) in copies.0.iter_mut().zip(COPIES) {
        card.read_exact_at(copy, at).context("read", disk.display())?;
    }
    Ok(copies)
}

/// Changes the environment on the card of a machine that is off.
pub fn set_copies(disk: &Path, copies: &Copies) -> Result<()> {
    let card = File::options().write(true).open(disk).context("open", disk.display())?;
    let put = |(bytes, at): (&Vec<u8>, &u64)| card.write_all_at(bytes, *at).context("write", disk.display());
    copies.0.iter().zip(&COPIES).try_for_each(put)
}

/// What a slot has for U-Boot.
pub fn files(uboot: &UBoot) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let config = COPIES.map(|at| format!("/dev/mmcblk0 {at:#x} {ENV_SIZE:#x}\n")).concat();
    Ok(vec![("/etc/fw_env.config", config.into_bytes()), ("/etc/u-boot-initial-env", uboot.environment()?)])
}

/// See [`Kind::make_disk`].
pub fn make(kind: &dyn Kind, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()> {
    let uboot = UBoot::build(house, kind.name(), kind.architecture())?;
    uboot.install(disk)?;
    let env = std::fs::read(uboot.image(ENV_SIZE, COPIES.len(), work)?).context("read", work.display())?;
    let (layout, data) = (kind.layout(), work.join("data.ext4"));
    disk::data_file_system(&data, layout.0[DATA - 1].mib)?;
    layout.create(disk)?;
    layout.fill(disk, kind.partition(Slot::A), image)?;
    layout.fill(disk, DATA, &data)?;
    set_copies(disk, &Copies([env.clone(), env]))
}

/// Adds the card to a machine.
pub fn insert(qemu: &mut Command, disk: &str) {
    qemu.args(["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
    qemu.args(["-device", "sdhci-pci", "-device", "sd-card,drive=disk"]);
}
