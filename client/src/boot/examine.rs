//! What the examinations of all back ends share.

use std::fs::{self, OpenOptions};
use std::path::Path;

use crate::finding::Finding;

/// How kernels are called in `/boot`, but for versions behind.
const KERNELS: [&str; 7] = ["vmlinuz", "bzImage", "Image", "zImage", "uImage", "fitImage", "vmlinux"];
const KERNEL: &str = "kernel";

/// The kernel in the slot: at the path where the boot loader takes it from, or somewhere in `/boot` when nobody knows that path.
pub fn kernel(root: &Path, named: Option<&str>) -> Finding {
    match named {
        Some(path) => file(KERNEL, root, path),
        None => any_kernel(root, "boot"),
    }
}

/// A file that the boot loader takes from the slot.
pub fn file(check: &'static str, root: &Path, path: &str) -> Finding {
    match fs::metadata(root.join(path.trim_start_matches('/'))) {
        Ok(found) if found.is_file() && found.len() > 0 => {
            Finding::ok(check, format!("{path}, {} bytes, in the slot", found.len()))
        }
        _ => Finding::wrong(
            check,
            format!("{path} in the slot, where the boot loader takes it from"),
            "it is not there, or it is empty",
            "put it into the image, or correct the path in the boot script",
        ),
    }
}

/// A kernel by any of the usual names in a folder of the slot.
pub fn any_kernel(root: &Path, folder: &str) -> Finding {
    let is_kernel = |name: &str| {
        KERNELS.iter().any(|kernel| name.starts_with(kernel))
            || (name.starts_with("kernel") && name.ends_with(".img"))
    };
    match names(&root.join(folder)).into_iter().find(|name| is_kernel(name)) {
        Some(name) => Finding::ok(KERNEL, format!("/{folder}/{name} in the slot")),
        None => Finding::wrong(
            KERNEL,
            format!("a kernel in /{folder} of the slot, so that an update brings its own"),
            "there is none",
            "build the image with the kernel in its root file system (kernel-image in Yocto)",
        ),
    }
}

/// A device tree in the slot, which not every board needs.
pub fn device_tree(root: &Path) -> Finding {
    let folders = ["boot", "boot/dtb", "boot/dtbs", "boot/firmware"];
    let of = |folder: &&str| {
        let name = names(&root.join(folder)).into_iter().find(|name| name.ends_with(".dtb"))?;
        Some(format!("/{folder}/{name} in the slot"))
    };
    match folders.iter().find_map(of) {
        Some(found) => Finding::ok("device tree", found),
        None => Finding::not_checked(
            "device tree",
            "none in /boot: right for a FIT image, and where the boot loader has its own",
        ),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whether an existing file may be written. It is opened and closed: not a byte changes.
pub fn writable(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path).map(drop)
}
