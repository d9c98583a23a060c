//! Running other programs: bounded in time with everything they start, their output handed out line by line.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitid, Id, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::fault::{self, Kind};
use super::watchdog;

/// Longer lines are handed out in pieces of this many bytes.
const LINE_MAX: usize = 4096;
/// How long output is read on after the program ended, while something it started holds the pipes.
const AFTERGLOW: Duration = Duration::from_millis(200);
/// How long a program that is asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often the end of a program is looked for.
const TICK: Duration = Duration::from_millis(20);

/// Which of its outputs a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What a program said last, to be told when it fails: on standard error, where it said anything there. Its two outputs are
/// two pipes, so which of two lines came first is not known.
#[derive(Debug, Default)]
pub struct LastLine {
    out: String,
    err: String,
}

impl LastLine {
    /// Takes note of a line; an empty one says nothing.
    pub fn take(&mut self, output: Output, line: &str) {
        if !line.trim().is_empty() {
            let last = match output {
                Output::Out => &mut self.out,
                Output::Err => &mut self.err,
            };
            *last = line.to_owned();
        }
    }

    /// After a colon; nothing, if nothing was said.
    pub fn told(&self) -> String {
        let said = if self.err.is_empty() { &self.out } else { &self.err };
        match said.is_empty() {
            true => String::new(),
            false => format!(": {said}"),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// A signal killed it.
    Signalled(i32),
    /// It took longer than it may; it was killed with its process group.
    TimedOut,
}

impl Ended {
    /// Exit code 0.
    pub fn is_success(self) -> bool {
        self == Ended::Exited(0)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exited(code) => write!(f, "exited with code {code}"),
            Ended::Signalled(signal) => write!(f, "was killed by signal {signal}"),
            Ended::TimedOut => f.write_str("took too long and was killed"),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Ended {
        match status.code() {
            Some(code) => Ended::Exited(code),
            None => Ended::Signalled(status.signal().unwrap_or_default()),
        }
    }
}

/// Runs `command` to its end, or kills it with all it started after `limit`. Every line of output goes to `line` (without its
/// newline, invalid UTF-8 replaced, at most 4 KiB a piece).
pub fn run(command: &mut Command, limit: Duration, line: &mut dyn FnMut(Output, &str)) -> io::Result<Ended> {
    let mut running = Running::start(command, limit)?;
    loop {
        if let Some(ended) = running.pump(Duration::from_secs(1), None, line)? {
            return Ok(ended);
        }
    }
}

/// A running program in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pipes: [Pipe; 2],
    deadline: Instant,
    ended: Option<Ended>,
    /// How long the next wait for its end is, once its outputs are closed: mostly it ends just then.
    nap: Duration,
}

impl Running {
    /// Starts `command` with no input; it may take `limit`.
    pub fn start(command: &mut Command, limit: Duration) -> io::Result<Running> {
        fault::point(Kind::Run, Path::new(command.get_program()))?;
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command)?;
        let pipes = [Pipe::new(child.stdout.take())?, Pipe::new(child.stderr.take())?];
        let deadline = Instant::now().checked_add(limit).unwrap_or_else(far_away);
        Ok(Running { child, pipes, deadline, ended: None, nap: Duration::from_millis(1) })
    }

    /// Gives it so much more time.
    pub fn allow(&mut self, more: Duration) {
        self.deadline = self.deadline.checked_add(more).unwrap_or_else(far_away);
    }

    /// Hands out output for up to `wait`, or until `also` can be written to. Returns how the program ended, once it has
    /// and its output is read.
    pub fn pump(
        &mut self,
        wait: Duration,
        also: Option<BorrowedFd<'_>>,
        line: &mut dyn FnMut(Output, &str),
    ) -> io::Result<Option<Ended>> {
        let until = Instant::now() + wait;
        while self.ended.is_none() {
            // The program has its deadline: what it does until then is its affair.
            watchdog::alive();
            let ready = self.wait_briefly(until, also)?;
            self.read(line)?;
            if let Some(status) = self.child.try_wait()? {
                self.finish_output(line)?;
                self.ended = Some(status.into());
            } else if Instant::now() >= self.deadline {
                self.kill();
                self.finish_output(line)?;
                self.ended = Some(Ended::TimedOut);
            } else if ready || Instant::now() >= until {
                return Ok(None);
            }
        }
        Ok(self.ended)
    }

    /// Ends the program and everything in its process group: asks for it, and kills what is left a little later.
    pub fn kill(&mut self) {
        // The group keeps its number until its leader has been waited for.
        let group = Pid::from_raw(self.child.id() as i32);
        let _ = killpg(group, Signal::SIGTERM);
        let until = Instant::now() + GRACE;
        while self.leader_lives() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        std::thread::sleep(AFTERGLOW);
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks without taking note of its end.
    fn leader_lives(&self) -> bool {
        let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(Pid::from_raw(self.child.id() as i32)), how) == Ok(WaitStatus::StillAlive)
    }

    /// Waits for output for at most a tick; true when `also` can be written to.
    fn wait_briefly(&mut self, until: Instant, also: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let now = Instant::now();
        let mut tick = TICK;
        if self.pipes.iter().all(|pipe| pipe.file.is_none()) {
            tick = self.nap;
            self.nap = TICK.min(tick * 2);
        }
        let wait =
            tick.min(until.saturating_duration_since(now)).min(self.deadline.saturating_duration_since(now));
        let mut polled: Vec<PollFd<'_>> =
            also.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLOUT)).collect();
        polled.extend(self.pipes.iter().filter_map(Pipe::polled));
        let timeout = PollTimeout::try_from(wait.as_millis().max(1)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(also.is_some() && polled.first().and_then(PollFd::any).unwrap_or(false))
    }

    fn read(&mut self, line: &mut dyn FnMut(Output, &str)) -> io::Result<()> {
        for (pipe, output) in self.pipes.iter_mut().zip([Output::Out, Output::Err]) {
            pipe.read(&mut |text| line(output, text))?;
        }
        Ok(())
    }

    /// After the end: reads what is left, a little longer when somebody else still holds the pipes.
    fn finish_output(&mut self, line: &mut dyn FnMut(Output, &str)) -> io::Result<()> {
        let until = Instant::now() + AFTERGLOW;
        loop {
            self.read(line)?;
            if self.pipes.iter().all(|pipe| pipe.file.is_none()) || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for (pipe, output) in self.pipes.iter_mut().zip([Output::Out, Output::Err]) {
            pipe.flush(&mut |text| line(output, text));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}

/// A program that was just written may still be open for writing, in a process that is just being started.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..50 {
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(nix::libc::ETXTBSY) => std::thread::sleep(TICK),
            result => return result,
        }
    }
    command.spawn()
}

/// A deadline that never comes.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600)
}

/// One output of the program and the line that has begun.
#[derive(Debug)]
struct Pipe {
    file: Option<std::fs::File>,
    line: Vec<u8>,
}

impl Pipe {
    fn new<F: Into<std::os::fd::OwnedFd>>(end: Option<F>) -> io::Result<Pipe> {
        let file = end.map(|end| std::fs::File::from(end.into()));
        if let Some(file) = &file {
            fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Pipe { file, line: Vec::new() })
    }

    fn polled(&self) -> Option<PollFd<'_>> {
        self.file.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN))
    }

    /// Reads what is there, at most 64 KiB so that one output does not starve the other.
    fn read(&mut self, line: &mut dyn FnMut(&str)) -> io::Result<()> {
        let mut buffer = [0; 8192];
        for _ in 0..8 {
            let Some(file) = &mut self.file else { return Ok(()) };
            match file.read(&mut buffer) {
                Ok(0) => self.file = None,
                Ok(count) => self.take(&buffer[..count], line),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' {
                line(&String::from_utf8_lossy(&self.line));
                self.line.clear();
            } else {
                if self.line.len() == LINE_MAX {
                    self.flush(line);
                }
                self.line.push(byte);
            }
        }
    }

    fn flush(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            line(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run_shell(script: &str, limit: Duration) -> (Ended, Vec<(Output, String)>) {
        let mut lines = Vec::new();
        let ended = run(&mut shell(script), limit, &mut |output, text| lines.push((output, text.to_owned())));
        (ended.unwrap(), lines)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn hands_out_lines_and_the_exit_code() {
        let (ended, lines) = run_shell("echo one; echo two >&2; printf three; exit 21", LONG);
        assert_eq!(ended, Ended::Exited(21));
        let of =
            |wanted| lines.iter().filter(|(o, _)| *o == wanted).map(|(_, t)| t.as_str()).collect::<Vec<_>>();
        assert_eq!((of(Output::Out), of(Output::Err)), (vec!["one", "three"], vec!["two"]));
    }

    #[test]
    fn a_program_may_be_given_more_time() {
        let ends = |script, more| {
            let mut running = Running::start(&mut shell(script), Duration::ZERO).unwrap();
            running.allow(more);
            loop {
                if let Some(ended) = running.pump(LONG, None, &mut |_, _| {}).unwrap() {
                    return ended;
                }
            }
        };
        assert_eq!(ends("exec sleep 0.1", LONG * 10), Ended::Exited(0));
        assert_eq!(ends("exec sleep 600", Duration::ZERO), Ended::TimedOut);
    }

    #[test]
    fn the_last_line_is_that_of_standard_error_where_there_is_one() {
        let told = |lines: &[(Output, &str)]| {
            let mut last = LastLine::default();
            lines.iter().for_each(|(output, line)| last.take(*output, line));
            last.told()
        };
        assert_eq!(told(&[(Output::Out, "")]), "");
        assert_eq!(told(&[(Output::Out, "one"), (Output::Out, "two"), (Output::Out, " ")]), ": two");
        assert_eq!(told(&[(Output::Err, "why"), (Output::Out, "one")]), ": why");
    }

    #[test]
    fn long_output_is_complete_and_lines_are_bounded() {
        let (ended, lines) = run_shell("head -c 1000000 /dev/zero | tr '\\0' x", LONG);
        assert!(ended.is_success());
        assert_eq!(lines.iter().map(|(_, text)| text.len()).sum::<usize>(), 1_000_000);
        assert!(lines.iter().all(|(_, text)| text.len() <= LINE_MAX));
    }

    #[test]
    fn a_time_out_kills_the_whole_group() {
        let folder = crate::testing::folder();
        let pid_file = folder.join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        // On a busy machine the script may need a while to get that far.
        let told = [1, 4, 16].into_iter().find_map(|limit| {
            assert_eq!(run_shell(&script, Duration::from_secs(limit)).0, Ended::TimedOut);
            std::fs::read_to_string(&pid_file).ok()?.trim().parse::<i32>().ok()
        });
        let pid = told.expect("the script ran");
        let gone = |pid| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        let until = Instant::now() + LONG;
        while !gone(pid) {
            assert!(Instant::now() < until, "the grandchild lives");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_program_that_is_ended_may_tidy_up_but_not_stay() {
        let folder = crate::testing::folder();
        let began = folder.join("began");
        let script = |on_term: &str| {
            format!("trap '{on_term}' TERM; touch {}; while :; do sleep 1; done", began.display())
        };
        for (on_term, tidied) in
            [(format!("touch {}/tidied; exit 1", folder.display()), true), (":".into(), false)]
        {
            let _ = std::fs::remove_file(folder.join("tidied"));
            let mut running = Running::start(&mut shell(&script(&on_term)), LONG).unwrap();
            while !began.exists() {
                assert_eq!(running.pump(TICK, None, &mut |_, _| ()).unwrap(), None);
            }
            std::fs::remove_file(&began).unwrap();
            running.kill();
            assert_eq!(folder.join("tidied").exists(), tidied);
            assert!(running.pump(LONG, None, &mut |_, _| ()).unwrap().is_some());
        }
    }

    #[test]
    fn a_background_child_that_holds_the_pipes_does_not_hang_us() {
        let start = Instant::now();
        let (ended, lines) = run_shell("echo done; sleep 30 & exit 0", LONG);
        assert!(ended.is_success());
        assert_eq!(lines.len(), 1);
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn signals_are_told() {
        assert_eq!(run_shell("kill -9 $$", LONG).0, Ended::Signalled(9));
    }
}
