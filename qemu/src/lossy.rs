//! A disk with a write cache that the power takes along: what was not flushed when the power is cut is lost, torn, or there,
//! each write by chance.
//!
//! QEMU speaks to it as a client of the NBD protocol (fixed newstyle handshake, simple replies) on a socket in the machine's
//! folder. It answers READ, WRITE (with FUA), FLUSH and DISC.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Context, Result};
use crate::random::Random;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// A fuller cache writes its oldest content out.
const CACHE: usize = 64 << 20;
/// Longest request that is taken; QEMU sends at most 32 MiB.
const REQUEST: u32 = 64 << 20;
/// The socket's name in the machine's folder.
const SOCKET: &str = "disk.sock";

/// QEMU's `file=` for a disk that is served in its working folder.
pub const ADDRESS: &str = "nbd+unix:///?socket=disk.sock";

/// A disk image behind a write cache.
pub struct LossyDisk {
    image: Arc<Image>,
    random: Random,
    server: Option<JoinHandle<io::Result<()>>>,
}

/// What became of the writes in the cache when the power was cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Not flushed when the power went.
    pub unflushed: usize,
    /// Of these, not there at all.
    pub lost: usize,
    /// Of these, there in part.
    pub torn: usize,
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Losses { unflushed, lost, torn } = self;
        write!(f, "{unflushed} writes were not flushed: {lost} lost, {torn} torn")
    }
}

struct Image {
    file: File,
    path: PathBuf,
    cache: Mutex<Vec<Cached>>,
}

struct Cached {
    offset: u64,
    bytes: Vec<u8>,
    /// Written through (FUA): kept whatever happens.
    is_durable: bool,
}

impl LossyDisk {
    /// The disk `disk.img` of the machine in `folder`; `random` decides what is lost.
    pub fn open(folder: &Path, random: Random) -> Result<LossyDisk> {
        let path = folder.join("disk.img");
        let file = File::options().read(true).write(true).open(&path).context("open", path.display())?;
        Ok(LossyDisk { image: Arc::new(Image { file, path, cache: Mutex::default() }), random, server: None })
    }

    /// Waits for QEMU on the socket, and serves it until it goes away. The cache stays as it is: a restart of the machine takes
    /// no power from its disk.
    pub fn serve(&mut self) -> Result<()> {
        let folder = self.image.path.parent().unwrap_or(Path::new("."));
        let _ = std::fs::remove_file(folder.join(SOCKET));
        // A socket's path has room for 107 bytes, a checkout's may have more: so go through the open folder.
        let open = File::open(folder).context("open", folder.display())?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()))
            .context("listen on", folder.join(SOCKET).display())?;
        let image = self.image.clone();
        self.server = Some(std::thread::spawn(move || image.serve(listener.accept()?.0)));
        Ok(())
    }

    /// The power is cut; QEMU has ended.
    pub fn cut(&mut self) -> Result<Losses> {
        if let Some(server) = self.server.take() {
            let served = server.join().unwrap_or_else(|_| Err(io::Error::other("the disk's thread ended")));
            // QEMU was killed in the middle of whatever it was sending.
            served.or_else(cut_off).context("serve", self.image.path.display())?;
        }
        let (mut losses, cache) = (Losses::default(), std::mem::take(&mut *self.image.cache()));
        for write in &cache {
            if write.is_durable {
                self.image.store(write.offset, &write.bytes)?;
                continue;
            }
            losses.unflushed += 1;
            match self.random.below(4) {
                0 | 1 => losses.lost += 1,
                2 => self.image.store(write.offset, &write.bytes)?,
                _ => {
                    losses.torn += 1;
                    for (n, sector) in (0..).zip(write.bytes.chunks(SECTOR)) {
                        if self.random.below(2) == 0 {
                            self.image.store(write.offset + n * SECTOR as u64, sector)?;
                        }
                    }
                }
            }
        }
        Ok(losses)
    }
}

fn cut_off(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(error),
    }
}

impl Image {
    fn cache(&self) -> MutexGuard<'_, Vec<Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).context("write", self.path.display())
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        for write in self.cache().iter() {
            let start = write.offset.max(offset);
            let end = (write.offset + write.bytes.len() as u64).min(offset + length as u64);
            if start < end {
                let (to, from) = ((start - offset) as usize, (start - write.offset) as usize);
                let count = (end - start) as usize;
                bytes[to..to + count].copy_from_slice(&write.bytes[from..from + count]);
            }
        }
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: Vec<u8>, is_durable: bool) -> io::Result<()> {
        let mut cache = self.cache();
        cache.push(Cached { offset, bytes, is_durable });
        let mut held: usize = cache.iter().map(|write| write.bytes.len()).sum();
        while held > CACHE {
            let oldest = cache.remove(0);
            held -= oldest.bytes.len();
            self.file.write_all_at(&oldest.bytes, oldest.offset)?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.cache().drain(..).try_for_each(|write| self.file.write_all_at(&write.bytes, write.offset))
    }

    fn serve(&self, mut qemu: UnixStream) -> io::Result<()> {
        const READ: u16 = 0;
        const WRITE: u16 = 1;
        const DISC: u16 = 2;
        const FLUSH: u16 = 3;
        const FUA: u16 = 1;
        self.shake_hands(&mut qemu)?;
        loop {
            let mut head = [0; 28];
            qemu.read_exact(&mut head)?;
            let (flags, act) = (u16_of(&head[4..]), u16_of(&head[6..]));
            let (offset, length) = (u64_of(&head[16..]), u32_of(&head[24..]));
            if u32_of(&head) != 0x2560_9513 || length > REQUEST {
                return Err(io::Error::other("not a request of NBD"));
            }
            let mut data = Vec::new();
            match act {
                READ => data = self.read(offset, length as usize)?,
                WRITE => {
                    let mut bytes = vec![0; length as usize];
                    qemu.read_exact(&mut bytes)?;
                    self.write(offset, bytes, flags & FUA != 0)?;
                }
                FLUSH => self.flush()?,
                DISC => return Ok(()),
                other => return Err(io::Error::other(format!("NBD request {other} was never offered"))),
            }
            let mut reply = 0x6744_6698_u32.to_be_bytes().to_vec();
            reply.extend([0; 4]);
            reply.extend(&head[8..16]);
            reply.append(&mut data);
            qemu.write_all(&reply)?;
        }
    }

    /// Up to the answer to GO (or EXPORT_NAME): there is one export, whatever its name.
    fn shake_hands(&self, qemu: &mut UnixStream) -> io::Result<()> {
        const EXPORT_NAME: u32 = 1;
        const GO: u32 = 7;
        const ACK: u32 = 1;
        const INFO: u32 = 3;
        const UNSUPPORTED: u32 = (1 << 31) + 1;
        // Has flags, takes FLUSH, takes FUA.
        const FLAGS: u16 = 1 | 4 | 8;
        // Fixed newstyle, no zeroes after the export.
        qemu.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
        qemu.read_exact(&mut [0; 4])?;
        let size = self.file.metadata()?.len().to_be_bytes();
        loop {
            let mut head = [0; 16];
            qemu.read_exact(&mut head)?;
            let (option, length) = (u32_of(&head[8..]), u32_of(&head[12..]));
            if &head[..8] != b"IHAVEOPT" || length > 4096 {
                return Err(io::Error::other("not an option of NBD"));
            }
            qemu.read_exact(&mut vec![0; length as usize])?;
            let mut reply = |kind: u32, data: &[u8]| {
                let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
                for number in [option, kind, data.len() as u32] {
                    bytes.extend(number.to_be_bytes());
                }
                bytes.extend(data);
                qemu.write_all(&bytes)
            };
            match option {
                GO => {
                    reply(INFO, &[&[0, 0], &size[..], &FLAGS.to_be_bytes()].concat())?;
                    return reply(ACK, &[]);
                }
                EXPORT_NAME => return qemu.write_all(&[&size[..], &FLAGS.to_be_bytes()].concat()),
                _ => reply(UNSUPPORTED, &[])?,
            }
        }
    }
}

fn u16_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from(u16_of(bytes)) << 16 | u32::from(u16_of(&bytes[2..]))
}

fn u64_of(bytes: &[u8]) -> u64 {
    u64::from(u32_of(bytes)) << 32 | u64::from(u32_of(&bytes[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::folder;
    use std::process::Command;

    /// qemu-io writes on a disk of 1 MiB; returns what the power has left of it.
    fn after(name: &str, commands: &[&str]) -> Result<(Losses, Vec<u8>)> {
        let folder = folder(std::env::temp_dir().join(format!("rota-lossy-{name}-{}", std::process::id())))?;
        std::fs::write(folder.join("disk.img"), vec![0; 1 << 20]).context("write", "disk.img")?;
        let mut disk = LossyDisk::open(&folder, Random::new())?;
        disk.serve()?;
        let mut qemu_io = Command::new("qemu-io");
        qemu_io.current_dir(&folder).args(["-f", "raw", "--cache", "writeback"]);
        for command in commands {
            qemu_io.args(["-c", command]);
        }
        // It would flush when it closes the disk: so it is killed, as a machine is.
        qemu_io.args(["-c", "sigraise 9", ADDRESS]);
        let said = qemu_io.output().context("run", "qemu-io")?;
        let losses = disk.cut()?;
        let left = std::fs::read(folder.join("disk.img")).context("read", "disk.img")?;
        std::fs::remove_dir_all(&folder).context("remove", folder.display())?;
        assert_eq!(String::from_utf8_lossy(&said.stderr), "");
        Ok((losses, left))
    }

    #[test]
    fn what_is_flushed_stays() -> Result<()> {
        let (losses, left) =
            after("flushed", &["write -P 1 0 64k", "flush", "write -P 2 -f 64k 4k", "read -P 2 64k 4k"])?;
        assert_eq!(losses, Losses::default());
        assert!(
            left[..65536].iter().all(|byte| *byte == 1) && left[65536..69632].iter().all(|byte| *byte == 2)
        );
        Ok(())
    }

    #[test]
    fn what_is_not_flushed_may_go() -> Result<()> {
        let writes: Vec<String> = (0..40).map(|n| format!("write -P 3 {}k 8k", n * 8)).collect();
        let (losses, left) = after("lost", &writes.iter().map(String::as_str).collect::<Vec<_>>())?;
        assert_eq!(losses.unflushed, 40);
        assert!(losses.lost > 0 && losses.torn > 0 && losses.lost + losses.torn < 40, "{losses}");
        let sectors = left.chunks(SECTOR);
        assert!(sectors.into_iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        Ok(())
    }
}
