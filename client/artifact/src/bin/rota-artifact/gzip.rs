//! gzip on all cores: members of 256 KiB, which every gzip reader takes as one stream.
use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::mpsc::{sync_channel, Receiver, SyncSender},
    thread::JoinHandle,
};

use libdeflater::{CompressionLvl, Compressor};
use rota_artifact::{Compression, Encoder};

const MEMBER: usize = 256 << 10;
/// Each holds a member and its compressed form: together they stay within some MiB.
const WORKERS_MAX: usize = 16;
/// Smaller already than what mender-artifact makes; 6 would be 4 % smaller still, for half as much time again.
const LEVEL: i32 = 2;

/// The tool's compressors: gzip on all cores, the rest as the library has it.
pub fn encoder<'w>(compression: Compression, out: Box<dyn Write + 'w>) -> io::Result<Box<dyn Encoder + 'w>> {
    match compression {
        Compression::Gzip => Ok(Box::new(ParallelGzip::new(out))),
        other => other.encoder(out),
    }
}

/// One thread that compresses: members go in, and come out in the same order.
struct Worker {
    input: SyncSender<Vec<u8>>,
    output: Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start() -> Self {
        let (input, todo) = sync_channel::<Vec<u8>>(1);
        let (done, output) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let level = CompressionLvl::new(LEVEL).unwrap_or_default();
            let mut compressor = Compressor::new(level);
            while let Ok(member) = todo.recv() {
                if done.send(compress(&mut compressor, &member)).is_err() {
                    return;
                }
            }
        });
        Self { input, output, thread }
    }
}

fn compress(compressor: &mut Compressor, member: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; compressor.gzip_compress_bound(member.len())];
    let size = compressor.gzip_compress(member, &mut packed).map_err(io::Error::other)?;
    packed.truncate(size);
    Ok(packed)
}

struct ParallelGzip<'w> {
    out: Box<dyn Write + 'w>,
    member: Vec<u8>,
    workers: Vec<Worker>,
    /// The workers that have a member, in the order of the members.
    busy: VecDeque<usize>,
    next: usize,
    started: bool,
}

impl<'w> ParallelGzip<'w> {
    fn new(out: Box<dyn Write + 'w>) -> Self {
        let member = Vec::with_capacity(MEMBER);
        Self { out, member, workers: Vec::new(), busy: VecDeque::new(), next: 0, started: false }
    }

    /// Hands the member to the next worker, which is the one that has had its last one for the longest time.
    fn send(&mut self) -> io::Result<()> {
        if self.workers.is_empty() {
            let count = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
            self.workers = (0..count).map(|_| Worker::start()).collect();
        }
        if self.busy.len() == self.workers.len() {
            self.receive()?;
        }
        let member = mem::replace(&mut self.member, Vec::with_capacity(MEMBER));
        self.workers[self.next].input.send(member).map_err(io::Error::other)?;
        self.busy.push_back(self.next);
        self.next = (self.next + 1) % self.workers.len();
        self.started = true;
        Ok(())
    }

    /// Writes the oldest member that is still away.
    fn receive(&mut self) -> io::Result<()> {
        let Some(worker) = self.busy.pop_front() else { return Ok(()) };
        let packed = self.workers[worker].output.recv().map_err(io::Error::other)??;
        self.out.write_all(&packed)
    }
}

impl Write for ParallelGzip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER - self.member.len());
        self.member.extend_from_slice(&bytes[..count]);
        if self.member.len() == MEMBER {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Encoder for ParallelGzip<'_> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.member.is_empty() || !self.started {
            self.send()?;
        }
        while !self.busy.is_empty() {
            self.receive()?;
        }
        for Worker { input, output, thread } in mem::take(&mut self.workers) {
            drop((input, output));
            thread.join().map_err(|_| io::Error::other("a compressing thread has failed"))?;
        }
        self.out.flush()
    }
}
