//! The boot script for U-Boot alone: which slot it chooses for each state of the environment, and what it saves.
//! On `arm64-fast` the script counts the boots of a trial, on `arm64` U-Boot does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rota_qemu::error::{check, Context, Result};
use rota_qemu::kind::{Arm64, Arm64Fast, Copies, Kind, Slot};
use rota_qemu::lab::Lab;
use rota_qemu::machine::{Machine, BOOT};
use rota_qemu::run;

/// A kind of machine with U-Boot, and access to its environment.
struct Board {
    kind: &'static dyn Kind,
    copies: fn(&Path) -> Result<Copies>,
    set_copies: fn(&Path, &Copies) -> Result<()>,
}

const FAST: Board = Board {
    kind: &Arm64Fast,
    copies: |disk| Arm64Fast.copies(disk),
    set_copies: |disk, copies| Arm64Fast.set_copies(disk, copies),
};
const CARD: Board = Board {
    kind: &Arm64,
    copies: |disk| Arm64.copies(disk),
    set_copies: |disk, copies| Arm64.set_copies(disk, copies),
};

/// What a copy of the environment says before a start.
#[derive(Clone, Copy)]
enum Env {
    /// `mender_boot_part`, `upgrade_available`, `bootcount`, `bootlimit`.
    Says(&'static str, &'static str, &'static str, &'static str),
    Destroyed,
}

const A: Env = Env::Says("2", "0", "0", "1");
const B: Env = Env::Says("3", "0", "0", "1");
const B_ARMED: Env = Env::Says("3", "1", "0", "1");
const B_TRIED: Env = Env::Says("3", "1", "1", "1");

/// The copies before a start, the older one first; the slot that must be started, whether on trial; what they say afterwards.
struct Case {
    what: &'static str,
    copies: [Env; 2],
    starts: (Slot, bool),
    after: Option<&'static str>,
}

const ON_TRIAL: Option<&str> = Some("slot A committed, slot B on trial");
/// The first five depend on who counts: all of them are run where the script does, those where U-Boot does.
const CASES: [Case; 12] = [
    Case {
        what: "A is committed",
        copies: [A, A],
        starts: (Slot::A, false),
        after: Some("slot A committed"),
    },
    Case {
        what: "B is committed",
        copies: [B, B],
        starts: (Slot::B, false),
        after: Some("slot B committed"),
    },
    Case { what: "B is armed", copies: [A, B_ARMED], starts: (Slot::B, true), after: ON_TRIAL },
    Case {
        what: "B is tried again",
        copies: [A, Env::Says("3", "1", "1", "2")],
        starts: (Slot::B, true),
        after: ON_TRIAL,
    },
    Case {
        what: "B was tried",
        copies: [B_ARMED, B_TRIED],
        starts: (Slot::A, false),
        after: Some("slot A committed"),
    },
    Case { what: "the arming was lost", copies: [A, Env::Destroyed], starts: (Slot::A, false), after: None },
    Case {
        what: "the older copy was lost",
        copies: [Env::Destroyed, B],
        starts: (Slot::B, false),
        after: None,
    },
    Case {
        what: "the newer copy was lost",
        copies: [B, Env::Destroyed],
        starts: (Slot::B, false),
        after: None,
    },
    Case {
        what: "both copies were lost",
        copies: [Env::Destroyed, Env::Destroyed],
        starts: (Slot::A, false),
        after: None,
    },
    Case {
        what: "a part that is none",
        copies: [B, Env::Says("7", "0", "x", "")],
        starts: (Slot::A, false),
        after: None,
    },
    Case {
        what: "a trial without a limit",
        copies: [A, Env::Says("3", "1", "", "")],
        starts: (Slot::B, true),
        after: ON_TRIAL,
    },
    Case {
        what: "a count that is none",
        copies: [A, Env::Says("3", "1", "x", "0")],
        starts: (Slot::B, true),
        after: ON_TRIAL,
    },
];

#[test]
fn the_boot_script_chooses_the_slot_and_counts() -> Result<()> {
    let mut lab = Lab::new("uboot", &Arm64Fast)?;
    states(&mut lab, &FAST, &CASES)?;
    broken_slots(&mut lab, &FAST)
}

#[test]
fn u_boot_counts_and_the_boot_script_chooses() -> Result<()> {
    let mut lab = Lab::new("uboot-card", &Arm64)?;
    states(&mut lab, &CARD, &CASES[..5])
}

fn states(lab: &mut Lab, board: &Board, cases: &[Case]) -> Result<()> {
    let mut machine = lab.new_machine()?;
    let image = lab.build(lab.release("release-2"))?.image;
    fill_b(&machine, board, &image)?;
    let built_in = Copies((board.copies)(&machine.disk())?.0).variables(&machine.disk())?;
    for case in cases {
        println!("{}: slot {}{}", case.what, case.starts.0, if case.starts.1 { " on trial" } else { "" });
        write(&machine, board, &built_in, case.copies)?;
        machine.power_on()?;
        let line = machine.wait_for("booting slot", BOOT)?;
        machine.cut_power()?;
        check(case.what, line.contains(&format!("booting slot {}", case.starts.0)), true)?;
        check(case.what, line.contains("rota.trial=1"), case.starts.1)?;
        if let Some(after) = case.after {
            check(case.what, machine.loader()?.to_string().as_str(), after)?;
        }
    }
    Ok(())
}

/// A trial slot that cannot start ends in the committed one; a committed slot that cannot start, in the other one.
fn broken_slots(lab: &mut Lab, board: &Board) -> Result<()> {
    let mut machine = lab.new_machine()?;
    let built_in = Copies((board.copies)(&machine.disk())?.0).variables(&machine.disk())?;
    let garbage = lab.scene().join("garbage");
    fs::write(&garbage, vec![0xa5; 40 << 20]).context("write", garbage.display())?;
    let built =
        |lab: &Lab,
         name: &str,
         change: &dyn Fn(rota_qemu::release::Release) -> rota_qemu::release::Release| {
            lab.build(change(lab.release(name))).map(|built| built.image)
        };
    let no_kernel = built(lab, "no-kernel", &|release| release.without_kernel())?;
    let no_header =
        built(lab, "no-header", &|release| release.with_file("/boot/vmlinuz", &[0; 4096], 0o644))?;
    let no_init = built(lab, "no-init", &|release| release.without_init())?;
    for (what, image, says) in [
        ("no file system", &garbage, "slot B does not start"),
        ("no kernel", &no_kernel, "slot B does not start"),
        ("a kernel that is none", &no_header, "slot B does not start"),
        ("no init", &no_init, "Kernel panic"),
    ] {
        println!("slot B on trial has {what}");
        fill_b(&machine, board, image)?;
        write(&machine, board, &built_in, [A, B_ARMED])?;
        machine.power_on()?;
        machine.wait_for(says, BOOT)?;
        let up = machine.wait_until_up()?;
        check("the slot", (up.slot, up.trial) == (Slot::A, false), true)?;
        check("the records", machine.loader()?.to_string().as_str(), "slot A committed")?;
        machine.cut_power()?;
    }
    println!("slot B is committed and has no file system");
    fill_b(&machine, board, &garbage)?;
    write(&machine, board, &built_in, [B, B])?;
    machine.power_on()?;
    machine.wait_for("slot B does not start", BOOT)?;
    machine.wait_for("slot B does not start", BOOT)?;
    check("the slot", machine.wait_until_up()?.slot, Slot::A)?;
    check("the records", machine.loader()?.to_string().as_str(), "slot B committed")
}

fn fill_b(machine: &Machine, board: &Board, image: &Path) -> Result<()> {
    board.kind.layout().fill(&machine.disk(), board.kind.partition(Slot::B), image)
}

/// Writes the environment of a machine that is off: the older copy first, the newer one second.
fn write(
    machine: &Machine,
    board: &Board,
    variables: &std::collections::BTreeMap<String, String>,
    copies: [Env; 2],
) -> Result<()> {
    let disk = machine.disk();
    let size = (board.copies)(&disk)?.0[0].len();
    let image = |copy: Env, flag: u8| -> Result<Vec<u8>> {
        let Env::Says(part, trial, count, limit) = copy else { return Ok(vec![0xff; size]) };
        let mut variables = variables.clone();
        variables.remove("rota_counter");
        for (name, value) in [
            ("mender_boot_part", part),
            ("mender_boot_part_hex", part),
            ("upgrade_available", trial),
            ("bootcount", count),
            ("bootlimit", limit),
        ] {
            variables.insert(name.into(), value.into());
        }
        // A trial that was begun before, by a script that counts.
        if board.kind.name() == FAST.kind.name() && (trial, count) == ("1", "1") {
            variables.insert("rota_counter".into(), "script".into());
        }
        let (text, image): (PathBuf, PathBuf) =
            (disk.with_extension("env.txt"), disk.with_extension("env.bin"));
        let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(&text, lines).context("write", text.display())?;
        let mut make = Command::new("mkenvimage");
        run::output(make.args(["-r", "-s", &size.to_string(), "-o"]).arg(&image).arg(&text))?;
        let mut bytes = fs::read(&image).context("read", image.display())?;
        bytes[4] = flag;
        Ok(bytes)
    };
    (board.set_copies)(&disk, &Copies([image(copies[0], 7)?, image(copies[1], 8)?]))
}
