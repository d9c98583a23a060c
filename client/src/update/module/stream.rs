//! How a payload's files get to a module (update modules: stream protocol).

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rota_artifact::{Error, Payload, PayloadFile};

use super::tree::{Tree, STREAMS, STREAM_NEXT};
use super::{Call, Context, Module, Source};
use crate::sys::fifo::Writer;

/// Bytes moved at once: what a pipe holds.
const PIECE: usize = 64 << 10;
/// The first wait for a module to open or read a pipe, and the longest.
const WAITS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// How long a full pipe is waited for before the client looks whether it is to end.
const FULL: Duration = Duration::from_millis(200);
/// How long a module that reads no further may take to say why.
const FAREWELL: Duration = Duration::from_secs(5);

/// Hands the files to the module one after the other, or stores them if it ends without having asked for any.
pub fn download(
    module: &Module,
    cx: &Context<'_>,
    payload: &mut Payload<'_, Source<'_>>,
    with_sizes: bool,
) -> Result<(), String> {
    let tree = Tree::of(cx);
    let name = if with_sizes { "DownloadWithFileSizes" } else { "Download" };
    let mut stream = Stream { call: Call::start(module, cx, name)?, pipe: None, tree };
    let asked = stream.hand_over(payload, with_sizes);
    if asked.is_err() {
        // Before the pipe closes, which would look like the end of a file.
        stream.call.end();
    }
    match asked? {
        true => Ok(()),
        false => store(&stream.tree, payload),
    }
}

/// The module does not take the files itself.
fn store(tree: &Tree, payload: &mut Payload<'_, Source<'_>>) -> Result<(), String> {
    tree.make_files()?;
    while let Some(mut file) = payload.next_file().map_err(text)? {
        let (name, size) = (file.name().to_owned(), file.size());
        log::info!("storing {name} ({size} bytes)");
        tree.store(&name, &mut file, size)?;
    }
    Ok(())
}

/// A module that is being handed files.
struct Stream<'a> {
    call: Call<'a>,
    /// The pipe that is open.
    pipe: Option<Writer>,
    tree: Tree,
}

impl Stream<'_> {
    /// Whether the module asked for the files, and took them all.
    fn hand_over(&mut self, payload: &mut Payload<'_, Source<'_>>, with_sizes: bool) -> Result<bool, String> {
        let next = Path::new(STREAM_NEXT);
        if !self.open(next)? {
            return Ok(false);
        }
        loop {
            let since = Instant::now();
            let file = payload.next_file();
            self.call.waited(since.elapsed());
            let Some(mut file) = file.map_err(text)? else { break };
            let place = PathBuf::from(STREAMS).join(file.name());
            if self.pipe.is_none() {
                return Err(self.ended_before(&place));
            }
            self.tree.make_pipe(&place)?;
            log::info!("streaming {} ({} bytes)", file.name(), file.size());
            let line = match with_sizes {
                true => format!("{} {}\n", place.display(), file.size()),
                false => format!("{}\n", place.display()),
            };
            self.write(line.as_bytes(), next)?;
            self.pipe = None;
            if !self.open(&place)? {
                return Err(self.ended_before(&place));
            }
            self.copy(&mut file, &place)?;
            self.pipe = None;
            self.open(next)?;
        }
        // The end of what comes next without a word: there is nothing more. Who knew that may have ended by now.
        self.pipe = None;
        while !self.call.go_on(FULL, None)? {}
        Ok(true)
    }

    /// Waits until the module opens the pipe to read; false when it has ended instead.
    fn open(&mut self, place: &Path) -> Result<bool, String> {
        let path = self.tree.at(place);
        let mut wait = WAITS[0];
        loop {
            self.pipe = Writer::open(&path).map_err(|error| cannot("open", place, &error))?;
            if self.pipe.is_some() {
                return Ok(true);
            }
            if self.call.go_on(wait, None)? {
                return Ok(false);
            }
            wait = WAITS[1].min(wait * 2);
        }
    }

    fn copy(&mut self, file: &mut PayloadFile<'_>, place: &Path) -> Result<(), String> {
        let mut piece = vec![0; PIECE];
        loop {
            let since = Instant::now();
            let read = file.read(&mut piece);
            self.call.waited(since.elapsed());
            match read {
                Ok(0) => break,
                Ok(count) => self.write(&piece[..count], place)?,
                Err(error) => return Err(text(Error::from_io(error))),
            }
        }
        self.wait_until_read(place)
    }

    fn write(&mut self, mut bytes: &[u8], place: &Path) -> Result<(), String> {
        let Stream { call, pipe: Some(pipe), .. } = self else { return Err(self.ended_before(place)) };
        while !bytes.is_empty() {
            match pipe.write_some(bytes) {
                Ok(0) if call.go_on(FULL, Some(pipe.as_fd()))? => return Err(self.ended_before(place)),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(self.left(place)),
                Err(error) => return Err(cannot("write", place, &error)),
            }
        }
        Ok(())
    }

    /// What lies in the pipe when the module goes away was never read.
    fn wait_until_read(&mut self, place: &Path) -> Result<(), String> {
        let Stream { call, pipe: Some(pipe), .. } = self else { return Ok(()) };
        let mut wait = WAITS[0];
        let unread = |pipe: &Writer| pipe.unread().map_err(|error| cannot("look into", place, &error));
        while unread(pipe)? > 0 {
            if pipe.is_left().map_err(|error| cannot("look into", place, &error))? {
                return Err(self.left(place));
            }
            if call.go_on(wait, None)? && unread(pipe)? > 0 {
                return Err(self.ended_before(place));
            }
            wait = WAITS[1].min(wait * 2);
        }
        Ok(())
    }

    /// The module reads no further: if it ends badly now, that is the reason.
    fn left(&mut self, place: &Path) -> String {
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            match self.call.go_on(FULL, None) {
                Ok(true) => return self.ended_before(place),
                Ok(false) => {}
                Err(why) => return why,
            }
        }
        format!("{} stopped reading {} before its end", self.call.name(), place.display())
    }

    fn ended_before(&self, place: &Path) -> String {
        format!("{} ended before it had read {}", self.call.name(), place.display())
    }
}

fn cannot(act: &str, place: &Path, error: &std::io::Error) -> String {
    format!("cannot {act} {}: {error}", place.display())
}

fn text(error: Error) -> String {
    error.to_string()
}
