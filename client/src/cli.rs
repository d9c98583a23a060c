//! The command line.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Config, Paths};
use crate::update::standalone;
use crate::update::state::State;

/// What `rota --help` prints.
pub const HELP: &str = "\
rota keeps this device up to date.

usage: rota [options] COMMAND

commands:
  daemon             run the client
  install FILE       install an artifact from a file, an http(s) address, or with - from standard input
  commit             keep what was installed by hand
  rollback           undo what was installed by hand
  resume             go on with what was stopped or interrupted
  bootstrap          take the bootstrap artifact, which says what the device provides before the first update
  doctor             what is wrong with this board's integration, and what to do; --online asks the server, too
  status             what runs, what is committed, what went on; --why tells every attempt, --json is for programs
  show-artifact      name of the installed artifact
  show-provides      what installed artifacts provide, name=value
  check-update       make the daemon ask for a deployment now
  send-inventory     make the daemon send the inventory now

options:
  -c, --config PATH      configuration file, or folder of rota.toml (/etc/rota)
  -d, --data DIR         state of the client (/var/lib/rota)
  -l, --log-level LEVEL  error, warning, info or debug
  -V, --version          version of this program
      --reboot-exit-code install, resume: exit with 4 when the machine has to be restarted
      --stop-before STATE install, commit, rollback, resume: stop there, for resume to go on; may be repeated. One of
                         ArtifactInstall_Enter, ArtifactCommit_Enter, ArtifactCommit_Leave, ArtifactRollback_Enter,
                         ArtifactFailure_Enter, Cleanup
  -h, --help             this text

Called mender-update or mender (by a link), it takes that program's options, too: -b FILE, -E FILE, -L FILE, -v.

exit codes: 0 done, 1 failed (doctor: something is wrong), 2 no update to commit, roll back or resume,
            4 installed, restart needed (--reboot-exit-code)
";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Run the client.
    Daemon,
    /// Install an artifact.
    Install { from: String, reboot_exit_code: bool },
    /// Commit what was installed.
    Commit,
    /// Undo what was installed.
    Rollback,
    /// Go on with what was stopped or interrupted.
    Resume { reboot_exit_code: bool },
    /// Take the bootstrap artifact.
    Bootstrap,
    /// Examine the board.
    Doctor { online: bool, json: bool },
    /// Tell how the device stands.
    Status { why: bool, json: bool },
    /// Print the name of the installed artifact.
    ShowArtifact,
    /// Print the provides.
    ShowProvides,
    /// Make the daemon poll.
    CheckUpdate,
    /// Make the daemon send the inventory.
    SendInventory,
}

/// The words of the command line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is to be done.
    pub command: Command,
    /// Where things are.
    pub paths: Paths,
    /// Over the configured level.
    pub log_level: Option<log::LevelFilter>,
    /// Where an update by hand stops.
    pub stop_before: Vec<State>,
    /// The log, in the place of standard error.
    pub log_file: Option<PathBuf>,
    /// Certificates to trust, over the configured ones.
    pub ca: Option<PathBuf>,
    /// Asked for what this client never does: to trust any server.
    pub skip_verify: bool,
}

impl Options {
    /// The configuration, with what the command line says over it.
    pub fn config(&self) -> Config {
        let mut config = Config::load(&self.paths);
        config.ca = self.ca.clone().or(config.ca);
        config
    }
}

/// Whether the program was called by the name of Mender's client.
pub fn is_menders(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    name == "mender-update" || name == "mender"
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see rota --help", self.0)
    }
}

impl std::error::Error for Error {}

fn wrong<T>(what: String) -> Result<T, Error> {
    Err(Error(what))
}

/// Understands the words after the program's name. `menders`: also those that only Mender's client has.
pub fn parse(menders: bool, mut words: impl Iterator<Item = OsString>) -> Result<Options, Error> {
    let (mut paths, mut log_level, mut command) = (Paths::default(), None, None);
    let (mut log_file, mut ca, mut skip_verify, mut stop_before) = (None, None, false, Vec::new());
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        let Some(word) = word.to_str() else {
            return wrong(format!("{} is not text", word.to_string_lossy()));
        };
        let (word, mut inline) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(OsString::from(value))),
            _ => (word, None),
        };
        let mut value =
            || inline.take().or_else(|| words.next()).ok_or(Error(format!("{word} needs a value")));
        match word {
            "-h" | "--help" => command = Some(Command::Help),
            "-V" | "--version" => command = command.or(Some(Command::Version)),
            "-c" | "--config" => set_config(&mut paths, value()?.into()),
            "-d" | "--data" => set_data(&mut paths, value()?.into(), menders),
            "-l" | "--log-level" => log_level = Some(level(&value()?.to_string_lossy())?),
            "--stop-before" => stop_before.push(stop(&value()?.to_string_lossy())?),
            "-v" if menders => command = command.or(Some(Command::Version)),
            "--datastore" if menders => set_data(&mut paths, value()?.into(), menders),
            "-b" | "--fallback-config" if menders => paths.mender_fallback = Some(value()?.into()),
            "-L" | "--log-file" if menders => log_file = Some(value()?.into()),
            "-E" | "--trusted-certs" if menders => ca = Some(value()?.into()),
            "--skipverify" if menders => skip_verify = true,
            "--why" | "--json" | "--online" | "--reboot-exit-code" => flags.push(word.to_owned()),
            option if option.starts_with('-') && option != "-" => {
                return wrong(format!("there is no option {option}"))
            }
            name if command.is_none() => command = Some(named(name)?),
            word => match &mut command {
                Some(Command::Install { from, .. }) if from.is_empty() => *from = word.to_owned(),
                _ => return wrong(format!("{word} is one word too many")),
            },
        }
        if inline.is_some() {
            return wrong(format!("{word} takes no value"));
        }
    }
    let mut command = command.ok_or(Error("a command is missing".into()))?;
    for flag in flags {
        match (&mut command, flag.as_str()) {
            (Command::Status { why, .. }, "--why") => *why = true,
            (Command::Status { json, .. }, "--json") => *json = true,
            (Command::Doctor { json, .. }, "--json") => *json = true,
            (Command::Doctor { online, .. }, "--online") => *online = true,
            (_, "--online") => return wrong(format!("{flag} belongs to doctor")),
            (_, "--json") => return wrong(format!("{flag} belongs to status and doctor")),
            (Command::Install { reboot_exit_code, .. }, "--reboot-exit-code") => *reboot_exit_code = true,
            (Command::Resume { reboot_exit_code }, "--reboot-exit-code") => *reboot_exit_code = true,
            (_, "--reboot-exit-code") => return wrong(format!("{flag} belongs to install and resume")),
            _ => return wrong(format!("{flag} belongs to status")),
        }
    }
    let by_hand = matches!(
        command,
        Command::Install { .. } | Command::Commit | Command::Rollback | Command::Resume { .. }
    );
    if !by_hand && !stop_before.is_empty() {
        return wrong("--stop-before belongs to install, commit, rollback and resume".into());
    }
    if matches!(&command, Command::Install { from, .. } if from.is_empty()) {
        return wrong("install needs a file, an address, or -".into());
    }
    paths.heed_mender(|name| std::env::var_os(name).map(PathBuf::from));
    Ok(Options { command, paths, log_level, stop_before, log_file, ca, skip_verify })
}

fn named(name: &str) -> Result<Command, Error> {
    Ok(match name {
        "help" => Command::Help,
        "daemon" => Command::Daemon,
        "install" => Command::Install { from: String::new(), reboot_exit_code: false },
        "commit" => Command::Commit,
        "rollback" => Command::Rollback,
        "resume" => Command::Resume { reboot_exit_code: false },
        "bootstrap" => Command::Bootstrap,
        "doctor" => Command::Doctor { online: false, json: false },
        "status" => Command::Status { why: false, json: false },
        "show-artifact" => Command::ShowArtifact,
        "show-provides" => Command::ShowProvides,
        "check-update" => Command::CheckUpdate,
        "send-inventory" => Command::SendInventory,
        other => return wrong(format!("there is no command {other}")),
    })
}

fn set_config(paths: &mut Paths, path: PathBuf) {
    if path.is_dir() {
        paths.conf = path;
    } else {
        paths.conf_file = Some(path);
    }
}

/// For Mender's client, its own state and ours share the folder.
fn set_data(paths: &mut Paths, path: PathBuf, menders: bool) {
    if menders {
        paths.mender_data = path.clone();
    }
    paths.data = path;
}

fn stop(name: &str) -> Result<State, Error> {
    let state = standalone::STOPS.iter().find(|(known, _)| *known == name).map(|(_, state)| *state);
    state.ok_or_else(|| {
        let known: Vec<_> = standalone::STOPS.iter().map(|(known, _)| *known).collect();
        Error(format!("--stop-before: expected one of {}; found {name}", known.join(", ")))
    })
}

fn level(name: &str) -> Result<log::LevelFilter, Error> {
    let known = if name == "warning" { "warn" } else { name };
    known
        .parse()
        .map_err(|_| Error(format!("expected the level error, warning, info or debug, found {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, Error> {
        parse(false, line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn menders_options_belong_to_menders_name() {
        let line = "-b /fallback -E /ca.pem -L /log --skipverify --datastore /data install x.mender";
        let found = parse(true, line.split(' ').map(OsString::from)).unwrap();
        assert_eq!(found.command, Command::Install { from: "x.mender".into(), reboot_exit_code: false });
        assert_eq!((found.ca, found.log_file), (Some("/ca.pem".into()), Some("/log".into())));
        let Paths { data, mender_data, mender_fallback, .. } = found.paths;
        assert_eq!((data, mender_data), ("/data".into(), "/data".into()));
        assert_eq!((mender_fallback, found.skip_verify), (Some("/fallback".into()), true));
        assert!(options(line).is_err() && options("-v").is_err());
        assert_eq!(parse(true, ["-v".into()].into_iter()).unwrap().command, Command::Version);
        for (name, menders) in [("/usr/bin/mender-update", true), ("mender", true), ("/usr/sbin/rota", false)]
        {
            assert_eq!(is_menders(OsStr::new(name)), menders);
        }
    }

    #[test]
    fn stops_are_named_as_in_the_protocol() {
        let found = options("resume --stop-before Cleanup --stop-before=ArtifactCommit_Leave").unwrap();
        assert_eq!(found.stop_before, [State::Cleanup, State::ArtifactCommitLeave]);
        let error = options("resume --stop-before Idle_Enter").unwrap_err().to_string();
        assert!(
            error.contains("expected one of ArtifactInstall_Enter, ") && error.contains("found Idle_Enter"),
            "{error}"
        );
    }

    #[test]
    fn commands_and_options_in_any_order() {
        let found = options("-c /x.toml status --json --data=/d -l warning").unwrap();
        assert_eq!(found.command, Command::Status { why: false, json: true });
        assert_eq!((found.paths.conf_file, found.paths.data), (Some("/x.toml".into()), "/d".into()));
        assert_eq!(found.log_level, Some(log::LevelFilter::Warn));
        assert_eq!(options("daemon --config /etc").unwrap().paths.conf, PathBuf::from("/etc"));
    }

    #[test]
    fn the_doctor_speaks_to_programs_and_asks_servers() {
        let found = options("doctor --json --online").unwrap().command;
        assert_eq!(found, Command::Doctor { online: true, json: true });
    }

    #[test]
    fn install_takes_a_file_an_address_or_standard_input() {
        for from in ["/tmp/x.mender", "https://host/x.mender?a=b", "-"] {
            let found = options(&format!("install --reboot-exit-code {from}")).unwrap().command;
            assert_eq!(found, Command::Install { from: from.into(), reboot_exit_code: true });
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, name) in [
            ("", "command is missing"),
            ("explode", "no command explode"),
            ("daemon --fast", "no option --fast"),
            ("install", "install needs a file"),
            ("install a b", "b is one word too many"),
            ("commit --reboot-exit-code", "belongs to install"),
            ("status --stop-before Cleanup", "belongs to install, commit"),
            ("status --online", "--online belongs to doctor"),
            ("daemon --why", "--why belongs to status"),
            ("daemon twice", "twice is one word too many"),
            ("daemon -d", "-d needs a value"),
            ("status --json=yes", "--json takes no value"),
            ("-l loud daemon", "found loud"),
        ] {
            let error = options(line).unwrap_err().to_string();
            assert!(error.contains(name) && error.ends_with("see rota --help"), "{line}: {error}");
        }
    }

    #[test]
    fn the_help_lists_every_command() {
        for line in
            HELP.lines().skip_while(|line| *line != "commands:").skip(1).take_while(|line| !line.is_empty())
        {
            let name = line.split_whitespace().next().unwrap();
            assert!(named(name).is_ok(), "{name}");
        }
    }
}
