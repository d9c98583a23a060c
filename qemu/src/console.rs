//! The serial console: every byte to a file, every line to whoever waits for it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// How many lines a failure shows.
const TAIL: usize = 25;

/// What a machine said. It goes on over resets and power cuts.
pub struct Console {
    path: PathBuf,
    shared: Arc<Shared>,
    /// Lines before this one were waited for already.
    read: usize,
}

#[derive(Default)]
struct Shared {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    partial: Vec<u8>,
    /// Streams that are still followed.
    streams: usize,
}

impl Console {
    pub fn new(path: PathBuf) -> Result<Console> {
        File::create(&path).context("make", path.display())?;
        Ok(Console { path, shared: Arc::default(), read: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Follows a stream to its end, in a thread of its own.
    pub fn follow(&self, mut stream: impl Read + Send + 'static) -> Result<()> {
        let mut file = File::options().append(true).open(&self.path).context("open", self.path.display())?;
        let shared = Arc::clone(&self.shared);
        shared.lock().streams += 1;
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                // A full disk of the host shows when the scenario reads the file; the waiters go on.
                let _ = file.write_all(&buffer[..n]);
                shared.lock().take(&buffer[..n]);
                shared.news.notify_all();
            }
            shared.lock().streams -= 1;
            shared.news.notify_all();
        });
        Ok(())
    }

    /// Waits for a line that contains one of `texts`, from the line after the last one that was waited for.
    /// Returns which text it was, and the line.
    pub fn wait_for_any(&mut self, texts: &[&str], limit: Duration) -> Result<(usize, String)> {
        let end = Instant::now() + limit;
        let mut said = self.shared.lock();
        loop {
            while self.read < said.lines.len() {
                let line = &said.lines[self.read];
                self.read += 1;
                if let Some(which) = texts.iter().position(|text| line.contains(text)) {
                    return Ok((which, line.clone()));
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            let what = || format!("“{}” on the console {}", texts.join("” or “"), self.path.display());
            if said.streams == 0 {
                return Err(Error::Gone { what: what(), last: said.tail() });
            }
            if left.is_zero() {
                return Err(Error::Late { what: what(), limit, last: said.tail() });
            }
            said = self.shared.news.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The lines with `text` among all that was ever said.
    pub fn grep(&self, text: &str) -> Vec<String> {
        self.shared.lock().lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Forgets what was said up to now, so that the next wait is for something new.
    pub fn skip(&mut self) {
        self.read = self.shared.lock().lines.len();
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        self.shared.lock().tail()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = plain(&String::from_utf8_lossy(&self.partial));
                    self.lines.push(line);
                    self.partial.clear();
                }
                b'\r' => {}
                _ => self.partial.push(byte),
            }
        }
    }

    fn tail(&self) -> String {
        let mut lines: Vec<_> =
            self.lines.iter().rev().filter(|l| !l.trim().is_empty()).take(TAIL).cloned().collect();
        lines.reverse();
        lines.push(plain(&String::from_utf8_lossy(&self.partial)));
        lines.join("\n")
    }
}

/// A line without the escape sequences by which firmware moves the cursor.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            text.push(c);
        } else if rest.next() == Some('[') {
            rest.by_ref().find(|c| c.is_ascii_alphabetic());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::secs;

    fn console(name: &str) -> Console {
        Console::new(std::env::temp_dir().join(format!("rota-console-{name}-{}", std::process::id())))
            .unwrap()
    }

    #[test]
    fn each_wait_goes_on_after_the_last() {
        let mut console = console("order");
        console.follow(&b"\x1b[2Jone\r\ntwo\r\none again\r\n"[..]).unwrap();
        assert_eq!(console.wait_for_any(&["one"], secs(10)).unwrap().1, "one");
        assert_eq!(console.wait_for_any(&["zero", "one"], secs(10)).unwrap(), (1, "one again".to_string()));
        let error = console.wait_for_any(&["two"], secs(10)).unwrap_err().to_string();
        assert!(error.contains("the machine ended") && error.contains("one again"), "{error}");
        assert_eq!(console.grep("one").len(), 2);
        std::fs::remove_file(console.path()).unwrap();
    }
}
