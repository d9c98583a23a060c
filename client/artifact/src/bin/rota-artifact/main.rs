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
mod mender;
mod modify;
mod original;
mod output;
mod progress;
mod read;
mod sign;
mod signals;
mod snapshot;
mod write;

use std::{ffi::OsString, fs, path::Path, process::ExitCode};

use clap::{error::ErrorKind, CommandFactory, Parser};

use serde_json::json;

use cli::{Cli, Command};
use fail::{During, Fail, CREATE};
use read::Style;

const NAME: &str = "rota-artifact";

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_name());
    let as_mender = name.is_some_and(|name| name == mender::NAME);
    if as_mender {
        arguments = mender::arguments(arguments);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if as_mender && error.kind() == ErrorKind::DisplayVersion => return mender::version(),
        Err(error) => return refuse(&error, as_mender),
    };
    signals::watch();
    let style = Style { json: cli.json, as_mender };
    match files::check_epoch().and_then(|()| run(&cli.command, &style)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fail { code, message }) => {
            let code = if as_mender { mender::exit(&cli.command, code) } else { code.exit() };
            match cli.json {
                true => output::warn(json!({"error": message, "code": code})),
                false => {
                    output::warn(format_args!("{}: {message}", if as_mender { mender::NAME } else { NAME }))
                }
            }
            ExitCode::from(code)
        }
    }
}

/// Ends for a command line that is none: with help that was asked for, or with what is wrong.
fn refuse(error: &clap::Error, as_mender: bool) -> ExitCode {
    let _ = error.print();
    ExitCode::from(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if as_mender => 0,
        _ => fail::ARGUMENTS.exit(),
    })
}

fn run(command: &Command, style: &Style) -> Result<(), Fail> {
    match command {
        Command::Write(what) => write::run(what, style),
        Command::Read(arguments) => read::read(arguments, style),
        Command::Validate(arguments) => read::validate(arguments, style),
        Command::Sign(arguments) => sign::run(arguments, style),
        Command::Modify(arguments) => modify::run(arguments, style),
        Command::Cp(arguments) => image::cp(arguments, style),
        Command::Cat(arguments) => image::cat(arguments),
        Command::Install(arguments) => image::install(arguments, style),
        Command::Rm(arguments) => image::rm(arguments, style),
        Command::Dump(arguments) => dump::run(arguments, style),
        Command::Gen(what) => gen::run(what, style),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), NAME, &mut script);
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
