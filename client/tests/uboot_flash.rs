//! U-Boot's environment on flash, beside Debian's `fw_setenv`. The flash is files, made into MTD devices by a small library
//! that is preloaded into both programs (`mtd_shim.c`): NOR, where the flag of a copy is active or obsolete, and NAND,
//! where it counts and blocks can be bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rota::slot::Slot;

#[path = "../examples/fw_turns.rs"]
mod fw_turns;
use fw_turns::{in_turn, open};

const SIZE: usize = 0x1800;
const BLOCK: usize = 0x1000;
const FLASH: usize = 4 * BLOCK;
const VARIABLES: &str = "bootcmd=run a\nmender_boot_part=2\nupgrade_available=0\nbootlimit=1\naltbootcmd=x\n";

/// Runs one of the tests below again, in a process where the flash exists.
fn with_flash(test: &str, kind: &str, bad: &str) {
    let folder = std::env::temp_dir().join(format!("rota-flash-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let shim = folder.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mtd_shim.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl").status();
    assert!(built.expect("the C compiler of build-essential").success());
    (0..2).for_each(|number| fs::write(folder.join(format!("mtd{number}")), vec![0xff; FLASH]).unwrap());
    let config = format!("/dev/mtd0 0 {SIZE:x} {BLOCK:x} 3\n/dev/mtd1 0 {SIZE:x} {BLOCK:x} 3\n");
    fs::write(folder.join("fw_env.config"), config).unwrap();
    fs::write(folder.join("u-boot-initial-env"), VARIABLES).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env("LD_PRELOAD", &shim)
        .env("MTD_SHIM", &folder)
        .env("MTD_KIND", kind)
        .env("MTD_ERASE_SIZE", BLOCK.to_string())
        .env("MTD_BAD", bad)
        .output()
        .unwrap();
    let _ = fs::remove_dir_all(&folder);
    let says = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && says.contains("1 passed"), "{says}");
}

/// The folder of the flash, when this process has it.
fn flash() -> Option<PathBuf> {
    std::env::var_os("MTD_SHIM").map(PathBuf::from)
}

fn bytes(folder: &Path, number: usize) -> Vec<u8> {
    fs::read(folder.join(format!("mtd{number}"))).unwrap()
}

#[test]
fn nor() {
    let Some(folder) = flash() else { return with_flash("nor", "3", "-1") };
    in_turn(&folder);
    let mut flags = [bytes(&folder, 0)[4], bytes(&folder, 1)[4]];
    flags.sort_unstable();
    assert_eq!(flags, [0, 1], "one copy is active, the other obsolete");
    for number in 0..2 {
        assert!(
            bytes(&folder, number)[2 * BLOCK..].iter().all(|byte| *byte == 0xff),
            "no further block was used"
        );
    }
}

#[test]
fn nand_with_a_bad_block() {
    let Some(folder) = flash() else { return with_flash("nand_with_a_bad_block", "4", &BLOCK.to_string()) };
    in_turn(&folder);
    for number in 0..2 {
        let bytes = bytes(&folder, number);
        assert!(bytes[BLOCK..2 * BLOCK].iter().all(|byte| *byte == 0xff), "the bad block is as it was");
        assert!(bytes[3 * BLOCK..].iter().all(|byte| *byte == 0xff), "no further block was used");
    }
}

#[test]
fn what_a_block_holds_behind_the_environment_is_kept() {
    let Some(folder) = flash() else {
        return with_flash("what_a_block_holds_behind_the_environment_is_kept", "3", "-1");
    };
    let mut flash = bytes(&folder, 0);
    flash[SIZE..2 * BLOCK].fill(0x5a);
    fs::write(folder.join("mtd0"), flash).unwrap();
    open(&folder).repair(Slot::A).unwrap();
    for slot in [Slot::B, Slot::A, Slot::B] {
        open(&folder).commit(slot).unwrap();
    }
    assert!(bytes(&folder, 0)[SIZE..2 * BLOCK].iter().all(|byte| *byte == 0x5a));
}
