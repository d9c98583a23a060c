//! Signals as values: a handler only notes which came, a thread acts on them.
//!
//! Not by a mask and `sigwait`: programs that the client starts would inherit the mask.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet};

pub use nix::sys::signal::Signal;

/// Where the handler writes the numbers of signals to.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// From now on, calls `on` in a thread of its own for each of `signals` that comes. For one caller in the program.
pub fn listen(signals: &[Signal], mut on: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
    for signal in signals {
        let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: `note` does only what a signal handler may: it loads an atomic, calls write(2) and keeps errno.
        let before = unsafe { sigaction(*signal, &action)? };
        // Who started the program under nohup wants it to outlive the terminal.
        if *signal == Signal::SIGHUP && matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: the signal is ignored, as it was.
            unsafe { sigaction(*signal, &before)? };
        }
    }
    let mut reader = File::from(reader);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut number = [0];
        while reader.read_exact(&mut number).is_ok() {
            if let Ok(signal) = Signal::try_from(i32::from(number[0])) {
                on(signal);
            }
        }
    })?;
    Ok(())
}

extern "C" fn note(signal: libc::c_int) {
    let errno = Errno::last_raw();
    let byte = signal as u8;
    // SAFETY: one byte is read from the address of a byte. The descriptor is never closed.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), std::ptr::addr_of!(byte).cast(), 1) };
    Errno::set_raw(errno);
}

/// Sends `signal` to the process `pid`.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    // 0 and -1 (which wraps from large numbers) mean groups of processes.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?)
}
