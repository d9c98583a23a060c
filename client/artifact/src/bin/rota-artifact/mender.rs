//! Called through a link named `mender-artifact`: what that program takes, and how it ends, where that differs from ours.
use std::{ffi::OsString, process::ExitCode};

use crate::{
    cli::Command,
    fail::{self, Code},
    output::print,
};

/// The name of the link.
pub const NAME: &str = "mender-artifact";
/// The version whose behaviour this is.
const VERSION: &str = "3.9.0";
/// Commands that the global flag `--compression` is for.
const WRITING: [&str; 2] = ["write", "modify"];

/// The arguments as our command line takes them.
pub fn arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    let mut value_of_ssh_args = false;
    for argument in given.iter_mut().skip(1) {
        if !std::mem::take(&mut value_of_ssh_args) {
            double_dash(argument);
            value_of_ssh_args = ["-S", "--ssh-args"].iter().any(|flag| argument == flag);
        }
    }
    match given.get(1).and_then(|first| first.to_str()) {
        Some("h") => given[1] = "help".into(),
        Some("-v") => given[1] = "--version".into(),
        _ => (),
    }
    global_compression(&mut given);
    given
}

/// `--compression` before the command belongs behind it, in front of the command's own flags, which go over it.
fn global_compression(given: &mut Vec<OsString>) {
    let first = given.get(1).map(|first| first.to_string_lossy().into_owned()).unwrap_or_default();
    let words = match first.as_str() {
        "--compression" => 2,
        _ if first.starts_with("--compression=") => 1,
        _ => return,
    };
    if given.len() < 1 + words {
        return;
    }
    let flag: Vec<OsString> = given.drain(1..=words).collect();
    let command = given.get(1).and_then(|command| command.to_str()).unwrap_or_default().to_owned();
    if WRITING.contains(&command.as_str()) {
        let at = if command == "write" { 3 } else { 2 };
        given.splice(at.min(given.len())..at.min(given.len()), flag);
    }
}

/// Long options may have one dash, too.
fn double_dash(argument: &mut OsString) {
    let text = argument.to_string_lossy();
    let long = |rest: &str| rest.len() > 1 && !rest.starts_with('-') && rest.chars().nth(1) != Some('=');
    if text.strip_prefix('-').is_some_and(long) {
        *argument = format!("-{text}").into();
    }
}

/// Prints which version this is, in the form that scripts expect.
pub fn version() -> ExitCode {
    match print(format_args!("{NAME} version {VERSION}+rota-{}\n", env!("CARGO_PKG_VERSION"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => ExitCode::from(fail.code.exit()),
    }
}

/// The exit code that a failure of the command has there.
pub fn exit(command: &Command, code: Code) -> u8 {
    match (command, code) {
        (Command::Write(_), fail::CREATE) => 2,
        (Command::Read(_) | Command::Validate(_) | Command::Dump(_), fail::OPEN) => 3,
        (Command::Validate(_), fail::INVALID | fail::VERSION) | (Command::Dump(_), _) => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_brought_into_our_form() {
        for (given, expected) in [
            ("read -key k a", "read --key k a"),
            ("read -k=k a", "read -k=k a"),
            ("-v", "--version"),
            ("h write", "help write"),
            (
                "write rootfs-image -S -p2222 -S -vv -f ssh://a",
                "write rootfs-image -S -p2222 -S -vv -f ssh://a",
            ),
            ("--compression none write module-image -n a", "write module-image --compression none -n a"),
            ("-compression=none modify -n a f", "modify --compression=none -n a f"),
            ("--compression none read f", "read f"),
            ("--compression", "--compression"),
            ("--compression none", ""),
            ("--compression none write", "write --compression none"),
        ] {
            let words = |line: &str| -> Vec<OsString> {
                ["x"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect()
            };
            assert_eq!(arguments(words(given)), words(expected), "{given}");
        }
    }
}
