//! `armhf`: a 32-bit board on QEMU's `virt` machine: U-Boot with its environment raw on an SD card, Debian's kernel for
//! ARMv7 with an initramfs. That kernel has no driver for a watchdog that QEMU has.

use std::path::Path;
use std::process::Command;

use super::uboot::{self, UBoot};
use super::{arm64, card, BootLoader, Kind, Loader};
use crate::disk::{Layout, Partition};
use crate::error::Result;
use crate::house::House;

pub struct Armhf;

/// An SD card of 128 MiB, with 1 MiB at either end.
const PARTITIONS: &[Partition] = &[
    Partition { name: "uboot-env", kind: "8300", mib: 1 },
    Partition { name: "rootfs_A", kind: "8300", mib: 40 },
    Partition { name: "rootfs_B", kind: "8300", mib: 40 },
    Partition { name: "data", kind: "8300", mib: 45 },
];

impl Kind for Armhf {
    fn name(&self) -> &'static str {
        "armhf"
    }

    fn device_type(&self) -> &'static str {
        "qemu-armhf"
    }

    fn architecture(&self) -> &'static str {
        "armhf"
    }

    fn kernel(&self) -> &'static str {
        "linux-image-armmp"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["virtio_pci", "virtio_net"]
    }

    fn early_modules(&self) -> &'static [&'static str] {
        &["sdhci_pci", "crc32c_generic", "ext4"]
    }

    fn files(&self, house: &House) -> Result<Vec<(&'static str, Vec<u8>)>> {
        card::files(&UBoot::build(house, self.name(), self.architecture())?)
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

    fn layout(&self) -> Layout {
        Layout(PARTITIONS)
    }

    fn make_disk(&self, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()> {
        card::make(self, house, image, work, disk)
    }

    fn qemu(&self, _folder: &Path, disk: &str) -> Result<Command> {
        // A kernel without large addresses finds PCI below 4 GiB only.
        let mut qemu = arm64::virt("arm", "virt,highmem=off", "cortex-a15");
        card::insert(&mut qemu, disk);
        Ok(qemu)
    }

    fn has_write_cache(&self) -> bool {
        false
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        card::copies(disk)?.loader(disk)
    }
}
