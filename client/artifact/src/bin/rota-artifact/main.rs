//! `rota-artifact`: the host tool. Called through a link named `mender-artifact` it behaves as that program.
#![forbid(unsafe_code)]

mod cli;
mod fail;
mod files;
mod gzip;
mod keys;
mod progress;
mod read;
mod write;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{error::ErrorKind, Parser};

use cli::{Cli, Command};
use fail::Fail;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_name());
    let as_mender = name.is_some_and(|name| name == "mender-artifact");
    if as_mender {
        arguments.iter_mut().skip(1).for_each(cli::double_dash);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { fail::ARGUMENTS });
        }
    };
    match run(cli, as_mender) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fail { code, message }) => {
            eprintln!("{}: {message}", if as_mender { "mender-artifact" } else { "rota-artifact" });
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli, as_mender: bool) -> Result<(), Fail> {
    let style = read::Style { json: cli.json, as_mender };
    match cli.command {
        Command::Write(what) => write::run(what, &style),
        Command::Read(arguments) => read::read(&arguments, &style),
        Command::Validate(arguments) => read::validate(&arguments, &style),
    }
}
