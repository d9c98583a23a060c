//! The machine of the sweep: two slots, a boot loader, a data partition, all in a folder that can be put back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rota::boot::fake::{Fake, Loader};
use rota::boot::grub::Grub;
use rota::boot::uboot::UBoot;
use rota::boot::{Settings, State};
use rota::config::{Config, Paths};
use rota::device::Device;
use rota::provides::Provides;
use rota::slot::{Layout, Slot, System};
use rota::update::journal::{Journal, Record};

use super::flow::{self, old_image, Flow, Payload, Trial, SLOT};
use super::server::URL;
use super::support::artifact::{empty, image, DEVICE_TYPE};

/// Bytes of each copy of U-Boot's environment.
const ENV: usize = 0x400;
/// What the bootstrap artifact says.
pub const BOARD: (&str, &str) = ("board.revision", "C");
const PARTS: [u32; 2] = [2, 3];

pub struct Machine {
    folder: PathBuf,
    pub paths: Paths,
    pub layout: Layout,
    pub config: Config,
}

/// All files, with their modes, and all folders of a machine that is switched off.
pub type Files = BTreeMap<PathBuf, Option<(u32, Vec<u8>)>>;

impl Machine {
    /// A machine that runs `rel-1`, as `flow` finds it.
    pub fn new(flow: &Flow) -> Machine {
        let folder = scratch();
        let paths = Paths {
            conf: folder.join("etc"),
            conf_file: None,
            data: folder.join("data"),
            run: folder.join("run"),
            lib: folder.join("lib"),
            mender: folder.join("mender"),
            mender_conf: folder.join("mender-conf"),
            mender_data: folder.join("mender-data"),
            mender_fallback: None,
        };
        let layout = Layout { a: folder.join("slot2"), b: folder.join("slot3") };
        let [download_windows, install_windows, reboot_windows] = flow.windows();
        let config = Config {
            device_type: Some(DEVICE_TYPE.into()),
            urls: vec![URL.to_owned()],
            verify_keys: Some(vec![paths.conf.join("verify.pem")]),
            poll_interval: Duration::ZERO,
            inventory_interval: Duration::from_secs(3600),
            retry_interval: Duration::ZERO,
            slots: Some((layout.a.clone(), layout.b.clone())),
            boot: flow.loader.to_owned(),
            env_dir: Some(folder.join("boot")),
            health_timeout: match flow.trial {
                Trial::Offline => Duration::ZERO,
                _ => Duration::from_secs(60),
            },
            download_retries: 0,
            // Never used up; each note of it is a durable write.
            daily_budget: if flow.is_held { 1 << 40 } else { 0 },
            download_windows,
            install_windows,
            reboot_windows,
            ..Config::default()
        };
        let machine = Machine { folder, paths, layout, config };
        machine.furnish(flow);
        machine
    }

    fn furnish(&self, flow: &Flow) {
        for path in [&self.paths.conf, &self.paths.data, &self.paths.lib, &self.folder.join("boot")] {
            fs::create_dir_all(path).unwrap();
        }
        let stale = match flow.is_fallback {
            true => vec![0; SLOT],
            false => image(2, SLOT),
        };
        fs::write(self.layout.path(flow.home()), old_image()).unwrap();
        fs::write(self.layout.path(flow.home().other()), stale).unwrap();
        fs::write(self.paths.conf.join("verify.pem"), flow::verify_key()).unwrap();
        fs::write(self.paths.conf.join("artifact_info"), "artifact_name=rel-1\n").unwrap();
        if flow.bootstraps {
            fs::write(self.bootstrap(), empty("rel-1", &[BOARD], None)).unwrap();
        }
        // Run by the kernel without a shell, which takes its time.
        program(&self.paths.lib.join("identity"), "#!/bin/cat\nmac=02:00:00:00:00:01\n");
        if let Payload::Module(module) = flow.payload {
            program(&self.paths.lib.join("modules/v3/spy"), &module.program(&self.place()));
            fs::write(self.place(), "old\n").unwrap();
        }
        if flow.trial == Trial::Unwell {
            program(&self.unwell(), "#!/bin/false\n");
        }
        if flow.loader == "uboot" {
            let copy = |number: usize| self.folder.join(format!("boot/env{number}"));
            let lines = [0, 1].map(|number| format!("{} 0x0 {ENV:#x}\n", copy(number).display()));
            fs::write(self.folder.join("boot/fw_env.config"), lines.concat()).unwrap();
            fs::write(self.folder.join("boot/u-boot-initial-env"), "bootcmd=run rota\nbootlimit=1\n")
                .unwrap();
            for number in [0, 1] {
                fs::write(copy(number), vec![0xff; ENV]).unwrap();
            }
        }
        self.loader().repair(Slot::A).unwrap();
    }

    pub fn bootstrap(&self) -> PathBuf {
        self.paths.data.join("bootstrap.mender")
    }

    fn place(&self) -> PathBuf {
        self.folder.join("place")
    }

    /// The file that a module changes, when nothing is left of its update.
    pub fn placed(&self) -> String {
        assert!(!self.paths.data.join("modules/v3/payloads/0000/tree").exists(), "the module's tree is left");
        fs::read_to_string(self.place()).unwrap()
    }

    fn unwell(&self) -> PathBuf {
        self.paths.conf.join("health.d/display")
    }

    /// The health check that fails is one no more.
    pub fn get_well(&self) {
        let _ = fs::set_permissions(self.unwell(), fs::Permissions::from_mode(0o644));
    }

    pub fn loader(&self) -> Box<dyn Loader> {
        let folder = self.folder.join("boot");
        match self.config.boot.as_str() {
            "grub" => Box::new(Grub::at(&folder, PARTS)),
            "uboot" => {
                let settings = Settings { backend: "uboot".into(), env_dir: Some(folder), parts: PARTS };
                Box::new(UBoot::open(&settings).unwrap())
            }
            _ => Box::new(Fake::at(&folder)),
        }
    }

    /// What the boot loader's records say.
    pub fn boot_state(&self) -> State {
        self.loader().state().expect("the boot loader's records can be read")
    }

    /// Switches the machine on: the boot loader chooses the slot. Returns it, and whether this is its trial.
    pub fn power_on(&self) -> (Slot, bool) {
        let (slot, trial) =
            self.loader().power_on(&|slot| self.loads(slot)).expect("the boot loader goes on");
        assert!(self.loads(slot), "bricked: slot {slot} was chosen, and cannot be loaded");
        System::pretend(&self.folder.join("system"), &self.layout, slot).unwrap();
        let _ = fs::remove_dir_all(&self.paths.run);
        (slot, trial)
    }

    /// What a boot loader sees of a slot: whether there is a file system.
    fn loads(&self, slot: Slot) -> bool {
        let mut front = [0; 4096];
        fs::File::open(self.layout.path(slot)).unwrap().read_exact(&mut front).unwrap();
        front.iter().any(|byte| *byte != 0)
    }

    pub fn device(&self) -> Device {
        Device::with(self.paths.clone(), System::at(&self.folder.join("system")), self.config.clone())
    }

    pub fn slot(&self, slot: Slot) -> Vec<u8> {
        fs::read(self.layout.path(slot)).unwrap()
    }

    pub fn artifact_name(&self) -> String {
        Provides::peek(&self.paths)["artifact_name"].clone()
    }

    pub fn journal(&self) -> Record {
        Journal::peek(&self.paths.data)
    }

    /// Destroys both records of the journal.
    pub fn lose_journal(&self) {
        for file in ["journal.0", "journal.1"] {
            fs::write(self.paths.data.join(file), "lost").unwrap();
        }
    }

    /// Puts an artifact where a person can install it from.
    pub fn save_artifact(&self, artifact: &[u8]) -> PathBuf {
        let file = self.folder.join("artifact.mender");
        fs::write(&file, artifact).unwrap();
        file
    }

    pub fn files(&self) -> Files {
        let mut files = Files::new();
        collect(&self.folder, &mut files);
        files
    }

    /// Puts back what differs. A program that is the same is not written again: another thread may be starting one of its own
    /// just then, and the kernel runs nothing that is open for writing.
    pub fn put_back(&self, files: &Files) {
        let now = self.files();
        let kind = |file: &Option<(u32, _)>| file.as_ref().map(|(mode, _)| mode & nix::libc::S_IFMT);
        let fits = |path: &PathBuf, is| files.get(path).is_some_and(|was| kind(was) == kind(is));
        for (path, _) in now.iter().rev().filter(|(path, is)| !fits(path, is)) {
            fs::remove_file(path).or_else(|_| fs::remove_dir(path)).unwrap();
        }
        for (path, content) in files.iter().filter(|(path, content)| now.get(*path) != Some(*content)) {
            match content {
                None => fs::create_dir(path).unwrap(),
                Some((mode, bytes)) => {
                    if fs::read(path).ok().as_ref() != Some(bytes) {
                        fs::write(path, bytes).unwrap();
                    }
                    fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn collect(folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            files.insert(path.clone(), None);
            collect(&path, files);
        } else {
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            files.insert(path, Some((meta.permissions().mode(), content)));
        }
    }
}

/// Writes a program. The file is closed for writing before anybody runs it.
fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
}

/// A fresh folder, in memory where that is possible.
fn scratch() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("rota-sweep-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    [PathBuf::from("/dev/shm"), std::env::temp_dir()]
        .into_iter()
        .map(|place| place.join(&name))
        .find(|folder| fs::create_dir(folder).is_ok())
        .expect("a temporary folder")
}
