//! Lock files: one holder at a time, let go by the kernel when the holder dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock at `path` (made if absent), waiting up to `wait` for another holder.
    /// `Ok(None)`: somebody else still holds it.
    pub fn take(path: &Path, wait: Duration) -> io::Result<Option<Lock>> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let until = Instant::now() + wait;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Some(Lock { _held: held })),
                Err((back, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => file = back,
                Err((_, error)) => return Err(error.into()),
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = crate::testing::folder();
        let path = folder.join("lock");
        let held = Lock::take(&path, Duration::ZERO).unwrap().unwrap();
        assert!(Lock::take(&path, Duration::ZERO).unwrap().is_none());
        drop(held);
        assert!(Lock::take(&path, Duration::ZERO).unwrap().is_some());
    }
}
