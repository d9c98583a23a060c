//! The boot script in the real GRUB, on a real boot partition: a few states of its records. All of them are gone through in
//! the client's tests, with an emulated GRUB.

use std::fs;

use rota_qemu::error::{check, Context, Result};
use rota_qemu::kind::{Kind, Records, Slot, X86_64};
use rota_qemu::lab::Lab;
use rota_qemu::machine::{Machine, BOOT};

/// The records before a start, the slot that must be started and whether on trial, and the records after.
struct Case {
    what: &'static str,
    copies: [Records; 2],
    starts: (Slot, bool),
    after: Option<&'static str>,
}

const CASES: [Case; 4] = [
    Case {
        what: "B is committed",
        copies: [Records::B, Records::B],
        starts: (Slot::B, false),
        after: Some("slot B committed"),
    },
    Case {
        what: "B is armed in copy 1 and not yet in copy 2",
        copies: [Records::B_ARMED, Records::A],
        starts: (Slot::B, true),
        after: Some("slot A committed, slot B on trial"),
    },
    Case {
        what: "B was tried",
        copies: [Records { count: "1", ..Records::B_ARMED }; 2],
        starts: (Slot::A, false),
        after: Some("slot A committed"),
    },
    Case {
        what: "copy 1 is being written",
        copies: [Records { editing: "1", ..Records::A }, Records::B],
        starts: (Slot::B, false),
        after: None,
    },
];

#[test]
fn the_boot_script_chooses_the_slot_and_counts() -> Result<()> {
    let mut lab = Lab::new("grub", &X86_64)?;
    let mut machine = lab.new_machine()?;
    let layout = X86_64.layout();
    let image = lab.build(lab.release("release-2"))?.image;
    layout.fill(&machine.disk(), X86_64.partition(Slot::B), &image)?;
    for case in &CASES {
        for (copy, number) in case.copies.iter().zip([1, 2]) {
            copy.write(&machine.disk(), number)?;
        }
        let line = started(&mut machine)?;
        let trial = if case.starts.1 { " rota.trial=1" } else { "" };
        check(case.what, line.contains(&format!("booting slot {}", case.starts.0)), true)?;
        check(case.what, line.contains("rota.trial=1"), case.starts.1)?;
        println!("{}: slot {}{trial}", case.what, case.starts.0);
        if let Some(after) = case.after {
            check(case.what, machine.loader()?.to_string().as_str(), after)?;
        }
    }
    println!("an unusable slot on trial: the other one, in the same start");
    let garbage = lab.scene().join("garbage");
    fs::write(&garbage, vec![0xff; 1 << 20]).context("write", garbage.display())?;
    layout.fill(&machine.disk(), X86_64.partition(Slot::B), &garbage)?;
    Records::B_ARMED.write(&machine.disk(), 1)?;
    Records::B_ARMED.write(&machine.disk(), 2)?;
    machine.power_on()?;
    machine.wait_for("slot B does not load", BOOT)?;
    check("the release", machine.wait_until_up()?.slot, Slot::A)?;
    check("the records", machine.loader()?.to_string().as_str(), "slot A committed")
}

/// Starts the machine until GRUB has chosen, and cuts the power.
fn started(machine: &mut Machine) -> Result<String> {
    machine.power_on()?;
    let line = machine.wait_for("booting slot", BOOT)?;
    machine.cut_power()?;
    Ok(line)
}
