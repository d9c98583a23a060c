//! `arm64-fast`: QEMU's `virt` machine with U-Boot and an NVMe disk, the environment in two files on a FAT partition.
//! Debian's cloud kernel has NVMe and ext4 built in, so the slot is started without an initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::uboot::{Copies, UBoot};
use super::{arm64, Kind, Loader, Slot};
use crate::disk::{self, Layout, Partition};
use crate::error::{Context, Result};
use crate::house::House;
use crate::run;

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
        let boot = disk.with_extension("boot");
        fs::write(&boot, self.layout().take(disk, BOOT)?).context("write", boot.display())?;
        let take = |name: &str| {
            let file = disk.with_extension(name);
            run::output(
                Command::new("mcopy").args(["-o", "-i"]).arg(&boot).arg(format!("::/{name}")).arg(&file),
            )?;
            fs::read(&file).context("read", file.display())
        };
        Ok(Copies([take(COPIES[0])?, take(COPIES[1])?]))
    }

    /// Changes the environment on the disk of a machine that is off.
    pub fn set_copies(&self, disk: &Path, copies: &Copies) -> Result<()> {
        let boot = format!("{}@@{}", disk.display(), self.layout().span(BOOT).0);
        for (name, bytes) in COPIES.iter().zip(&copies.0) {
            let file = disk.with_extension(name);
            fs::write(&file, bytes).context("write", file.display())?;
            run::output(
                Command::new("mcopy").args(["-o", "-i", &boot]).arg(&file).arg(format!("::/{name}")),
            )?;
        }
        Ok(())
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

    fn boot_loader(&self) -> &'static str {
        "U-Boot"
    }

    fn trial_line(&self) -> &'static str {
        ", bootcount 1 of"
    }

    fn fall_back_line(&self) -> &'static str {
        "the trial is over"
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

    fn partition(&self, slot: Slot) -> usize {
        match slot {
            Slot::A => 2,
            Slot::B => 3,
        }
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
