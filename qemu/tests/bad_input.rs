//! What an update may meet: spoilt artifacts, a full disk, a wrong authority, a clock that never ran. Each time the running
//! slot stays as it is, device and server say what was wrong, and the next deployment works.

use std::fs;

use rota_qemu::error::{check, Context, Result};
use rota_qemu::kind::{Slot, X86_64};
use rota_qemu::lab::{Lab, FIRST_RELEASE};
use rota_qemu::machine::{Machine, BOOT};
use rota_qemu::release::Built;
use rota_qemu::server::{Device, UPDATE};
use rota_qemu::wait::secs;

/// A machine that runs the first release in slot A, through releases that all must fail.
struct Scene {
    lab: Lab,
    machine: Machine,
    device: Device,
}

impl Scene {
    fn new(name: &str) -> Result<Scene> {
        let mut lab = Lab::new(name, &X86_64)?;
        let machine = lab.machine()?;
        let device = lab.server.accept_next(BOOT)?;
        Ok(Scene { lab, machine, device })
    }

    /// Deploys a release that must be refused for `reasons`, without a restart.
    fn refused(&mut self, what: &str, built: &Built, reasons: &[&str]) -> Result<()> {
        let uptime = self.uptime()?;
        let deployment = self.lab.server.deploy(&built.name, &self.device)?;
        let report = self.lab.server.expect_failure(&deployment, reasons, UPDATE)?;
        println!("{what}: {}", report.lines().next().unwrap_or_default());
        check("that the machine was not restarted", self.uptime()? >= uptime, true)?;
        self.machine.expect_committed(Slot::A, FIRST_RELEASE)
    }

    fn uptime(&mut self) -> Result<u64> {
        Ok(self.machine.run("cut -d. -f1 /proc/uptime")?.trim().parse().unwrap_or_default())
    }
}

#[test]
fn spoilt_artifacts_are_refused_and_the_next_one_is_installed() -> Result<()> {
    let mut scene = Scene::new("bad-artifacts")?;

    // What is cut short on its way to the server never gets to a device; what loses its end there does.
    let short = scene.lab.build(scene.lab.release("short"))?;
    let bytes = fs::read(&short.artifact).context("read", short.artifact.display())?;
    fs::write(&short.artifact, &bytes[..bytes.len() / 2]).context("write", short.artifact.display())?;
    let refusal =
        scene.lab.server.upload(&short.artifact).err().map(|error| error.to_string()).unwrap_or_default();
    println!("truncated, on the server: {refusal}");
    check("that the server refuses half an artifact", refusal.contains("400"), true)?;

    let built = scene.lab.publish(scene.lab.release("half"))?;
    scene.lab.server.tamper(&built.artifact, |bytes| bytes[..bytes.len() / 2].to_vec())?;
    scene.refused("truncated, on the device", &built, &["download failed at byte"])?;

    let built = scene.lab.publish(scene.lab.release("flipped").uncompressed())?;
    scene.lab.server.tamper(&built.artifact, |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    })?;
    scene.refused("a changed byte", &built, &["checksum"])?;

    // Both artifacts have the same length: it is the one that the server goes by.
    let other = scene.lab.build(scene.lab.release("stray").uncompressed().for_device_type("qemu-toast4"))?;
    let other = fs::read(&other.artifact).context("read", other.artifact.display())?;
    let built = scene.lab.publish(scene.lab.release("stray").uncompressed())?;
    scene.lab.server.tamper(&built.artifact, |_| other)?;
    scene.refused("another device's", &built, &["qemu-toast4", "qemu-x86_64"])?;

    let built = scene.lab.publish(scene.lab.release("large").of_size(64))?;
    scene.refused("larger than the slot", &built, &["slot", "67108864", "50331648"])?;

    let Scene { lab, machine, device } = &mut scene;
    println!("a full data partition does not keep an update from being recorded");
    fill_data(machine)?;
    lab.publish(lab.release("full"))?;
    lab.server.expect_success(&lab.server.deploy("full", device)?, UPDATE)?;
    machine.expect_committed(Slot::B, "full")?;

    println!("one without room for the journal refuses updates");
    machine.run("rm /data/rota/journal.*")?;
    fill_data(machine)?;
    machine.run("killall rota")?;
    lab.publish(lab.release("unrecorded"))?;
    let deployment = lab.server.deploy("unrecorded", device)?;
    let report = lab.server.expect_failure(&deployment, &["journal", "No space left on device"], UPDATE)?;
    println!("  {}", report.lines().next().unwrap_or_default());
    machine.expect_committed(Slot::B, "full")?;
    machine.run("rm /data/filler*")?;

    println!("and the next good release");
    let good = lab.publish(lab.release("good"))?;
    lab.server.expect_success(&lab.server.deploy("good", device)?, UPDATE)?;
    machine.expect_committed(Slot::A, &good.name)
}

/// Leaves not a block free on the data partition.
fn fill_data(machine: &mut Machine) -> Result<()> {
    let left = machine.run(
        "for size in 64k 512; do dd if=/dev/zero bs=$size >>/data/filler 2>/dev/null; done; sync; df /data | tail -n 1",
    )?;
    check("that the data partition is full", left.contains(" 0 100%"), true)
}

#[test]
fn a_wrong_authority_rolls_back_and_a_dead_clock_does_not_matter() -> Result<()> {
    let Scene { lab, mut machine, device } = Scene::new("bad-trust")?;

    println!("a release that trusts another authority");
    lab.publish(lab.release("wrong-ca").with_ca(&lab.foreign_ca()?))?;
    let deployment = lab.server.deploy("wrong-ca", &device)?;
    let report = lab.server.expect_failure(&deployment, &["TLS: unknown issuer"], UPDATE)?;
    println!("  {}", report.lines().next().unwrap_or_default());
    machine.expect_committed(Slot::A, FIRST_RELEASE)?;

    println!("a clock that starts in 1970");
    machine.cut_power()?;
    machine.set_clock(Some("1970-01-01T00:00:00"));
    machine.power_on()?;
    machine.wait_until_up()?;
    lab.server.wait_for_inventory(&device, "faults", "the system clock says 1970", secs(60))?;
    lab.publish(lab.release("after-1970"))?;
    lab.server.expect_success(&lab.server.deploy("after-1970", &device)?, UPDATE)?;
    machine.expect_committed(Slot::B, "after-1970")
}
