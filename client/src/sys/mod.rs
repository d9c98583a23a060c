//! Everything that asks the operating system for more than plain files: safe functions only. The one room with `unsafe`.

pub mod device;
pub mod disk;
pub mod fault;
pub mod fifo;
pub mod hold;
pub mod host;
pub mod lock;
pub mod mounts;
pub mod mtd;
pub mod power;
pub mod process;
pub mod signal;
pub mod vcio;
pub mod watchdog;
pub mod zone;
