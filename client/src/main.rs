//! The program `rota`.

use std::process::ExitCode;

use rota::cli::{self, Command, Options, HELP};
use rota::daemon;
use rota::device::Device;
use rota::doctor::{self, Doctor};
use rota::finding::Finding;
use rota::provides::{Facts, Provides};
use rota::signals::Signals;
use rota::slot::System;
use rota::status::Status;
use rota::sys::signal::Signal;
use rota::update::bootstrap;
use rota::update::standalone::Done;
use rota::update::Engine;

/// Exit codes of the standalone commands (protocol: standalone mode).
const NOTHING_IN_PROGRESS: u8 = 2;
const REBOOT_NEEDED: u8 = 4;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let menders = cli::is_menders(&words.next().unwrap_or_default());
    let result = cli::parse(menders, words).map_err(|error| error.to_string()).and_then(run);
    match result {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("rota: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<u8, String> {
    let Options { command, paths, log_level, .. } = options.clone();
    if options.skip_verify {
        eprintln!("rota: --skipverify changes nothing: the server's certificate is always verified; --trusted-certs names its CA");
    }
    match command {
        Command::Help => print!("{HELP}"),
        Command::Version => println!("rota {}", env!("CARGO_PKG_VERSION")),
        Command::Daemon => {
            let config = options.config();
            let level = log_level.unwrap_or(config.log_level);
            match &options.log_file {
                Some(file) => rota::log::init_file(level, file)?,
                None => config.log_target.init(level),
            }
            daemon::run(Device::with(paths, System::default(), config))?;
        }
        Command::Install { from, reboot_exit_code } => {
            let mut engine = without_faults(engine(&options)?)?;
            println!("Installing artifact...");
            return Ok(told(engine.install(&from)?, reboot_exit_code));
        }
        Command::Commit => return Ok(told(without_faults(engine(&options)?)?.commit()?, false)),
        Command::Rollback => return Ok(told(engine(&options)?.rollback()?, false)),
        Command::Resume { reboot_exit_code } => {
            return Ok(told(engine(&options)?.resume()?, reboot_exit_code))
        }
        Command::Bootstrap => match engine(&options)?.bootstrap()? {
            Some(name) => println!("The device provides what the bootstrap artifact {name} says."),
            None => println!(
                "There was nothing to do: the device provides {}.",
                provided(&options)["artifact_name"]
            ),
        },
        Command::Doctor { online, json } => {
            rota::log::init(log_level.unwrap_or(log::LevelFilter::Error), true, false);
            let device = Device::with(paths, System::default(), options.config());
            let findings = Doctor { device, online }.examine();
            match json {
                true => println!("{:#}", doctor::json(&findings)),
                false => print!("{}", doctor::text(&findings)),
            }
            return Ok(u8::from(findings.iter().any(Finding::is_wrong)));
        }
        Command::Status { why, json } => {
            let status = Status::of(&mut Device::with(paths, System::default(), options.config()));
            match json {
                true => println!("{:#}", status.json()),
                false => print!("{}", status.text(why)),
            }
        }
        Command::ShowArtifact => {
            let mut facts = provided(&options);
            println!("{}", facts.remove("artifact_name").unwrap_or_default());
        }
        Command::ShowProvides => {
            for (name, value) in provided(&options) {
                println!("{name}={value}");
            }
        }
        Command::CheckUpdate => daemon::wake(&paths, Signal::SIGUSR1)?,
        Command::SendInventory => daemon::wake(&paths, Signal::SIGUSR2)?,
    }
    Ok(0)
}

fn engine(options: &Options) -> Result<Engine, String> {
    let config = options.config();
    let level = options.log_level.unwrap_or(log::LevelFilter::Warn);
    match &options.log_file {
        Some(file) => rota::log::init_file(level, file)?,
        None => rota::log::init(level, true, false),
    }
    // Whoever ends a command does not get what it was for.
    let signals = Signals::listen(1).map_err(|error| format!("cannot listen to signals: {error}"))?;
    let device = Device::with(options.paths.clone(), System::default(), config);
    let mut engine = Engine::new(device, signals);
    engine.stop_before = options.stop_before.clone();
    Ok(engine)
}

/// Nothing is installed or committed with a faulty configuration; to roll back is always possible.
fn without_faults(engine: Engine) -> Result<Engine, String> {
    match engine.device.config.faults.first() {
        Some(fault) => Err(format!("{fault}; correct the configuration first")),
        None => Ok(engine),
    }
}

/// What the device provides. A bootstrap artifact that waits is taken first.
fn provided(options: &Options) -> Facts {
    if bootstrap::waiting(&options.paths).is_some() {
        if let Err(why) = engine(options).and_then(|mut engine| engine.bootstrap()) {
            log::debug!("{why}");
        }
    }
    Provides::peek(&options.paths)
}

/// Says how a command ended, and with which code the program exits.
fn told(done: Done, reboot_exit_code: bool) -> u8 {
    const REBOOT: &str = "At least one payload requested a reboot of the device it updated.";
    match done {
        Done::Installed { reboot } => {
            println!("Installed, but not committed.\nUse 'commit' to update, or 'rollback' to roll back the update.");
            if reboot {
                println!("{REBOOT}");
            }
            if reboot && reboot_exit_code {
                return REBOOT_NEEDED;
            }
        }
        Done::InstalledAndCommitted { reboot } => {
            println!("Installed and committed.");
            if reboot {
                println!("{REBOOT}");
            }
            if reboot && reboot_exit_code {
                return REBOOT_NEEDED;
            }
        }
        Done::NotModified => println!("System not modified."),
        Done::Stopped(before) => println!("Stopped before {before}; resume goes on."),
        Done::Committed => println!("Committed."),
        Done::RolledBack { reboot } => {
            println!("Rolled back.");
            if reboot {
                println!("{REBOOT}");
            }
        }
        Done::NothingInProgress => {
            println!("No update in progress.");
            return NOTHING_IN_PROGRESS;
        }
    }
    0
}
