//! Flash: the ioctls of MTD character devices and UBI volumes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc::{c_int, loff_t};

/// Parallel or serial NOR flash, `MTD_NORFLASH`.
pub const NOR: u8 = 3;
/// NAND flash, `MTD_NANDFLASH`.
pub const NAND: u8 = 4;
/// Atmel's DataFlash, `MTD_DATAFLASH`: written without being erased first.
pub const DATAFLASH: u8 = 6;

/// What the kernel says about a flash device: `struct mtd_info_user`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Info {
    /// Kind of flash: `NOR`, `NAND`, …
    pub kind: u8,
    flags: u32,
    /// Bytes of the device.
    pub size: u32,
    /// Bytes of an erase block.
    pub erase_size: u32,
    write_size: u32,
    oob_size: u32,
    padding: u64,
}

/// A stretch of flash, whole erase blocks: `struct erase_info_user`.
#[repr(C)]
struct Stretch {
    start: u32,
    length: u32,
}

mod ioctls {
    use super::{loff_t, Info, Stretch};
    nix::ioctl_read!(get_info, b'M', 1, Info);
    nix::ioctl_write_ptr!(erase, b'M', 2, Stretch);
    nix::ioctl_write_ptr!(lock, b'M', 5, Stretch);
    nix::ioctl_write_ptr!(unlock, b'M', 6, Stretch);
    nix::ioctl_write_ptr!(is_bad, b'M', 11, loff_t);
    nix::ioctl_read!(is_locked, b'M', 23, Stretch);
    nix::ioctl_write_ptr!(update_volume, b'O', 0, i64);
}

/// Asks what flash a character device is.
#[allow(unsafe_code)]
pub fn info(device: &File) -> io::Result<Info> {
    let mut info = Info::default();
    // SAFETY: the descriptor is open, and the kernel fills no more than `struct mtd_info_user`.
    unsafe { ioctls::get_info(device.as_raw_fd(), &mut info)? };
    Ok(info)
}

/// Whether the NAND block at `start` is bad.
#[allow(unsafe_code)]
pub fn is_bad(device: &File, start: u64) -> io::Result<bool> {
    let start = loff_t::try_from(start).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and the kernel reads one loff_t.
    let answer: c_int = unsafe { ioctls::is_bad(device.as_raw_fd(), &start)? };
    Ok(answer > 0)
}

/// Runs `change` on `length` bytes at `start` with the write protection taken away, and put back when it was on.
pub fn unlocked<T>(
    device: &File,
    start: u64,
    length: u64,
    change: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let was_locked = protection(device, start, length, Protection::Ask)?;
    if was_locked {
        protection(device, start, length, Protection::Off)?;
    }
    let result = change();
    if was_locked {
        protection(device, start, length, Protection::On)?;
    }
    result
}

enum Protection {
    Ask,
    On,
    Off,
}

/// Asks for or changes the write protection. Flash without any answers that it is off.
#[allow(unsafe_code)]
fn protection(device: &File, start: u64, length: u64, act: Protection) -> io::Result<bool> {
    let mut stretch = stretch(start, length)?;
    let fd = device.as_raw_fd();
    // SAFETY: the descriptor is open, and the kernel reads one `struct erase_info_user` (it writes none back).
    let answer = unsafe {
        match act {
            Protection::Ask => ioctls::is_locked(fd, &mut stretch),
            Protection::On => ioctls::lock(fd, &stretch),
            Protection::Off => ioctls::unlock(fd, &stretch),
        }
    };
    Ok(answer.unwrap_or(0) > 0)
}

/// Erases whole blocks: `length` bytes at `start`.
#[allow(unsafe_code)]
pub fn erase(device: &File, start: u64, length: u64) -> io::Result<()> {
    let stretch = stretch(start, length)?;
    // SAFETY: the descriptor is open, and the kernel reads one `struct erase_info_user`.
    unsafe { ioctls::erase(device.as_raw_fd(), &stretch)? };
    Ok(())
}

/// Begins an update of a UBI volume: exactly `bytes` have to be written next, otherwise the volume counts as lost.
#[allow(unsafe_code)]
pub fn update_volume(volume: &File, bytes: u64) -> io::Result<()> {
    let bytes = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and the kernel reads one 64-bit number.
    unsafe { ioctls::update_volume(volume.as_raw_fd(), &bytes)? };
    Ok(())
}

fn stretch(start: u64, length: u64) -> io::Result<Stretch> {
    let fits = |value| u32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    Ok(Stretch { start: fits(start)?, length: fits(length)? })
}
