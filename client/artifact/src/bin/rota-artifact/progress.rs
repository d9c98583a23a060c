//! A progress bar on a terminal, for work that takes more than a second.
use std::{
    cell::Cell,
    io::{self, IsTerminal, Read, Write},
    time::{Duration, Instant},
};

use crate::output;

const WIDTH: u64 = 40;

/// Counts bytes against what is expected.
pub struct Progress {
    shown: bool,
    label: &'static str,
    started: Instant,
    drawn: Cell<Option<Instant>>,
    total: Cell<u64>,
    done: Cell<u64>,
}

impl Progress {
    /// `quiet`: show nothing whatever the terminal.
    pub fn new(label: &'static str, quiet: bool) -> Self {
        let shown = !quiet && io::stderr().is_terminal();
        let zero = || Cell::new(0);
        Self { shown, label, started: Instant::now(), drawn: Cell::new(None), total: zero(), done: zero() }
    }

    /// There will be this many bytes more.
    pub fn expect(&self, bytes: u64) {
        self.total.set(self.total.get() + bytes);
    }

    /// What is expected by now will be read twice.
    pub fn twice(&self) {
        self.total.set(self.total.get() * 2);
    }

    /// Counts what is read.
    pub fn watch<R: Read>(&self, source: R) -> Watched<'_, R> {
        Watched { source, progress: self }
    }

    fn advance(&self, bytes: usize) {
        self.done.set(self.done.get() + bytes as u64);
        let due = self
            .drawn
            .get()
            .map_or(self.started + Duration::from_secs(1), |last| last + Duration::from_millis(100));
        if self.shown && Instant::now() >= due {
            self.drawn.set(Some(Instant::now()));
            self.draw();
        }
    }

    fn draw(&self) {
        let (done, total) = (self.done.get().min(self.total.get()), self.total.get().max(1));
        let filled = u128::from(done) * u128::from(WIDTH) / u128::from(total);
        let percent = u128::from(done) * 100 / u128::from(total);
        let (filled, empty) = ("#".repeat(filled as usize), " ".repeat(WIDTH as usize - filled as usize));
        let _ = write!(io::stderr(), "\r{} [{filled}{empty}] {percent:3} %", self.label);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.get().is_some() {
            self.draw();
            output::warn("");
        }
    }
}

/// A source whose bytes are counted.
pub struct Watched<'a, R> {
    source: R,
    progress: &'a Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.progress.advance(count);
        Ok(count)
    }
}
