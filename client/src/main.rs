//! The program `rota`.

use std::process::ExitCode;

use rota::cli::{self, Command, Options, HELP};
use rota::config::Config;
use rota::daemon;
use rota::device::Device;
use rota::provides::Provides;
use rota::slot::System;
use rota::status::Status;
use rota::sys::signal::Signal;

fn main() -> ExitCode {
    let result = cli::parse(std::env::args_os().skip(1)).map_err(|error| error.to_string()).and_then(run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("rota: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), String> {
    let Options { command, paths, log_level } = options;
    match command {
        Command::Help => print!("{HELP}"),
        Command::Version => println!("rota {}", env!("CARGO_PKG_VERSION")),
        Command::Daemon => {
            let config = Config::load(&paths);
            rota::log::init(log_level.unwrap_or(config.log_level), true, true);
            daemon::run(Device::with(paths, System::default(), config))?;
        }
        Command::Status { why, json } => {
            let status = Status::of(&mut Device::open(paths, System::default()));
            match json {
                true => println!("{:#}", status.json()),
                false => print!("{}", status.text(why)),
            }
        }
        Command::ShowArtifact => {
            let mut facts = Provides::peek(&paths);
            println!("{}", facts.remove("artifact_name").unwrap_or_default());
        }
        Command::ShowProvides => {
            for (name, value) in Provides::peek(&paths) {
                println!("{name}={value}");
            }
        }
        Command::CheckUpdate => daemon::wake(&paths, Signal::SIGUSR1)?,
        Command::SendInventory => daemon::wake(&paths, Signal::SIGUSR2)?,
    }
    Ok(())
}
