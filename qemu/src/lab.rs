//! A lab: one server, machines of one kind, and the releases that they get. Every scenario starts with one.
//!
//! ```no_run
//! # use rota_qemu::{error::Result, kind::{Slot, X86_64}, lab::Lab, wait::secs};
//! # fn scenario() -> Result<()> {
//! let mut lab = Lab::new("an-update", &X86_64)?;
//! let mut machine = lab.machine()?;
//! let device = lab.server.accept_next(secs(150))?;
//!
//! let two = lab.publish(lab.release("release-2"))?;
//! let deployment = lab.server.deploy("release-2", &device)?;
//! lab.server.expect_success(&deployment, secs(180))?;
//! machine.expect_committed(Slot::B, "release-2")?;
//! assert_eq!(machine.slot_digest(Slot::B, two.length)?, two.digest);
//!
//! let three = lab.publish(lab.release("release-3").without_init())?;
//! let deployment = lab.server.deploy("release-3", &device)?;
//! lab.server.expect_failure(&deployment, &["fell back"], secs(180))?;
//! machine.expect_committed(Slot::B, "release-2")?;
//! # Ok(())
//! # }
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{check, Result};
use crate::house::{folder, House, Turn};
use crate::kind::{Kind, Slot};
use crate::machine::{Machine, BOOT};
use crate::release::{Built, Client, Release};
use crate::server::{Device, Server, UPDATE};
use crate::tree::Tree;
use crate::wait::secs;

/// The release that a new machine runs.
pub const FIRST_RELEASE: &str = "release-1";

pub struct Lab {
    pub server: Server,
    kind: &'static dyn Kind,
    house: House,
    scene: PathBuf,
    base: Tree,
    machines: usize,
    client: Client,
    _turn: Turn,
    _lock: File,
}

impl Lab {
    /// Waits for its turn, starts a server and makes what all releases have in common. Everything lies in a folder
    /// called `name`, which the next lab of that name empties.
    pub fn new(name: &str, kind: &'static dyn Kind) -> Result<Lab> {
        let turn = Turn::take()?;
        let house = House::find()?;
        let (scene, lock) = house.scene(name)?;
        let server = Server::start(&house, &scene)?;
        let base = Tree::base(&house, kind, scene.join("base.tree"))?;
        let client =
            Client { server: server.address_for_machines(), ca: server.ca()?, health: "60s", trial: "150s" };
        Ok(Lab { server, kind, house, scene, base, machines: 0, client, _turn: turn, _lock: lock })
    }

    /// The folder with all that the scenario leaves behind.
    pub fn scene(&self) -> &Path {
        &self.scene
    }

    /// A flawless release, to be spoilt as the scenario needs.
    pub fn release(&self, name: &str) -> Release {
        Release::new(name, self.client.clone())
    }

    /// Builds the root file system and the artifact of a release.
    pub fn build(&self, release: Release) -> Result<Built> {
        let releases = folder(self.scene.join("releases"))?;
        let image =
            release.build_image(self.kind, &self.base, releases.join(format!("{}.ext4", release.name)))?;
        release.build_artifact(&self.house, self.kind, image)
    }

    /// Builds a release and uploads its artifact.
    pub fn publish(&self, release: Release) -> Result<Built> {
        let built = self.build(release)?;
        self.server.upload(&built.artifact)?;
        Ok(built)
    }

    /// A certificate authority that this lab's server has nothing to do with, PEM.
    pub fn foreign_ca(&self) -> Result<Vec<u8>> {
        Server::make_ca(&self.house, &self.scene.join("foreign"))
    }

    /// A new machine with the first release in slot A, switched off.
    pub fn new_machine(&mut self) -> Result<Machine> {
        self.machines += 1;
        let place = folder(self.scene.join(format!("machine-{}", self.machines)))?;
        let work = folder(place.join("parts"))?;
        let first = self.release(FIRST_RELEASE);
        let image = first.build_image(self.kind, &self.base, work.join("slot.ext4"))?;
        self.kind.make_disk(&self.house, &image, &work, &place.join("disk.img"))?;
        Machine::new(self.kind, place)
    }

    /// A machine with the release `good` in slot B, committed by way of an update; nothing is wrong with it.
    pub fn updated_machine(&mut self) -> Result<(Machine, Device)> {
        let mut machine = self.machine()?;
        let device = self.server.accept_next(BOOT)?;
        machine.expect_committed(Slot::A, FIRST_RELEASE)?;
        println!("a good release is committed");
        let good = self.publish(self.release("good"))?;
        self.server.expect_success(&self.server.deploy("good", &device)?, UPDATE)?;
        machine.expect_committed(Slot::B, "good")?;
        check("what slot B holds", machine.slot_digest(Slot::B, good.length)?, good.digest)?;
        self.server.wait_for_inventory(&device, "artifact_name", "good", secs(60))?;
        machine.expect_well("good: installed and committed")?;
        Ok((machine, device))
    }

    /// A new machine with the first release in slot A, switched on.
    pub fn machine(&mut self) -> Result<Machine> {
        let mut machine = self.new_machine()?;
        machine.power_on()?;
        Ok(machine)
    }
}
