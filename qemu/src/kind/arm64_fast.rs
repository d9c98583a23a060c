//! `arm64-fast`: QEMU's `virt` machine with U-Boot and an NVMe disk, the environment in two files on a FAT partition.
//! Debian's cloud kernel has NVMe and ext4 built in, so the slot is started without an initramfs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::uboot::{self, Copies, UBoot};
use super::{arm64, BootLoader, Kind, Loader, Slot};
use crate::disk::{self, Layout, Partition};
use crate::error::Result;
use crate::house::House;

pub struct Arm64Fast;

const BOOT: usize = 1;
const DATA: usize = 4;
const PARTITIONS: &[Partition] = &[
    Partition { name: "boot", kind: "EF00", mib: 16 },
    Partition { name: "rootfs_A", kind: "8300", mib: 64 },
    Partition { name: "rootfs_B", kind: "8300", mib: 64 },
    Partition { name: "data", kind: "8300", mib: 32 },
];
/// Bytes of a copy of the environment, as in `qemu/u-boot/arm64-fast.cfg`.
const ENV_SIZE: usize = 0x4000;
const COPIES: [&str; 2] = ["uboot.env", "uboot-redund.env"];

impl Arm64Fast {
    /// The environment on the disk of a machine.
    pub fn copies(&self, disk: &Path) -> Result<Copies> {
        let take = |name| self.layout().read_file(disk, BOOT, name);
        Ok(Copies([take(COPIES[0])?, take(COPIES[1])?]))
    }

    /// Changes the environment on the disk of a machine that is off.
    pub fn set_copies(&self, disk: &Path, copies: &Copies) -> Result<()> {
        let mut copies = COPIES.iter().zip(&copies.0);
        copies.try_for_each(|(name, bytes)| self.layout().write_file(disk, BOOT, name, bytes))
    }
}

impl Kind for Arm64Fast {
    fn name(&self) -> &'static str {
        "arm64-fast"
    }

    fn device_type(&self) -> &'static str {
        "qemu-arm64-fast"
    }

    fn architecture(&self) -> &'static str {
        "arm64"
    }

    fn kernel(&self) -> &'static str {
        "linux-image-cloud-arm64"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["virtio_pci", "virtio_net", "vfat", "nls_cp437", "nls_ascii"]
    }

    fn files(&self, house: &House) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let config = COPIES.map(|name| format!("/boot/uboot/{name} 0x0 {ENV_SIZE:#x}\n")).concat();
        let built_in = UBoot::build(house, self.name(), self.architecture())?.environment()?;
        Ok(vec![("/etc/fw_env.config", config.into_bytes()), ("/etc/u-boot-initial-env", built_in)])
    }

    fn shell(&self) -> &'static str {
        "ttyS0"
    }

    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("/dev/nvme0n1p4", "/data", "ext4"), ("/dev/nvme0n1p1", "/boot/uboot", "vfat")]
    }

    fn boot_loader(&self) -> BootLoader {
        uboot::BOOT_LOADER
    }

    fn client(&self) -> &'static str {
        "[slots]
a = \"/dev/nvme0n1p2\"
b = \"/dev/nvme0n1p3\"

[boot]
backend = \"uboot\"
"
    }

    fn layout(&self) -> Layout {
        Layout(PARTITIONS)
    }

    fn make_disk(&self, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()> {
        let uboot = UBoot::build(house, self.name(), self.architecture())?;
        uboot.install(disk)?;
        let env = uboot.image(ENV_SIZE, COPIES.len(), work)?;
        let layout = self.layout();
        let (boot, data) = (work.join("boot.fat"), work.join("data.ext4"));
        let files: Vec<(PathBuf, String)> = COPIES.map(|name| (env.clone(), name.to_string())).into();
        disk::fat_file_system(&boot, PARTITIONS[BOOT - 1].mib, &[], &files)?;
        disk::data_file_system(&data, PARTITIONS[DATA - 1].mib)?;
        layout.create(disk)?;
        layout.fill(disk, BOOT, &boot)?;
        layout.fill(disk, self.partition(Slot::A), image)?;
        layout.fill(disk, DATA, &data)
    }

    fn qemu(&self, _folder: &Path, disk: &str) -> Result<Command> {
        let mut qemu = arm64::virt("aarch64", "virt", "cortex-a53");
        qemu.args(["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
        qemu.args(["-device", "nvme,drive=disk,serial=lab"]);
        Ok(qemu)
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        self.copies(disk)?.loader(disk)
    }
}
