//! `arm64`: QEMU's `virt` machine as a board would be: U-Boot with its environment raw on an SD card, Debian's generic
//! kernel with an initramfs, and a hardware watchdog.

use std::path::Path;
use std::process::Command;

use super::uboot::{self, UBoot, BINARY};
use super::{card, BootLoader, Copies, Kind, Loader};
use crate::disk::{Layout, Partition};
use crate::error::Result;
use crate::house::House;
use crate::run;

pub struct Arm64;

/// The size of an SD card must be a power of two for QEMU: 256 MiB, with 1 MiB at either end.
const PARTITIONS: &[Partition] = &[
    Partition { name: "uboot-env", kind: "8300", mib: 1 },
    Partition { name: "rootfs_A", kind: "8300", mib: 64 },
    Partition { name: "rootfs_B", kind: "8300", mib: 64 },
    Partition { name: "data", kind: "8300", mib: 125 },
];

impl Arm64 {
    /// The environment on the disk of a machine.
    pub fn copies(&self, disk: &Path) -> Result<Copies> {
        card::copies(disk)
    }

    /// Changes the environment on the disk of a machine that is off.
    pub fn set_copies(&self, disk: &Path, copies: &Copies) -> Result<()> {
        card::set_copies(disk, copies)
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
        card::files(&UBoot::build(house, self.name(), self.architecture())?)
    }

    fn services(&self) -> &'static str {
        "::respawn:/sbin/watchdog -F -T 60 -t 10 /dev/watchdog\n"
    }

    fn shell(&self) -> &'static str {
        "ttyS0"
    }

    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        card::MOUNTS
    }

    fn boot_loader(&self) -> BootLoader {
        uboot::BOOT_LOADER
    }

    fn client(&self) -> &'static str {
        card::CLIENT
    }

    fn wrong(&self) -> &'static [&'static str] {
        &[]
    }

    fn layout(&self) -> Layout {
        Layout(PARTITIONS)
    }

    fn make_disk(&self, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()> {
        card::make(self, house, image, work, disk)
    }

    fn qemu(&self, _folder: &Path, disk: &str) -> Result<Command> {
        let mut qemu = virt("aarch64", "virt", "cortex-a53");
        card::insert(&mut qemu, disk);
        qemu.args(["-device", "i6300esb", "-watchdog-action", "reset"]);
        Ok(qemu)
    }

    fn has_write_cache(&self) -> bool {
        false
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        card::copies(disk)?.loader(disk)
    }
}

/// QEMU's `virt` machine with U-Boot, the console on its own serial port, the lab's shell on one behind PCI.
pub fn virt(emulator: &str, machine: &str, processor: &str) -> Command {
    let mut qemu = run::dependent(&format!("qemu-system-{emulator}"));
    qemu.args(["-accel", "tcg", "-M", machine, "-cpu", processor]);
    qemu.args("-m 256 -smp 2 -nodefaults -display none".split(' '));
    qemu.args(["-bios", BINARY, "-serial", "stdio", "-device", "pci-serial,chardev=shell"]);
    qemu.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
    qemu
}
