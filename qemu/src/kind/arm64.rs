//! `arm64`: QEMU's `virt` machine as a board would be: U-Boot with its environment raw on an SD card, Debian's generic
//! kernel with an initramfs, and a hardware watchdog.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::uboot::{Copies, UBoot, BINARY};
use super::{Kind, Loader, Slot};
use crate::disk::{self, Layout, Partition, MIB};
use crate::error::{Context, Result};
use crate::house::House;
use crate::run;

pub struct Arm64;

const DATA: usize = 4;
/// The size of an SD card must be a power of two for QEMU: 256 MiB, with 1 MiB at either end.
const PARTITIONS: &[Partition] = &[
    Partition { name: "uboot-env", kind: "8300", mib: 1 },
    Partition { name: "rootfs_A", kind: "8300", mib: 96 },
    Partition { name: "rootfs_B", kind: "8300", mib: 96 },
    Partition { name: "data", kind: "8300", mib: 61 },
];
/// Bytes of a copy of the environment and where the copies are, as in `qemu/u-boot/arm64.cfg`.
const ENV_SIZE: usize = 0x10000;
const COPIES: [u64; 2] = [MIB, MIB + ENV_SIZE as u64];

impl Arm64 {
    /// The environment on the disk of a machine.
    pub fn copies(&self, disk: &Path) -> Result<Copies> {
        let partition = self.layout().take(disk, 1)?;
        let copy = |at: u64| partition[(at - MIB) as usize..][..ENV_SIZE].to_vec();
        Ok(Copies(COPIES.map(copy)))
    }

    /// Changes the environment on the disk of a machine that is off.
    pub fn set_copies(&self, disk: &Path, copies: &Copies) -> Result<()> {
        let file = OpenOptions::new().write(true).open(disk).context("open", disk.display())?;
        let put =
            |(bytes, at): (&Vec<u8>, &u64)| file.write_all_at(bytes, *at).context("write", disk.display());
        copies.0.iter().zip(&COPIES).try_for_each(put)
    }
}

impl Kind for Arm64 {
    fn name(&self) -> &'static str {
        "arm64"
    }

    fn device_type(&self) -> &'static str {
        "qemu-arm64"
    }

    fn architecture(&self) -> &'static str {
        "arm64"
    }

    fn kernel(&self) -> &'static str {
        "linux-image-arm64"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["virtio_pci", "virtio_net"]
    }

    fn early_modules(&self) -> &'static [&'static str] {
        &["i6300esb", "sdhci_pci", "crc32c_generic", "ext4"]
    }

    fn files(&self, house: &House) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let line = |at: u64| format!("/dev/mmcblk0 {at:#x} {ENV_SIZE:#x}\n");
        let built_in = UBoot::build(house, self.name())?.environment()?;
        let config = COPIES.map(line).concat();
        Ok(vec![("/etc/fw_env.config", config.into_bytes()), ("/etc/u-boot-initial-env", built_in)])
    }

    fn services(&self) -> &'static str {
        "::respawn:/sbin/watchdog -F -T 60 -t 10 /dev/watchdog\n"
    }

    fn shell(&self) -> &'static str {
        "ttyS0"
    }

    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("/dev/mmcblk0p4", "/data", "ext4")]
    }

    fn trial_line(&self) -> &'static str {
        ", bootcount 1 of"
    }

    fn fall_back_line(&self) -> &'static str {
        "the trial is over"
    }

    fn client(&self) -> &'static str {
        "[slots]
a = \"/dev/mmcblk0p2\"
b = \"/dev/mmcblk0p3\"

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
        let uboot = UBoot::build(house, self.name())?;
        uboot.install(disk)?;
        let env = std::fs::read(uboot.image(ENV_SIZE, work)?).context("read", work.display())?;
        let (layout, data) = (self.layout(), work.join("data.ext4"));
        disk::data_file_system(&data, PARTITIONS[DATA - 1].mib)?;
        layout.create(disk)?;
        layout.fill(disk, self.partition(Slot::A), image)?;
        layout.fill(disk, DATA, &data)?;
        self.set_copies(disk, &Copies([env.clone(), env]))
    }

    fn qemu(&self, _folder: &Path, disk: &str) -> Result<Command> {
        let mut qemu = virt();
        qemu.args(["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
        qemu.args(["-device", "sdhci-pci", "-device", "sd-card,drive=disk"]);
        qemu.args(["-device", "i6300esb", "-watchdog-action", "reset"]);
        Ok(qemu)
    }

    fn has_write_cache(&self) -> bool {
        false
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        self.copies(disk)?.loader(disk)
    }
}

/// QEMU's `virt` machine with U-Boot, the console on its own serial port, the lab's shell on one behind PCI.
pub fn virt() -> Command {
    let mut qemu = run::dependent("qemu-system-aarch64");
    qemu.args("-accel tcg -M virt -cpu cortex-a53 -m 256 -smp 2 -nodefaults -display none".split(' '));
    qemu.args(["-bios", BINARY, "-serial", "stdio", "-device", "pci-serial,chardev=shell"]);
    qemu.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
    qemu
}
