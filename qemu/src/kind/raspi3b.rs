//! `raspi3b`: QEMU's Raspberry Pi 3 with Debian's own U-Boot for it, as it comes: one copy of the environment in a file on
//! the first partition, no counter of boots. rota's boot script is the `boot.scr` that it looks for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::uboot::{self, UBoot};
use super::{BootLoader, Kind, Loader, Slot};
use crate::debian::Debian;
use crate::disk::{self, Layout, Partition};
use crate::error::{Context, Result};
use crate::house::House;
use crate::run;

pub struct Raspi3b;

const BOOT: usize = 1;
const DATA: usize = 4;
/// An SD card of 256 MiB, with 1 MiB at either end.
const PARTITIONS: &[Partition] = &[
    Partition { name: "boot", kind: "EF00", mib: 16 },
    Partition { name: "rootfs_A", kind: "8300", mib: 64 },
    Partition { name: "rootfs_B", kind: "8300", mib: 64 },
    Partition { name: "data", kind: "8300", mib: 110 },
];
/// U-Boot's environment: its file, and its size in the configuration `rpi_3`.
const ENV: &str = "uboot.env";
const ENV_SIZE: usize = 0x4000;
/// Where U-Boot's package has its program, and the kernel's package the device tree.
const LOADER: &str = "usr/lib/u-boot/rpi_3/u-boot.bin";
const DEVICE_TREE: &str = "broadcom/bcm2837-rpi-3-b.dtb";

impl Raspi3b {
    fn uboot(&self, house: &House) -> Result<UBoot> {
        let package = Debian::new(house, self.architecture())?.unpacked("u-boot-rpi")?;
        // Once U-Boot has started QEMU's USB controller, Linux finds nothing connected to it.
        UBoot::adopt(house, self.name(), &package.join(LOADER), "preboot")
    }

    /// The environment on the disk of a machine.
    pub fn environment(&self, disk: &Path) -> Result<Vec<u8>> {
        self.layout().read_file(disk, BOOT, ENV)
    }

    /// Changes the environment on the disk of a machine that is off.
    pub fn set_environment(&self, disk: &Path, bytes: &[u8]) -> Result<()> {
        self.layout().write_file(disk, BOOT, ENV, bytes)
    }
}

/// A kernel in the third of its size: U-Boot reads the card word by word, which takes an emulator long.
fn packed(kernel: &Path, archive: &Path) -> Result<Vec<u8>> {
    let script = r#"gzip -9n <"$1" >"$2""#;
    run::output(Command::new("sh").args(["-c", script, "sh"]).arg(kernel).arg(archive))?;
    fs::read(archive).context("read", archive.display())
}

impl Kind for Raspi3b {
    fn name(&self) -> &'static str {
        "raspi3b"
    }

    fn device_type(&self) -> &'static str {
        "qemu-raspi3b"
    }

    fn architecture(&self) -> &'static str {
        "arm64"
    }

    fn kernel(&self) -> &'static str {
        "linux-image-arm64"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["phy-generic", "dwc2", "cdc_ether", "vfat", "nls_cp437", "nls_ascii"]
    }

    fn early_modules(&self) -> &'static [&'static str] {
        &["bcm2835_wdt", "bcm2835", "crc32c_generic", "ext4"]
    }

    fn files(&self, house: &House) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let debian = Debian::new(house, self.architecture())?;
        let package = debian.kernel(self.kernel())?;
        let files = debian.unpacked(&package)?;
        let tree = files.join("usr/lib").join(&package).join(DEVICE_TREE);
        let kernel = files.join("boot").join(package.replace("linux-image", "vmlinuz"));
        Ok(vec![
            ("/boot/vmlinuz", packed(&kernel, &house.cache()?.join("u-boot/raspi3b.kernel.gz"))?),
            ("/boot/bcm2837-rpi-3-b.dtb", fs::read(&tree).context("read", tree.display())?),
            ("/etc/fw_env.config", format!("/boot/firmware/{ENV} 0x0 {ENV_SIZE:#x}\n").into_bytes()),
            ("/etc/u-boot-initial-env", self.uboot(house)?.environment()?),
        ])
    }

    fn shell(&self) -> &'static str {
        "ttyAMA0"
    }

    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("/dev/mmcblk0p4", "/data", "ext4"), ("/dev/mmcblk0p1", "/boot/firmware", "vfat")]
    }

    fn boot_loader(&self) -> BootLoader {
        uboot::BOOT_LOADER
    }

    fn client(&self) -> &'static str {
        super::card::CLIENT
    }

    fn wrong(&self) -> &'static [&'static str] {
        &["boot environment", "boot prompt", "watchdog", "clock"]
    }

    fn layout(&self) -> Layout {
        Layout(PARTITIONS)
    }

    fn make_disk(&self, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()> {
        let uboot = self.uboot(house)?;
        uboot.install(disk)?;
        let script = work.join("boot.scr");
        let mut make = Command::new("mkimage");
        make.args(["-A", "arm64", "-T", "script", "-C", "none", "-n", "rota", "-d"]);
        run::output(make.arg(uboot.script()).arg(&script))?;
        let (fat, data) = (work.join("boot.fat"), work.join("data.ext4"));
        let env = uboot.image(ENV_SIZE, 1, work)?;
        let files: [(PathBuf, String); 2] = [(script, "boot.scr".into()), (env, ENV.into())];
        disk::fat_file_system(&fat, PARTITIONS[BOOT - 1].mib, &[], &files)?;
        disk::data_file_system(&data, PARTITIONS[DATA - 1].mib)?;
        let layout = self.layout();
        layout.create(disk)?;
        layout.fill(disk, BOOT, &fat)?;
        layout.fill(disk, self.partition(Slot::A), image)?;
        layout.fill(disk, DATA, &data)
    }

    fn qemu(&self, _folder: &Path, disk: &str) -> Result<Command> {
        let mut qemu = run::dependent("qemu-system-aarch64");
        qemu.args("-accel tcg -M raspi3b -nodefaults -display none -kernel".split(' ')).arg(uboot::BINARY);
        // The console is the second port, the lab's shell on the first.
        qemu.args(["-serial", "chardev:shell", "-serial", "stdio"]);
        qemu.args(["-drive", &format!("if=sd,format=raw,file={disk}")]);
        // An address from a maker's range: with another one, the interface is not called eth0.
        qemu.args(["-netdev", "user,id=net", "-device", "usb-net,netdev=net,mac=00:16:3e:00:00:01"]);
        Ok(qemu)
    }

    fn has_write_cache(&self) -> bool {
        false
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        uboot::loader(&[self.environment(disk)?], disk, [2, 3])
    }
}
