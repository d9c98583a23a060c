//! The demo: one machine through a good update and three bad ones, watched from the outside.

use std::fs;
use std::io::{BufRead, Write};
use std::time::Instant;

use crate::error::{check, Context, Result};
use crate::house::House;
use crate::kind::{self, Kind, Slot};
use crate::lab::Lab;
use crate::machine::{Machine, BOOT};
use crate::release::Release;
use crate::server::{Device, EMAIL, PASSWORD, UPDATE};
use crate::wait::secs;

/// Where the machine keeps the client's memory figures, across the reboot.
const MEMORY: &str = "/data/lab-memory";

/// Runs the demo on a machine of the kind called `kind`. Unless `once`, it goes on until Ctrl-C.
pub fn run(kind: &str, once: bool) -> Result<()> {
    let kind = kind::named(kind)?;
    let mut story = Story { start: Instant::now(), step: Instant::now(), lines: Vec::new(), peak: None };
    let played = play(&mut story, kind);
    story.end_step(if played.is_ok() { "ok" } else { "FAILED" });
    story.summary(&House::find()?, kind)?;
    let (lab, machine) = played?;
    if once {
        return Ok(());
    }
    play_on(&lab, machine)
}

/// What is told while it happens, and again at the end.
struct Story {
    start: Instant,
    step: Instant,
    lines: Vec<String>,
    peak: Option<String>,
}

impl Story {
    fn step(&mut self, title: &str) {
        if !self.lines.is_empty() {
            self.end_step("ok");
        }
        println!("\n{title}");
        self.lines.push(title.into());
        self.step = Instant::now();
    }

    fn say(&self, what: impl std::fmt::Display) {
        println!("  {:6.1} s  {what}", self.start.elapsed().as_secs_f32());
        // Whoever reads the progress through a pipe that is closed misses it; the demo goes on.
        let _ = std::io::stdout().flush();
    }

    fn end_step(&mut self, verdict: &str) {
        if let Some(line) = self.lines.last_mut() {
            *line = format!("{line:<72} {verdict:<6} {:6.1} s", self.step.elapsed().as_secs_f32());
        }
    }

    fn summary(&self, house: &House, kind: &dyn Kind) -> Result<()> {
        println!("\nSummary ({:.0} s)", self.start.elapsed().as_secs_f32());
        for line in &self.lines {
            println!("  {line}");
        }
        for (program, path) in [
            ("rota", house.client(kind.architecture())?),
            ("rota-artifact", house.program("rota-artifact")?),
            ("rota-server", house.program("rota-server")?),
        ] {
            let size = fs::metadata(&path).context("look at", path.display())?.len();
            println!("  size of {program:<15} {:6.2} MiB stripped", size as f64 / (1024.0 * 1024.0));
        }
        let peak = self.peak.as_deref().unwrap_or("not measured");
        println!("  peak memory of the client during the install: {peak}");
        Ok(())
    }
}

fn play(story: &mut Story, kind: &'static dyn Kind) -> Result<(Lab, Machine)> {
    story.step("1. The server's keys, and a disk image from Debian packages");
    let mut lab = Lab::new("demo", kind)?;
    let mut machine = lab.new_machine()?;
    story.say(format!("disk image {}", machine.disk().display()));

    story.step("2. The server, over HTTPS with its own certificate");
    story.say(format!("{}  sign in as {EMAIL} with {PASSWORD}", lab.server.address()));

    story.step("3. A machine boots, asks to be admitted and tells what it is");
    story.say(format!("the serial console goes to {}", machine.console().path().display()));
    let device = admit(story, &lab, &mut machine)?;

    story.step("4. Release 2 is installed, tried and committed");
    good_update(story, &lab, &mut machine, &device)?;

    story.step(&format!("5. Release 3 has no init: {} falls back", kind.boot_loader().name));
    let broken = lab.release("release-3").without_init();
    failed_update(story, &lab, &mut machine, &device, broken, "fell back")?;

    story.step("6. Release 4 cannot reach the server: the client rolls back");
    let deaf = lab.release("release-4").with_server("https://10.0.2.2:9");
    failed_update(story, &lab, &mut machine, &device, deaf, "server")?;

    story.step("   Release 5 has a client that exits: the guard ends the trial");
    let dead = lab.release("release-5").with_client_that_exits();
    failed_update(story, &lab, &mut machine, &device, dead, "fell back")?;
    Ok((lab, machine))
}

fn admit(story: &Story, lab: &Lab, machine: &mut Machine) -> Result<Device> {
    machine.power_on()?;
    let running = machine.wait_until_up()?;
    story.say(format!("up: {running}"));
    let device = lab.server.wait_for_pending(BOOT)?;
    story.say(format!("the server lists device {} as pending", device.id));
    lab.server.accept(&device)?;
    lab.server.wait_for_inventory(&device, "device_type", machine.kind().device_type(), secs(60))?;
    let inventory = lab.server.inventory(&device)?;
    story.say(format!("accepted; its inventory has {} attributes", inventory.len()));
    Ok(device)
}

fn good_update(story: &mut Story, lab: &Lab, machine: &mut Machine, device: &Device) -> Result<()> {
    let built = lab.publish(lab.release("release-2"))?;
    let size = fs::metadata(&built.artifact).context("look at", built.artifact.display())?.len();
    story.say(format!("release-2.mender: {} MiB of file system in {} MiB", built.length >> 20, size >> 20));
    machine.run(&format!(
        "(while cp /proc/$(pidof rota)/status {MEMORY}; do usleep 200000; done) >/dev/null 2>&1 &"
    ))?;
    let deployment = lab.server.deploy(&built.name, device)?;
    lab.server.watch(&deployment, UPDATE, |progress| story.say(&progress.status))?;
    lab.server.expect_success(&deployment, secs(1))?;
    machine.expect_committed(Slot::B, &built.name)?;
    check("what slot B holds", machine.slot_digest(Slot::B, built.length)?, built.digest)?;
    story.say(format!("seen from the outside: {}, and its bytes are release-2's", machine.loader()?));
    let memory = machine.run(&format!("cat {MEMORY}"))?;
    story.peak = memory.lines().find_map(|line| Some(line.strip_prefix("VmHWM:")?.trim().to_string()));
    Ok(())
}

/// A release that must not stay: the device ends in slot B with release 2, and its report says `reason`.
fn failed_update(
    story: &Story,
    lab: &Lab,
    machine: &mut Machine,
    device: &Device,
    release: Release,
    reason: &str,
) -> Result<()> {
    let built = lab.publish(release)?;
    let deployment = lab.server.deploy(&built.name, device)?;
    lab.server.watch(&deployment, UPDATE, |progress| story.say(&progress.status))?;
    let report = lab.server.expect_failure(&deployment, &[reason], secs(1))?;
    story.say(format!("the server shows: {}", why(&report)));
    machine.expect_committed(Slot::B, "release-2")?;
    story.say(format!("seen from the outside: {}, release-2 runs", machine.loader()?));
    Ok(())
}

/// The first line of a report: status and reason.
fn why(report: &str) -> &str {
    report.lines().next().unwrap_or_default()
}

fn play_on(lab: &Lab, mut machine: Machine) -> Result<()> {
    println!(
        "
The server and the machine stay up until Ctrl-C.
  web and API   {}  ({EMAIL}, {PASSWORD}; its CA is {})
  console       tail -f {}
  files         {}
  the machine   type a command here and Enter to run it there, for example: rota status --why",
        lab.server.address(),
        lab.server.data().join("tls/ca.pem").display(),
        machine.console().path().display(),
        lab.scene().display(),
    );
    for line in std::io::stdin().lock().lines().map_while(|line| line.ok()) {
        match machine.run(&line) {
            Ok(output) => print!("{output}"),
            Err(error) => println!("{error}"),
        }
    }
    loop {
        std::thread::park();
    }
}
