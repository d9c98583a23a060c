//! One call of a module: its process, what it says, how long it may take.

use std::os::fd::BorrowedFd;
use std::process::Command;
use std::time::Duration;

use super::{Context, Module, Tree};
use crate::net::api::short;
use crate::signals::Signals;
use crate::sys::process::{Ended, LastLine, Output, Running};
use crate::sys::signal::Signal;

/// How often a waiting client looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);
/// Most of one call's output that is logged, in bytes; of what comes after, the last line is.
const OUTPUT: usize = 64 << 10;
/// Longest line, in characters.
const LINE: usize = 1000;
/// Longest last line in the reason of a failure.
const LAST: usize = 300;

/// A call that runs. Dropping it ends the module's process group.
pub struct Call<'a> {
    running: Running,
    said: Said,
    signals: &'a Signals,
    limit: Duration,
}

impl<'a> Call<'a> {
    /// Runs `module CALL TREE` in the tree.
    pub fn start(module: &Module, cx: &Context<'a>, call: &str) -> Result<Call<'a>, String> {
        Call::run(module, cx, call, None)
    }

    /// The same for a call whose answer is wanted.
    pub fn start_query(module: &Module, cx: &Context<'a>, call: &str) -> Result<Call<'a>, String> {
        Call::run(module, cx, call, Some(Vec::new()))
    }

    fn run(
        module: &Module,
        cx: &Context<'a>,
        call: &str,
        answer: Option<Vec<String>>,
    ) -> Result<Call<'a>, String> {
        let tree = Tree::of(cx).path()?;
        let limit = cx.device.config.module_timeout;
        let who = format!("update module {}: {call}", module.payload_type);
        log::debug!("{who}");
        let mut command = Command::new(&module.program);
        command.arg(call).arg(&tree).current_dir(&tree);
        let running = Running::start(&mut command, limit)
            .map_err(|error| format!("{who}: cannot run {}: {error}", module.program.display()))?;
        let said = Said { who, answer, logged: 0, left_out: 0, last: LastLine::default() };
        Ok(Call { running, said, signals: cx.signals, limit })
    }

    /// Goes on for `wait`, or until `also` can be written to. True once the module has ended, and ended well.
    pub fn go_on(&mut self, wait: Duration, also: Option<BorrowedFd<'_>>) -> Result<bool, String> {
        if self.signals.stopped() {
            self.running.kill();
            return Err(format!("{}: the client was stopped", self.said.who));
        }
        let said = &mut self.said;
        let ended = self.running.pump(wait, also, &mut |output, line| said.take(output, line));
        match ended.map_err(|error| format!("{}: {error}", self.said.who))? {
            None => Ok(false),
            Some(ended) => self.judge(ended).map(|()| true),
        }
    }

    /// Waits for its end. Returns the answer, where one was wanted: one line without its end.
    pub fn finish(mut self) -> Result<String, String> {
        while !self.go_on(LOOK, None)? {}
        let answer = self.said.answer.unwrap_or_default();
        match answer.len() {
            0 | 1 => Ok(answer.concat()),
            _ => Err(format!("{} was answered with several lines; expected one", self.said.who)),
        }
    }

    /// What it is to read has kept it waiting for so long: that is not its own time.
    pub fn waited(&mut self, time: Duration) {
        self.running.allow(time);
    }

    /// What to call it in sentences.
    pub fn name(&self) -> &str {
        &self.said.who
    }

    /// Ends the module before it has.
    pub fn end(&mut self) {
        self.running.kill();
    }

    fn judge(&mut self, ended: Ended) -> Result<(), String> {
        self.said.close();
        let (who, last) = (&self.said.who, self.said.last.told());
        match ended {
            Ended::Exited(0) => return Ok(()),
            Ended::TimedOut => {
                let seconds = self.limit.as_secs();
                return Err(format!(
                    "{who} took longer than {seconds} s (modules.timeout) and was ended{last}"
                ));
            }
            // An init system that stops the client may ask the module, too: then the client's own signal is on its way.
            Ended::Signalled(signal) if [Signal::SIGTERM as i32, Signal::SIGINT as i32].contains(&signal) => {
                self.signals.sleep(LOOK);
            }
            _ => {}
        }
        Err(format!("{who} {ended}{last}"))
    }
}

/// What a module says.
struct Said {
    who: String,
    /// The lines of the answer, at most two.
    answer: Option<Vec<String>>,
    logged: usize,
    left_out: u64,
    last: LastLine,
}

impl Said {
    fn take(&mut self, output: Output, line: &str) {
        if let (Some(answer), Output::Out) = (&mut self.answer, output) {
            if answer.len() < 2 {
                answer.push(short(line, LAST));
            }
            return;
        }
        let line = short(line.trim_end(), LINE);
        if self.logged < OUTPUT {
            self.logged += line.len() + 1;
            log::info!("{}: {line}", self.who);
        } else {
            self.left_out += 1;
        }
        self.last.take(output, &short(&line, LAST));
    }

    fn close(&mut self) {
        if self.left_out > 0 {
            log::warn!("{}: {} more lines were left out{}", self.who, self.left_out, self.last.told());
            self.left_out = 0;
        }
    }
}
