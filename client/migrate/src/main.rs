//! The program `rota-migrate`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use rota_migrate::acts;
use rota_migrate::place::Place;
use rota_migrate::services::systemctl;
use rota_migrate::show::show;

const HELP: &str = "\
rota-migrate takes a running Mender device over in place, and gives it back.

usage: rota-migrate [options] [COMMAND]

commands:
  show    what would be done, and what is against it; changes nothing (without a command, too)
  do      let rota take the device over: the same key, identity, configuration, provides, scripts and modules
  undo    give it back to Mender's client

options:
  --rota FILE          the client (/usr/sbin/rota)
  --systemctl PROGRAM  what starts and stops services (systemctl, where systemd runs)
  --units DIR          where the administrator's units lie (/etc/systemd/system)
  --by-hand            ask nobody to start and stop services: a person does it
  -V, --version        version of this program
  -h, --help           this text

The environment moves folders as it does for the two clients: ROTA_CONF_DIR, ROTA_DATA_DIR, ROTA_LIB_DIR, ROTA_RUN_DIR,
MENDER_CONF_DIR, MENDER_DATA_DIR, MENDER_DATASTORE_DIR.

exit codes: 0 done (show: it can be done), 1 not done
";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("rota-migrate: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let mut place = Place::of_system();
    let mut command = None;
    let mut words = words;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{} needs a value", word.to_string_lossy()));
        match word.to_str().unwrap_or_default() {
            "-h" | "--help" => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            "-V" | "--version" => {
                println!("rota-migrate {}", env!("CARGO_PKG_VERSION"));
                return Ok(ExitCode::SUCCESS);
            }
            "--rota" => place.rota = value()?.into(),
            "--systemctl" => place.services.systemctl = Some(systemctl(value()?.into())),
            "--units" => place.services.units = value()?.into(),
            "--by-hand" => place.services.systemctl = None,
            name @ ("show" | "do" | "undo") if command.is_none() => command = Some(name.to_owned()),
            other => return Err(format!("there is no command or option {other}; see rota-migrate --help")),
        }
    }
    rota::log::init(log::LevelFilter::Warn, true, false);
    let said = match command.as_deref() {
        Some("do") => {
            let said = acts::take_over(&place)?;
            format!("rota is in charge of this device.\n{said}")
        }
        Some("undo") => {
            let said = acts::give_back(&place)?;
            format!("Mender's client is in charge of this device.\n{said}")
        }
        _ => {
            let (text, can) = show(&place);
            print!("{text}");
            return Ok(if can { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    };
    print!("{said}");
    Ok(ExitCode::SUCCESS)
}
