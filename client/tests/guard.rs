//! The guard, as a shell runs it: it ends a trial that is not committed, and nothing else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

const GUARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/rota-guard");
/// The shells it must run in: the system's, and BusyBox's with its own tools.
const SHELLS: [&[&str]; 2] = [&["sh"], &["busybox", "sh"]];

/// A machine of files.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, command_line: &str) -> Machine {
        let root = std::env::temp_dir().join(format!("rota-guard-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let machine = Machine(root);
        machine.write("proc/cmdline", command_line);
        machine.write("proc/sys/kernel/random/boot_id", "this-boot\n");
        machine.write("bin/reboot", "#!/bin/sh\necho \"$@\" > \"$ROTA_SYSTEM_ROOT/rebooted\"\n");
        machine.write("run/rota/.keep", "");
        std::os::unix::fs::symlink("/proc/uptime", machine.0.join("proc/uptime")).unwrap();
        assert!(Command::new("chmod")
            .arg("+x")
            .arg(machine.0.join("bin/reboot"))
            .status()
            .unwrap()
            .success());
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn start(&self, shell: &[&str], argument: Option<&str>) -> (Child, BufReader<ChildStdout>) {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(GUARD).args(argument).env("ROTA_SYSTEM_ROOT", &self.0);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the shell runs");
        let output = BufReader::new(child.stdout.take().unwrap());
        (child, output)
    }

    /// What the guard did to its end: the last sysrq, and how reboot was called.
    fn run(&self, shell: &[&str], argument: Option<&str>) -> (Option<String>, Option<String>) {
        let (mut child, mut output) = self.start(shell, argument);
        assert!(child.wait().unwrap().success());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut output, &mut said).unwrap();
        let read = |path: &str| fs::read_to_string(self.0.join(path)).ok().map(|text| text.trim().to_owned());
        (read("proc/sysrq-trigger"), read("rebooted"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_committed_slot_is_left_alone() {
    for shell in SHELLS {
        for line in ["ro quiet rota.slot=A\n", "xrota.trial=1 rota.trial=12", ""] {
            let machine = Machine::new("committed", line);
            assert_eq!(machine.run(shell, Some("1")), (None, None));
        }
        for mark in ["", "this-boot\n"] {
            let machine = Machine::new("marked", "ro rota.slot=B rota.trial=1\n");
            machine.write("run/rota/committed", mark);
            assert_eq!(machine.run(shell, Some("1000")), (None, None));
        }
    }
}

#[test]
fn a_trial_without_verdict_is_ended_by_force() {
    for shell in SHELLS {
        let machine = Machine::new("forced", "rota.trial=1 ro");
        // A mark of an earlier boot does not count, nor does rubbish in the configuration.
        machine.write("run/rota/committed", "another-boot\n");
        machine.write("run/rota/verdict-by", "soon\n");
        machine.write("etc/rota/rota.toml", "[trial]\ntimeout = \"1s\"\n");
        machine.write("var/lib/rota/rota.toml", "\0\x01[[[=\ntrial.timeout = never\n");
        assert_eq!(machine.run(shell, None), (Some("b".to_owned()), Some("-f".to_owned())));
    }
}

#[test]
fn a_commit_during_the_wait_is_seen() {
    for shell in SHELLS {
        let machine = Machine::new("late", "rota.trial=1");
        let (mut child, mut output) = machine.start(shell, Some("1h"));
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "rota-guard: slot on trial: it has 3600 seconds to commit\n");
        machine.write("run/rota/committed", "this-boot\n");
        line.clear();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "rota-guard: committed\n");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_client_that_is_alive_may_ask_for_more_time() {
    let machine = Machine::new("promise", "rota.trial=1");
    let now: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    machine.write("run/rota/verdict-by", &format!("{}\n", now as u64 + 1000));
    let (mut child, mut output) = machine.start(SHELLS[0], Some("1"));
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none(), "the second it had is long over");
    machine.write("run/rota/committed", "");
    assert!(child.wait().unwrap().success());
    assert!(!machine.0.join("proc/sysrq-trigger").exists());
}

#[test]
fn the_time_comes_from_argument_or_configuration() {
    let cases = [
        (None, "", "", 900),
        (Some("20m"), "[trial]\ntimeout = \"1h\"", "", 1200),
        (Some("junk"), "[trial]\n  timeout=7200 # two hours\n", "", 7200),
        (None, "[health]\ntimeout = \"1m\"\n[ trial ] # x\ntimeout = '2h'\n[log]\ntimeout = 5", "", 7200),
        (None, "trial.timeout = \"45s\"\n[server]\nurl = \"https://a=b\"\n", "", 45),
        (None, "[trial]\ntimeout = \"1h\"\n", "[trial]\r\ntimeout = \"30m\"\r\n", 1800),
        (None, "[trial]\ntimeout = \"1h\"\n", "[trial]\ntimeout = \"-5\"\n", 3600),
        (None, "[trial]\ntimeout = \"999d\"\n", "", 86400),
        (None, "[trial]\ntimeout = \"99999999999999999999\"\n", "", 900),
        (Some("0"), "[trial]\ntimeout = \"08\"\n", "", 900),
        (Some("2h;reboot"), "[trial]\ntimeout = \"$(reboot)\"\n", "", 900),
    ];
    for shell in SHELLS {
        for (number, (argument, slot, data, expected)) in cases.into_iter().enumerate() {
            let machine = Machine::new("time", "rota.trial=1");
            machine.write("etc/rota/rota.toml", slot);
            machine.write("var/lib/rota/rota.toml", data);
            machine.write("run/rota/committed", "");
            let (mut child, mut output) = machine.start(shell, argument);
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert!(line.contains(&format!("it has {expected} seconds")), "{shell:?} case {number}: {line}");
            child.wait().unwrap();
        }
    }
}
