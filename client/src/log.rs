//! Where log lines go: standard error, syslog, and the log of the deployment that is being worked on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use log::{Level, LevelFilter, Metadata, Record};

use crate::net::api::Message;
use crate::sys::disk;

/// Most bytes of a deployment log on disk; what comes after is kept in memory, newest first to stay.
const FILE_LIMIT: u64 = 512 << 10;
/// Most bytes of a deployment log in memory.
const MEMORY_LIMIT: usize = 128 << 10;
/// Longest text of one line.
const LINE_LIMIT: usize = 4096;
/// How many deployments' logs are kept.
const KEPT: usize = 5;

thread_local! {
    static DEPLOYMENT: RefCell<Option<DeploymentLog>> = const { RefCell::new(None) };
}

/// Where the daemon's log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Standard error; and syslog, unless systemd or a person at a terminal reads the former.
    Auto,
    /// Standard error only.
    Stderr,
    /// Syslog only.
    Syslog,
}

impl Target {
    /// Sends what is logged from `level` up there.
    pub fn init(self, level: LevelFilter) {
        let is_read = || std::env::var_os("JOURNAL_STREAM").is_some() || io::stderr().is_terminal();
        init(level, self != Target::Syslog, self == Target::Syslog || self == Target::Auto && !is_read());
    }
}

/// Sends what is logged from `level` up to standard error and to `/dev/log`, as asked; to a deployment's log always.
pub fn init(level: LevelFilter, stderr: bool, syslog: bool) {
    let syslog = syslog.then(Syslog::open).flatten();
    if log::set_boxed_logger(Box::new(Logger { stderr, file: None, syslog })).is_ok() {
        log::set_max_level(level);
    }
}

/// The same to a file, which grows.
pub fn init_file(level: LevelFilter, path: &Path) -> Result<(), String> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let file = file.map_err(|error| format!("cannot write the log {}: {error}", path.display()))?;
    if log::set_boxed_logger(Box::new(Logger { stderr: false, file: Some(file), syslog: None })).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

struct Logger {
    stderr: bool,
    file: Option<File>,
    syslog: Option<Syslog>,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // What libraries tell of themselves is for their makers.
        metadata.target().starts_with("rota")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if self.stderr {
            let _ = writeln!(io::stderr(), "rota: {}: {text}", name(record.level()));
        }
        if let Some(mut file) = self.file.as_ref() {
            let now = crate::date::rfc3339(crate::date::now());
            let _ = writeln!(file, "{now} {}: {text}", name(record.level()));
        }
        if let Some(syslog) = &self.syslog {
            syslog.send(record.level(), &text);
        }
        to_deployment(record.level(), &text);
    }

    fn flush(&self) {}
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}

/// Syslog's local socket (RFC 3164 as every daemon takes it).
struct Syslog(UnixDatagram);

impl Syslog {
    fn open() -> Option<Syslog> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Syslog(socket))
    }

    fn send(&self, level: Level, text: &str) {
        const DAEMON: u8 = 3 << 3;
        let severity = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        for line in text.lines() {
            let packet = format!("<{}>rota[{}]: {line}", DAEMON | severity, std::process::id());
            // Lost when nobody listens: the log must not stop an update.
            let _ = self.0.send_to(packet.as_bytes(), "/dev/log");
        }
    }
}

/// The log of one deployment: in a file as long as the disk takes it, in memory after that.
struct DeploymentLog {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    memory: VecDeque<Message>,
    remembered: usize,
}

/// From now on, what this thread logs belongs to the deployment `id` too. Its log goes on where it ended.
/// It lies in `folder`.
pub fn begin_deployment(folder: &Path, id: &str) {
    let path = path_for(folder, id);
    // Opening a FIFO would wait for somebody to read from it.
    let file = OpenOptions::new().append(true).create(true).custom_flags(nix::libc::O_NONBLOCK).open(&path);
    let found = file.and_then(|file| Ok((file.metadata()?, file))).ok().filter(|(found, _)| found.is_file());
    let (written, file) = found.map_or((0, None), |(found, file)| (found.len(), Some(file)));
    let log = DeploymentLog { path, file, written, memory: VecDeque::new(), remembered: 0 };
    DEPLOYMENT.with(|current| current.replace(Some(log)));
}

/// The deployment is over: nothing more belongs to its log.
pub fn end_deployment() {
    DEPLOYMENT.with(|current| current.replace(None));
}

/// All lines of the current deployment's log, oldest first. What a power cut garbled is left out.
pub fn deployment_messages() -> Vec<Message> {
    DEPLOYMENT.with(|current| {
        let current = current.borrow();
        let Some(log) = current.as_ref() else { return Vec::new() };
        let text = disk::read(&log.path, FILE_LIMIT).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        lines.chain(log.memory.iter().cloned()).collect()
    })
}

fn to_deployment(level: Level, text: &str) {
    DEPLOYMENT.with(|current| {
        // Not when the line was logged while the log itself was at work.
        if let Ok(mut current) = current.try_borrow_mut() {
            if let Some(log) = current.as_mut() {
                log.add(level, text);
            }
        }
    });
}

impl DeploymentLog {
    fn add(&mut self, level: Level, text: &str) {
        let message = Message {
            timestamp: crate::date::rfc3339(crate::date::now()),
            level: name(level).into(),
            message: crate::net::api::short(text, LINE_LIMIT),
        };
        let Ok(mut line) = serde_json::to_vec(&message) else { return };
        line.push(b'\n');
        if self.written + line.len() as u64 <= FILE_LIMIT {
            if let Some(true) = self.file.as_mut().map(|file| file.write_all(&line).is_ok()) {
                self.written += line.len() as u64;
                return;
            }
        }
        self.remembered += line.len();
        self.memory.push_back(message);
        while self.remembered > MEMORY_LIMIT {
            let Some(oldest) = self.memory.pop_front() else { break };
            self.remembered -= serde_json::to_vec(&oldest).map_or(0, |line| line.len() + 1);
        }
    }
}

/// `NNNN.<id>.log`, 0000 the newest. An older deployment's files move up by one; the oldest go.
fn path_for(folder: &Path, id: &str) -> PathBuf {
    let _ = fs::create_dir_all(folder);
    let mut logs: Vec<(usize, String)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let (number, rest) = name.split_once('.')?;
            Some((number.parse().ok()?, rest.strip_suffix(".log")?.to_owned()))
        })
        .collect();
    let path = |number: usize, id: &str| folder.join(format!("{number:04}.{id}.log"));
    if let Some((number, _)) = logs.iter().find(|(_, known)| known == id) {
        return path(*number, id);
    }
    logs.sort_unstable_by(|one, other| other.cmp(one));
    for (number, known) in logs {
        let _ = match number + 1 < KEPT {
            true => fs::rename(path(number, &known), path(number + 1, &known)),
            false => fs::remove_file(path(number, &known)),
        };
    }
    path(0, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_deployments_log_goes_on_after_a_restart_and_five_are_kept() {
        let folder = crate::testing::folder();
        begin_deployment(&folder, "one");
        to_deployment(Level::Info, "first");
        begin_deployment(&folder, "one");
        to_deployment(Level::Error, "second");
        let messages = deployment_messages();
        let texts: Vec<_> = messages.iter().map(|m| (m.level.as_str(), m.message.as_str())).collect();
        assert_eq!(texts, [("info", "first"), ("error", "second")]);
        for id in ["two", "three", "four", "five", "six"] {
            begin_deployment(&folder, id);
        }
        assert_eq!(
            files(&folder),
            ["0000.six.log", "0001.five.log", "0002.four.log", "0003.three.log", "0004.two.log"]
        );
        end_deployment();
        assert!(deployment_messages().is_empty());
    }

    #[test]
    fn garbage_is_left_out_and_a_log_without_a_disk_is_kept_in_memory_within_bounds() {
        let folder = crate::testing::folder();
        begin_deployment(&folder, "one");
        fs::write(folder.join("0000.one.log"), "{\"timestamp\":\"\n\u{0}\u{0}\n").unwrap();
        to_deployment(Level::Info, "good");
        assert_eq!(deployment_messages().len(), 1);

        begin_deployment(&folder.join("nowhere\0"), "two");
        for n in 0..3000 {
            to_deployment(Level::Info, &format!("{n} {}", "x".repeat(200)));
        }
        let messages = deployment_messages();
        assert!(messages.len() < 600 && messages.last().unwrap().message.starts_with("2999 "));
        end_deployment();
    }
}
