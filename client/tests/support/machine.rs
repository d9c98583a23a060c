//! A machine: two slots as files, a boot loader that is a file, a data partition that is a folder.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rota::boot::fake::{Fake, Loader};
use rota::boot::{self, Boot};
use rota::config::{Config, Paths};
use rota::device::Device;
use rota::provides::Provides;
use rota::signals::Signals;
use rota::slot::{Layout, Slot, System};
use rota::sys::fault::{self, Fault};
use rota::update::journal::{Journal, Record};
use rota::update::{Engine, Exit};
use rota::window::Window;

use super::artifact::{image, DEVICE_TYPE};
use super::server::{Event, Server};
use super::Folder;

/// Bytes of a slot.
pub const SLOT: usize = 3 << 20;

pub struct Machine {
    pub folder: Folder,
    pub paths: Paths,
    pub layout: Layout,
    pub config: Config,
    /// The time that the client's windows and budgets go by, where it is not the true one.
    pub clock: Option<u64>,
}

/// Noon of a Wednesday and of a Saturday, UTC: that day, or one beside it, everywhere on earth.
pub const WEDNESDAY: u64 = 1_795_608_000;
pub const SATURDAY: u64 = WEDNESDAY + 3 * 86_400;

/// Windows that are open on the latter and closed on the former.
pub fn weekend() -> Vec<Window> {
    vec![Window::parse("Fri-Sun 00:00-24:00").unwrap()]
}

impl Machine {
    /// A machine that runs release `rel-1` from slot A.
    pub fn new(server: &Server) -> Machine {
        let folder = Folder::new();
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
        for path in [&paths.conf, &paths.data, &paths.lib, &folder.join("boot")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(&layout.a, image(1, SLOT)).unwrap();
        fs::write(&layout.b, image(2, SLOT)).unwrap();
        fs::write(paths.conf.join("artifact_info"), "artifact_name=rel-1\n").unwrap();
        let config = Config {
            device_type: Some(DEVICE_TYPE.into()),
            urls: vec![server.url.clone()],
            ca: Some(server.ca.clone()),
            poll_interval: Duration::from_millis(300),
            inventory_interval: Duration::from_secs(3600),
            retry_interval: Duration::from_millis(100),
            slots: Some((layout.a.clone(), layout.b.clone())),
            boot: "fake".into(),
            env_dir: Some(folder.join("boot")),
            health_timeout: Duration::from_secs(60),
            download_retry_interval: Duration::from_millis(10),
            ..Config::default()
        };
        let machine = Machine { folder, paths, layout, config, clock: None };
        identity(&machine);
        machine.power_on();
        machine
    }

    /// Switches the machine on: the boot loader chooses the slot.
    pub fn power_on(&self) -> Slot {
        let (slot, _) = self.loader().power_on(&|_| true).unwrap();
        self.start_in(slot)
    }

    /// Whatever the boot loader says, this slot runs.
    pub fn start_in(&self, slot: Slot) -> Slot {
        System::pretend(&self.root(), &self.layout, slot).unwrap();
        let _ = fs::remove_dir_all(&self.paths.run);
        slot
    }

    fn root(&self) -> PathBuf {
        self.folder.join("system")
    }

    pub fn loader(&self) -> Fake {
        Fake::at(&self.folder.join("boot"))
    }

    pub fn boot_state(&self) -> boot::State {
        self.loader().state().unwrap()
    }

    pub fn device(&self) -> Device {
        Device::with(self.paths.clone(), System::at(&self.root()), self.config.clone())
    }

    /// Runs the client until the machine restarts, or until `enough` is seen in what the server saw.
    pub fn run(&self, server: &Server, enough: impl Fn(&[Event]) -> bool) -> Exit {
        self.run_under(Fault::Never, server, enough).0.expect("no power cut was planned")
    }

    /// The same under a fault of the disk; `None` when the power was cut. The number is that of the points that were passed.
    pub fn run_under(
        &self,
        fault: Fault,
        server: &Server,
        enough: impl Fn(&[Event]) -> bool,
    ) -> (Option<Exit>, usize) {
        rota::log::init(log::LevelFilter::Info, false, false);
        let signals = Signals::default();
        let since = Instant::now();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| fault::run(fault, || self.engine(&signals).run()));
            while !client.is_finished() {
                let in_time = server.wait(since);
                if enough(&server.events()) || !in_time {
                    signals.stop();
                }
                if !in_time {
                    client.join().unwrap();
                    panic!("nothing more happens; the server saw {:#?}", server.events());
                }
            }
            let outcome = client.join().unwrap();
            (outcome.result, outcome.points.len())
        })
    }

    /// The client in this thread, at the machine's time.
    pub fn engine(&self, signals: &Signals) -> Engine {
        #[cfg(feature = "faults")]
        rota::date::pretend(self.clock);
        Engine::new(self.device(), signals.clone())
    }

    /// Runs the client until it is done with the deployment: the inventory after the final report is the sign.
    pub fn run_to_report(&self, server: &Server) -> Exit {
        self.run(server, reported)
    }

    /// A check of the product, `10-display`, with these lines of shell.
    pub fn health_check(&self, lines: &str) {
        let check = self.paths.conf.join("health.d/10-display");
        fs::create_dir_all(check.parent().unwrap()).unwrap();
        fs::write(&check, format!("#!/bin/sh\n{lines}")).unwrap();
        fs::set_permissions(&check, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
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
}

/// Whether the final report has come, and the inventory after it.
pub fn reported(events: &[Event]) -> bool {
    let last = |event: &Event| match event {
        Event::Status(status, _) => status == "success",
        event => matches!(event, Event::Log(_)),
    };
    let mut after = events.iter().skip_while(|event| !last(event));
    after.any(|event| matches!(event, Event::Inventory(_)))
}

/// The machine that runs the tests may have no Ethernet interface.
fn identity(machine: &Machine) {
    let script = machine.paths.lib.join("identity");
    fs::write(&script, "#!/bin/sh\necho mac=02:00:00:00:00:01\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}
