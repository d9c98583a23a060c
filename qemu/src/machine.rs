//! A machine: its disk, its power, its console and a shell on it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::error::{check, Context, Error, Result};
use crate::kind::{Kind, Loader, Slot};
use crate::lossy::{self, Losses, LossyDisk};
use crate::random::Random;
use crate::wait::{secs, until, Look};

/// How long a boot may take on a busy host.
pub const BOOT: Duration = secs(240);

/// A machine on a disk of its own.
pub struct Machine {
    kind: &'static dyn Kind,
    folder: PathBuf,
    console: Console,
    power: Option<Power>,
    /// Where the clock starts at power on; the host's time when there is none.
    clock: Option<String>,
    /// Its disk, when it has a write cache.
    lossy: Option<LossyDisk>,
    commands: u64,
}

struct Power {
    qemu: Child,
    shell: UnixStream,
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub slot: Slot,
    pub release: String,
    pub trial: bool,
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trial = if self.trial { " on trial" } else { "" };
        write!(f, "slot {}{trial} with {}", self.slot, self.release)
    }
}

impl Machine {
    /// A machine whose disk is `disk.img` in `folder`. It is switched off.
    pub fn new(kind: &'static dyn Kind, folder: PathBuf) -> Result<Machine> {
        let console = Console::new(folder.join("console.log"))?;
        Ok(Machine { kind, folder, console, power: None, clock: None, lossy: None, commands: 0 })
    }

    pub fn kind(&self) -> &'static dyn Kind {
        self.kind
    }

    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What the clock says at the next power on, for example `1970-01-01T00:00:00`. `None` is the host's time.
    pub fn set_clock(&mut self, start: Option<&str>) {
        self.clock = start.map(String::from);
    }

    /// Puts a write cache before the disk, where the kind of machine has one: from the next power on, what was not flushed
    /// is lost or torn by a power cut, as `random` decides. Until it is flushed, it is not seen on the disk from outside.
    pub fn lose_unflushed(&mut self, random: Random) -> Result<()> {
        if self.kind.has_write_cache() {
            self.lossy = Some(LossyDisk::open(&self.folder, random)?);
        }
        Ok(())
    }

    /// Switches the machine on.
    pub fn power_on(&mut self) -> Result<()> {
        self.cut_power()?;
        self.console.skip();
        let disk = match &mut self.lossy {
            Some(disk) => disk.serve().map(|()| lossy::ADDRESS)?,
            None => "disk.img",
        };
        let mut qemu = self.kind.qemu(&self.folder, disk)?;
        qemu.args(["-chardev", "socket,id=shell,path=shell.sock,server=on,wait=off"]);
        if let Some(clock) = &self.clock {
            qemu.arg("-rtc").arg(format!("base={clock}"));
        }
        let errors = self.folder.join("qemu.log");
        let errors =
            File::options().create(true).append(true).open(&errors).context("open", errors.display())?;
        let _ = fs::remove_file(self.folder.join("shell.sock"));
        qemu.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut qemu = qemu.spawn().context("start", self.kind.name())?;
        if let Some(stdout) = qemu.stdout.take() {
            self.console.follow(stdout)?;
        }
        let shell = self.connect(&mut qemu)?;
        self.power = Some(Power { qemu, shell });
        Ok(())
    }

    /// Cuts the power, wherever the machine is. What the machine held in its memory is lost, and some of what its disk held in
    /// a write cache.
    pub fn cut_power(&mut self) -> Result<Losses> {
        let Some(mut power) = self.power.take() else { return Ok(Losses::default()) };
        power.qemu.kill().context("kill", "the machine")?;
        power.qemu.wait().context("wait for", "the machine")?;
        self.lossy.as_mut().map_or_else(|| Ok(Losses::default()), LossyDisk::cut)
    }

    /// Waits for a line with `text` on the console, after the last line that was waited for.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.console.wait_for_any(&[text], limit).map(|(_, line)| line)
    }

    /// As [`Machine::wait_for`], for whichever text comes first; returns which it was.
    pub fn wait_for_any(&mut self, texts: &[&str], limit: Duration) -> Result<(usize, String)> {
        self.console.wait_for_any(texts, limit)
    }

    /// Waits until the machine is up, and returns what it is running.
    pub fn wait_until_up(&mut self) -> Result<Running> {
        let line = self.wait_for("lab: up ", BOOT)?;
        let word = |key: &str| {
            line.split_whitespace().find_map(|w| w.strip_prefix(key)).unwrap_or_default().to_string()
        };
        Ok(Running {
            slot: Slot::named(&word("slot="))?,
            release: word("release="),
            trial: word("trial=") == "1",
        })
    }

    /// Runs a command on the machine, and returns its output.
    pub fn run(&mut self, command: &str) -> Result<String> {
        const PATIENCE: Duration = secs(60);
        let end = Instant::now() + PATIENCE;
        // What was sent while nobody listened is lost, so first get an answer to a question that does no harm.
        while self.ask(":", Duration::from_millis(700))?.is_none() {
            if Instant::now() > end {
                let last = self.console.tail();
                return Err(Error::Late { what: "the machine's shell".into(), limit: PATIENCE, last });
            }
        }
        let (status, output) = self.ask(command, PATIENCE)?.ok_or_else(|| Error::Late {
            what: format!("`{command}` on the machine"),
            limit: PATIENCE,
            last: self.console.tail(),
        })?;
        if status == "0" {
            return Ok(output);
        }
        Err(Error::Program {
            program: format!("`{command}` on the machine"),
            status: format!("status {status}"),
            output,
        })
    }

    /// Checks that `rota doctor` finds nothing wrong but what this kind of machine lacks, and that `rota status --why` says that a slot
    /// is committed and what became of the last update: `last`.
    pub fn expect_well(&mut self, last: &str) -> Result<()> {
        let said = self.run("rota doctor; [ $? -le 1 ]")?;
        let wrong = said.lines().filter_map(|line| line.strip_prefix("WRONG "));
        let wrong: Vec<&str> = wrong.filter_map(|line| line.trim().split(':').next()).collect();
        if wrong != self.kind.wrong() || !said.contains(&format!(", {} wrong, ", wrong.len())) {
            return Err(Error::Unexpected {
                what: "what is wrong on the machine".into(),
                expected: self.kind.wrong().join(", "),
                found: said,
            });
        }
        self.expect_said("rota status --why", &["state committed", &format!("last {last}")])
    }

    /// Runs a command whose output, with single spaces, must contain all of `expected`; its exit status does not count.
    pub fn expect_said(&mut self, command: &str, expected: &[&str]) -> Result<()> {
        let output = self.run(&format!("{command} || :"))?;
        let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
        match expected.iter().find(|text| !words.contains(*text)) {
            None => Ok(()),
            Some(text) => Err(Error::Unexpected {
                what: format!("the output of `{command}`"),
                expected: format!("“{text}”"),
                found: output,
            }),
        }
    }

    /// What the machine runs, by its own words.
    pub fn running(&mut self) -> Result<Running> {
        let line = self.run("cat /proc/cmdline")?;
        let word = |key: &str| line.split_whitespace().find_map(|w| w.strip_prefix(key)).unwrap_or_default();
        let (slot, trial) = (Slot::named(word("rota.slot="))?, word("rota.trial=") == "1");
        Ok(Running { slot, trial, release: self.run("cat /etc/release")?.trim().into() })
    }

    /// What the boot loader's records say, read from the disk.
    pub fn loader(&self) -> Result<Loader> {
        self.kind.loader(&self.disk())
    }

    /// Checks from the outside that `slot` is committed, and from the inside that it runs `release`.
    /// The client may be about to write the boot loader's records, so they get a little time.
    pub fn expect_committed(&mut self, slot: Slot, release: &str) -> Result<()> {
        let wanted = Loader { committed: slot, trial: false };
        until(&format!("the boot loader's records, {wanted}"), secs(20), || match self.loader() {
            Ok(found) if found == wanted => Ok(Look::There(())),
            Ok(found) => Ok(Look::NotYet(found.to_string())),
            Err(error) => Ok(Look::NotYet(error.to_string())),
        })?;
        let running = self.running()?;
        check("the running slot", running.slot, slot)?;
        check("the running release", running.release.as_str(), release)
    }

    /// The SHA-256 of the first `length` bytes of a slot, read from the disk.
    pub fn slot_digest(&self, slot: Slot, length: u64) -> Result<String> {
        self.kind.layout().digest(&self.disk(), self.kind.partition(slot), length)
    }

    /// Sends a command; its exit status and output, or nothing when no answer comes in time.
    fn ask(&mut self, command: &str, limit: Duration) -> Result<Option<(String, String)>> {
        let Some(power) = &mut self.power else {
            return Err(Error::Gone { what: format!("`{command}`"), last: self.console.tail() });
        };
        self.commands += 1;
        let mark = format!("<<{}:", self.commands);
        let lost = || "the machine's shell";
        power
            .shell
            .write_all(format!("{} {command}\n", self.commands).as_bytes())
            .context("write to", lost())?;
        let (end, mut answer) = (Instant::now() + limit, Vec::new());
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((before, after)) = text.split_once(&mark) {
                if let Some((status, _)) = after.split_once(">>") {
                    // Answers to earlier questions that were given up may stand before this one.
                    let output = before.rsplit_once(">>\n").map_or(before, |(_, last)| last);
                    return Ok(Some((status.into(), output.into())));
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            power.shell.set_read_timeout(Some(left)).context("listen to", lost())?;
            match power.shell.read(&mut buffer) {
                Ok(0) => return Err(Error::Gone { what: format!("`{command}`"), last: self.console.tail() }),
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
                Err(e)
                    if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("read from", lost()),
            }
        }
    }

    fn connect(&self, qemu: &mut Child) -> Result<UnixStream> {
        // A socket's path has room for 107 bytes, a checkout's may have more: so go through the open folder.
        let folder = File::open(&self.folder).context("open", self.folder.display())?;
        let path = format!("/proc/self/fd/{}/shell.sock", folder.as_raw_fd());
        until("the emulator's start", secs(30), || match UnixStream::connect(Path::new(&path)) {
            Ok(stream) => Ok(Look::There(stream)),
            Err(_) if qemu.try_wait().context("look at", "the emulator")?.is_some() => {
                let log = fs::read_to_string(self.folder.join("qemu.log")).unwrap_or_default();
                Err(Error::Gone { what: "the emulator's start".into(), last: log })
            }
            Err(error) => Ok(Look::NotYet(error.to_string())),
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.cut_power();
    }
}
