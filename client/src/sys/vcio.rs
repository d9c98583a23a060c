//! The firmware of a Raspberry Pi, asked through its property mailbox: `/dev/vcio`.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::libc::c_char;

/// What the firmware is to do at the next restart: read it, or write it.
const GET_REBOOT_FLAGS: u32 = 0x0003_0064;
const SET_REBOOT_FLAGS: u32 = 0x0003_8064;
/// The firmware's answer to a request that it understood.
const DONE: u32 = 0x8000_0000;

mod ioctls {
    use super::c_char;
    nix::ioctl_readwrite!(property, 100, 0, *mut c_char);
}

/// The flags that the firmware has for the next restart. Bit 0: try the other boot partition once.
pub fn reboot_flags(device: &Path) -> io::Result<u32> {
    property(device, GET_REBOOT_FLAGS, 0)
}

/// Sets the flags for the next restart. They do not outlive a loss of power.
pub fn set_reboot_flags(device: &Path, flags: u32) -> io::Result<()> {
    property(device, SET_REBOOT_FLAGS, flags).map(drop)
}

#[allow(unsafe_code)]
fn property(device: &Path, tag: u32, value: u32) -> io::Result<u32> {
    let file = OpenOptions::new().read(true).write(true).open(device)?;
    // Its own size in bytes, request, then one tag: number, size of its value, request, value; then the end.
    let mut message: [u32; 7] = [28, 0, tag, 4, 0, value, 0];
    // SAFETY: the descriptor is open, and the kernel reads and writes as many bytes as the message says it has.
    unsafe { ioctls::property(file.as_raw_fd(), message.as_mut_ptr().cast())? };
    if message[1] != DONE {
        return Err(io::Error::other(format!(
            "the firmware refused property {tag:#010x} ({:#010x})",
            message[1]
        )));
    }
    Ok(message[5])
}
