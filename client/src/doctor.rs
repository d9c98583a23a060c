//! `rota doctor`: whether rota fits this board, and what to do where it does not. It changes nothing that counts: the boot
//! loader's records are opened for writing and closed again; only on the data partition a small file comes and goes.

mod boot;
mod data;
mod programs;
mod slots;
mod start;
mod trust;
mod watchdog;
mod x509;

use std::fmt::Write;

use serde_json::{json, Value};

use crate::device::Device;
use crate::finding::{Finding, Verdict};

/// The board, as it is examined.
pub struct Doctor {
    /// The machine.
    pub device: Device,
    /// Whether the servers are asked, too.
    pub online: bool,
}

/// Looks at one subject.
type Check = fn(&mut Doctor) -> Vec<Finding>;

/// Every check, in the order in which a board is brought up.
const CHECKS: [Check; 18] = [
    configuration,
    slots::exist,
    slots::sizes,
    slots::root,
    boot::records,
    boot::loader,
    boot::kernel_place,
    boot::command_line,
    start::panic,
    start::guard,
    start::daemon,
    watchdog::check,
    data::partition,
    data::journal,
    data::device_key,
    trust::certificates,
    trust::clock,
    programs::all,
];

impl Doctor {
    /// Examines everything.
    pub fn examine(&mut self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(self)).collect();
        findings.extend(trust::server(self));
        findings
    }

    /// A file of the running system as text; `None` when it is not there or not readable.
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.device.system.file(path)).ok()
    }

    /// The words of the kernel's command line.
    fn command_line(&self) -> Vec<String> {
        let line = self.read("/proc/cmdline").unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    }
}

/// The configuration: without faults, and enough of it.
fn configuration(doctor: &mut Doctor) -> Vec<Finding> {
    const CONFIGURATION: &str = "configuration";
    let config = &doctor.device.config;
    let mut findings: Vec<Finding> = config
        .faults
        .iter()
        .map(|fault| {
            Finding::wrong(
                CONFIGURATION,
                "no faults",
                fault,
                "correct it; client/dist/rota.toml explains every key",
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CONFIGURATION, "no faults"));
    }
    if !crate::sys::host::is_root() {
        let why = "this user is not root: what only root may read or write counts as wrong here";
        findings.push(Finding::not_checked("user", why));
    }
    findings.push(match &config.device_type {
        Some(name) => Finding::ok("device type", name),
        None => Finding::wrong(
            "device type",
            "a name that artifacts are made for",
            "none, so no artifact is for this device",
            "set device_type in rota.toml",
        ),
    });
    findings
}

/// For a person: a line for each finding, and what to do below those that are wrong.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, found, verdict } in findings {
        let _ = match verdict {
            Verdict::Ok => writeln!(text, "ok           {check}: {found}"),
            Verdict::NotChecked => writeln!(text, "not checked  {check}: {found}"),
            Verdict::Wrong { expected, remedy } => writeln!(
                text,
                "WRONG        {check}: expected {expected}\n             found {found}\n             -> {remedy}"
            ),
        };
    }
    let count =
        |verdict: fn(&Verdict) -> bool| findings.iter().filter(|finding| verdict(&finding.verdict)).count();
    let _ = writeln!(
        text,
        "{} ok, {} wrong, {} not checked",
        count(|verdict| *verdict == Verdict::Ok),
        count(|verdict| matches!(verdict, Verdict::Wrong { .. })),
        count(|verdict| *verdict == Verdict::NotChecked)
    );
    text
}

/// For a program: `{"ok": bool, "checks": [{"check", "verdict", "found", "expected", "remedy"}]}`; the last two only where
/// the verdict is `wrong`.
pub fn json(findings: &[Finding]) -> Value {
    let one = |Finding { check, found, verdict }: &Finding| match verdict {
        Verdict::Ok => json!({ "check": check, "verdict": "ok", "found": found }),
        Verdict::NotChecked => json!({ "check": check, "verdict": "not checked", "found": found }),
        Verdict::Wrong { expected, remedy } => {
            json!({ "check": check, "verdict": "wrong", "found": found, "expected": expected, "remedy": remedy })
        }
    };
    json!({
        "ok": !findings.iter().any(Finding::is_wrong),
        "checks": findings.iter().map(one).collect::<Vec<_>>(),
    })
}
