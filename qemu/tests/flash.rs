//! U-Boot's environment on the kernel's own flash devices: NAND that `nandsim` makes of memory, and UBI volumes on it.
//! The client and Debian's `fw_setenv` change it in turn. A PC without a disk and with Debian's generic kernel does.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rota_qemu::console::Console;
use rota_qemu::debian::Debian;
use rota_qemu::error::{Context, Result};
use rota_qemu::house::{House, Turn};
use rota_qemu::run;
use rota_qemu::tree::Tree;
use rota_qemu::wait::secs;

/// NAND of 64 MiB with blocks of 128 KiB, in three partitions: two copies of 1 MiB (8 blocks) and the rest for UBI.
/// Block 1 of the first is bad.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /run/lock /env && ln -s /run /var/run && ln -s /run/lock /var/lock
modprobe nandsim first_id_byte=0x20 second_id_byte=0xa2 third_id_byte=0x00 fourth_id_byte=0x15 parts=8,8 badblocks=1
printf 'bootcmd=run x\nmender_boot_part=2\n' >/env/u-boot-initial-env
printf '/dev/mtd%s 0x0 0x22000 0x20000 4\n' 0 1 >/env/fw_env.config
fw_turns /env && echo "flash: NAND is fine"
modprobe ubi
ubiattach -m 2 && ubimkvol /dev/ubi0 -N env-1 -s 126976 && ubimkvol /dev/ubi0 -N env-2 -s 126976
printf '/dev/ubi0:env-1 0x0 0x1f000 0x1f000\n/dev/ubi0_1 0x0 0x1f000 0x1f000\n' >/env/fw_env.config
fw_turns /env && echo "flash: UBI is fine"
echo "flash: the end"
reboot -f
"#;

#[test]
fn the_environment_on_nand_and_in_ubi_volumes() -> Result<()> {
    let _turn = Turn::take()?;
    let house = House::find()?;
    let (scene, _lock) = house.scene("flash")?;
    let debian = Debian::new(&house, "amd64")?;
    let tree = Tree::small(&debian, "linux-image-amd64", &["nandsim", "ubi"], scene.join("initramfs"))?;
    let kernel = scene.join("vmlinuz");
    fs::copy(tree.path().join("boot/vmlinuz"), &kernel).context("write", kernel.display())?;
    tree.remove("/boot/vmlinuz")?;
    for package in ["libubootenv-tool", "libubootenv0.1", "zlib1g", "mtd-utils"] {
        tree.add_package(&debian, package)?;
    }
    tree.write("/usr/bin/fw_turns", &example(&house)?, 0o755)?;
    tree.write("/init", INIT.as_bytes(), 0o755)?;
    let initramfs = scene.join("initramfs.gz");
    tree.pack(&initramfs)?;

    let mut qemu = run::dependent("qemu-system-x86_64");
    qemu.args(
        "-accel tcg -M q35 -cpu max -m 512 -nodefaults -display none -serial stdio -no-reboot".split(' '),
    );
    qemu.arg("-kernel").arg(&kernel).arg("-initrd").arg(&initramfs);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    let mut qemu = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start", "QEMU")?;
    let mut console = Console::new(scene.join("console.log"))?;
    if let Some(stdout) = qemu.stdout.take() {
        console.follow(stdout)?;
    }
    let seen =
        ["flash: NAND is fine", "flash: UBI is fine"].map(|line| console.wait_for_any(&[line], secs(150)));
    let _ = qemu.kill();
    let _ = qemu.wait();
    seen.into_iter().try_for_each(|line| line.map(|(_, line)| println!("{line}")))
}

/// The client's program for this, built.
fn example(house: &House) -> Result<Vec<u8>> {
    let manifest = house.source("client/Cargo.toml")?;
    let target = house.build().join("client");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--example", "fw_turns", "--manifest-path"]).arg(manifest);
    run::output(cargo.env("CARGO_TARGET_DIR", &target))?;
    let program: &Path = &target.join("debug/examples/fw_turns");
    fs::read(program).context("read", program.display())
}
