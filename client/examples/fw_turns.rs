//! Changes U-Boot's environment in turn with `fw_setenv` and checks that each sees what the other did.
//! The argument is a folder with `fw_env.config` and `u-boot-initial-env`; the environment there is lost at the beginning.
//!
//! A test of the flash below `fw_env.config`: `tests/uboot_flash.rs` includes it, `qemu/tests/flash.rs` runs it on a machine.

use std::path::Path;
use std::process::{Command, ExitCode};

use rota::boot::{self, Boot, Settings, State};
use rota::slot::Slot;

#[allow(dead_code)] // The program's; not a test's.
fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: fw_turns FOLDER");
        return ExitCode::from(2);
    };
    in_turn(Path::new(&folder));
    println!("fw_turns: both agree");
    ExitCode::SUCCESS
}

/// Both programs change the environment; both always see the change of the other.
pub fn in_turn(folder: &Path) {
    assert!(open(folder).state().is_err(), "erased flash is no environment");
    assert!(open(folder).repair(Slot::A).unwrap().is_some());
    let mut slot = Slot::A;
    for turn in 0..6 {
        fw(folder, "fw_setenv", &["turn", &turn.to_string()]);
        slot = slot.other();
        open(folder).arm(slot).unwrap();
        let armed = State { committed: slot.other(), trial: Some(slot), attempts_left: 1 };
        assert_eq!(open(folder).state().unwrap(), armed);
        assert_eq!(fw(folder, "fw_printenv", &["-n", "upgrade_available"]), "1");
        fw(folder, "fw_setenv", &["bootcount", "1"]);
        assert_eq!(open(folder).state().unwrap(), State { attempts_left: 0, ..armed });
        open(folder).commit(slot).unwrap();
        let part = if slot == Slot::A { "2" } else { "3" };
        assert_eq!(fw(folder, "fw_printenv", &["-n", "mender_boot_part"]), part);
        assert_eq!(fw(folder, "fw_printenv", &["-n", "turn"]), turn.to_string());
        assert_eq!(open(folder).repair(Slot::A).unwrap(), None, "both copies hold it");
    }
}

/// U-Boot's back end, with its files in `folder`.
pub fn open(folder: &Path) -> Box<dyn Boot> {
    let env_dir = Some(folder.to_owned());
    boot::open(&Settings { backend: "uboot".into(), env_dir, parts: [2, 3] }).unwrap()
}

fn fw(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let config = folder.join("fw_env.config");
    let output = Command::new(program).arg("-c").arg(config).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} of libubootenv-tool: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
}
