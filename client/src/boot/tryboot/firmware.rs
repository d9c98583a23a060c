//! What the firmware of a Raspberry Pi says about this start, and the one-shot flag for the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::{disk, vcio};

/// Bit 0 of the firmware's flags for the next restart.
const TRY: u32 = 1;
/// What `reboot` hands to the kernel when it finds it in systemd's file: the kernel then sets the flag.
const ARGUMENT: &str = "0 tryboot";

/// The flag that makes the next start a try of the other boot partition. It does not outlive a loss of power.
#[derive(Debug)]
pub(super) enum Flag {
    /// The firmware's mailbox: any restart will do.
    Mailbox(PathBuf),
    /// A kernel without `/dev/vcio`: the argument of the restart, which systemd keeps in a file until then.
    Argument(PathBuf),
}

impl Flag {
    /// How the flag is set on this machine; `None` when there is no way.
    pub(super) fn find(root: &Path) -> Option<Flag> {
        let mailbox = root.join("dev/vcio");
        if mailbox.exists() {
            return Some(Flag::Mailbox(mailbox));
        }
        let systemd = root.join("run/systemd");
        systemd.join("system").is_dir().then(|| Flag::Argument(systemd.join("reboot-param")))
    }

    pub(super) fn is_set(&self) -> io::Result<bool> {
        match self {
            Flag::Mailbox(device) => Ok(vcio::reboot_flags(device)? & TRY != 0),
            Flag::Argument(file) => match fs::read_to_string(file) {
                Ok(text) => Ok(text.trim() == ARGUMENT),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    pub(super) fn set(&self, on: bool) -> io::Result<()> {
        match self {
            Flag::Mailbox(device) => {
                let others = vcio::reboot_flags(device)? & !TRY;
                vcio::set_reboot_flags(device, others | if on { TRY } else { 0 })
            }
            Flag::Argument(file) if on => disk::replace(file, ARGUMENT.as_bytes(), 0o644),
            Flag::Argument(file) => disk::remove(file),
        }
    }
}

/// What the firmware put into the device tree at this start: the folder `/proc/device-tree/chosen/bootloader`.
#[derive(Debug)]
pub(super) struct Tree(pub(super) PathBuf);

impl Tree {
    /// Number of the partition that the kernel came from.
    pub(super) fn partition(&self) -> Option<u32> {
        self.number("partition")
    }

    /// Whether this start is a try.
    pub(super) fn is_try(&self) -> bool {
        self.number("tryboot").unwrap_or(0) != 0
    }

    /// When the firmware of the boot EEPROM was built, in seconds since 1970.
    pub(super) fn built(&self) -> Option<u32> {
        self.number("build-timestamp")
    }

    /// A property: a big-endian number.
    fn number(&self, name: &str) -> Option<u32> {
        let bytes = fs::read(self.0.join(name)).ok()?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}
