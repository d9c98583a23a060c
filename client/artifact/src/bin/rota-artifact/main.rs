//! `rota-artifact`: the host tool. Called through a link named `mender-artifact` it behaves as that program.
#![forbid(unsafe_code)]

mod cli;
mod dump;
mod fail;
mod files;
mod gen;
mod gzip;
mod image;
mod keys;
mod modify;
mod original;
mod output;
mod pkcs11;
mod progress;
mod read;
mod sign;
mod signals;
mod snapshot;
mod write;

use std::{ffi::OsString, fs, path::Path, process::ExitCode};

use clap::{error::ErrorKind, CommandFactory, Parser};

use cli::{Cli, Command};
use fail::{During, Fail, CREATE};
use read::Style;

const NAME: &str = "rota-artifact";
const MENDER_NAME: &str = "mender-artifact";

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_name());
    let as_mender = name.is_some_and(|name| name == MENDER_NAME);
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
    signals::watch();
    let style = Style { json: cli.json, as_mender };
    match files::check_epoch().and_then(|()| run(cli.command, &style)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fail { code, message }) => {
            output::warn(format_args!("{}: {message}", if as_mender { MENDER_NAME } else { NAME }));
            ExitCode::from(code)
        }
    }
}

fn run(command: Command, style: &Style) -> Result<(), Fail> {
    match command {
        Command::Write(what) => write::run(&what, style),
        Command::Read(arguments) => read::read(&arguments, style),
        Command::Validate(arguments) => read::validate(&arguments, style),
        Command::Sign(arguments) => sign::run(&arguments, style),
        Command::Modify(arguments) => modify::run(&arguments, style),
        Command::Cp(arguments) => image::cp(&arguments, style),
        Command::Cat(arguments) => image::cat(&arguments),
        Command::Install(arguments) => image::install(&arguments, style),
        Command::Rm(arguments) => image::rm(&arguments, style),
        Command::Dump(arguments) => dump::run(&arguments, style),
        Command::Gen(what) => gen::run(&what, style),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            output::print_bytes(&script)
        }
        Command::Man { folder } => man(folder.as_deref()),
    }
}

/// The man page on the standard output, or those of all commands in a folder.
fn man(folder: Option<&Path>) -> Result<(), Fail> {
    let act = "cannot write the man page";
    if let Some(folder) = folder {
        fs::create_dir_all(folder).during(CREATE, act)?;
        return clap_mangen::generate_to(Cli::command(), folder).during(CREATE, act);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).during(CREATE, act)?;
    output::print_bytes(&page)
}
