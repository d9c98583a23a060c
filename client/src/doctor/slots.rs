//! The slots: there, apart, large enough, and one of them root.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Doctor;
use crate::finding::Finding;
use crate::slot::{Layout, Slot};
use crate::sys::device;
use crate::sys::mounts::Mount;

const SLOTS: &str = "slots";

/// Both slots are there, and are two.
pub fn exist(doctor: &mut Doctor) -> Vec<Finding> {
    let layout = match doctor.device.layout() {
        Ok(layout) => layout,
        Err(why) => {
            let expected = "the block devices of two root file systems";
            let remedy = "set slots.a and slots.b in rota.toml to their partitions";
            return vec![Finding::wrong(SLOTS, expected, why, remedy)];
        }
    };
    let mut findings: Vec<Finding> = Slot::BOTH.into_iter().map(|slot| exists(layout, slot)).collect();
    match layout.is_one() {
        Ok(true) => findings.push(Finding::wrong(
            SLOTS,
            "two different devices",
            format!("slot A ({}) and slot B ({}) are the same", layout.a.display(), layout.b.display()),
            "correct slots.a and slots.b in rota.toml",
        )),
        Ok(false) => {}
        Err(error) => findings.push(Finding::not_checked(SLOTS, error.to_string())),
    }
    let numbers = [layout.number(Slot::A), layout.number(Slot::B)];
    if numbers.contains(&None) || numbers[0] == numbers[1] {
        findings.push(Finding::wrong(
            SLOTS,
            "devices whose names end with their partition's number, by which boot loaders know them",
            format!("{} and {}", layout.a.display(), layout.b.display()),
            "name partitions, or links to them, in slots.a and slots.b",
        ));
    }
    findings
}

fn exists(layout: &Layout, slot: Slot) -> Finding {
    let path = layout.path(slot).display();
    let expected = format!("slot {slot}, a block device at {path}");
    let remedy = "partition the disk for two slots, or correct [slots] in rota.toml; `lsblk -o NAME,SIZE,PARTLABEL` shows what there is";
    match std::fs::metadata(layout.path(slot)) {
        Ok(found) if found.is_dir() => Finding::wrong(SLOTS, expected, "a folder", remedy),
        Ok(_) if device::is_block(layout.path(slot)).unwrap_or(false) => {
            Finding::ok(SLOTS, format!("slot {slot} is {path}"))
        }
        Ok(found) if found.is_file() => Finding::ok(SLOTS, format!("slot {slot} is the image file {path}")),
        Ok(_) => Finding::wrong(SLOTS, expected, "neither a block device nor an image file", remedy),
        Err(error) => Finding::wrong(SLOTS, expected, error.to_string(), remedy),
    }
}

/// Each slot holds what the other one does.
pub fn sizes(doctor: &mut Doctor) -> Vec<Finding> {
    const SIZES: &str = "slot sizes";
    let Ok(layout) = doctor.device.layout() else { return Vec::new() };
    let opened = Slot::BOTH
        .map(|slot| File::open(layout.path(slot)).and_then(|file| Ok((device::size(&file)?, file))));
    let [(a, file_a), (b, file_b)] = match opened {
        [Ok(a), Ok(b)] => [a, b],
        [Err(error), _] | [_, Err(error)] => {
            return vec![Finding::not_checked(SIZES, format!("a slot cannot be read: {error}"))]
        }
    };
    if a == b {
        return vec![Finding::ok(SIZES, format!("both slots have {a} bytes"))];
    }
    let (small, slot, large) = if a < b { (a, Slot::A, &file_b) } else { (b, Slot::B, &file_a) };
    let found = format!("slot A has {a} bytes, slot B {b}");
    vec![match file_system(large) {
        Some(needed) if needed <= small => Finding::ok(
            SIZES,
            format!("{found}; the larger one's file system of {needed} bytes fits into both"),
        ),
        needed => Finding::wrong(
            SIZES,
            match needed {
                Some(needed) => {
                    format!("slot {slot} with the {needed} bytes of slot {}'s file system", slot.other())
                }
                None => "slots of one size".to_owned(),
            },
            found,
            "give both partitions one size: a release that fits only one slot installs only every other time",
        ),
    }]
}

/// Bytes of the file system at the front of a slot, if it is of a kind that says so: ext, squashfs, EROFS.
fn file_system(slot: &File) -> Option<u64> {
    let mut front = [0; 2048];
    slot.read_exact_at(&mut front, 0).ok()?;
    let word = |at: usize| u32::from_le_bytes([front[at], front[at + 1], front[at + 2], front[at + 3]]);
    if front[1080..1082] == [0x53, 0xef] {
        return u64::from(word(1028)).checked_shl(10 + word(1048));
    }
    if front.starts_with(b"hsqs") {
        return Some(u64::from(word(44)) << 32 | u64::from(word(40)));
    }
    (word(1024) == 0xe0f5_e1e2).then(|| u64::from(word(1060)) << front[1036])
}

/// The root file system is on one slot, and nobody uses the other.
pub fn root(doctor: &mut Doctor) -> Vec<Finding> {
    const ROOT: &str = "root";
    let Ok(layout) = doctor.device.layout() else { return Vec::new() };
    let booted = match layout.booted_in(&doctor.device.system) {
        Ok(slot) => slot,
        Err(error) => {
            return vec![Finding::wrong(
                ROOT,
                "the root file system on one of the slots",
                error.to_string(),
                "boot from a slot (root= of the kernel's command line), or correct slots.a and slots.b",
            )]
        }
    };
    let other = booted.other();
    let number = device::number(layout.path(other)).ok().flatten();
    let mounts = doctor.device.system.mounts().unwrap_or_default();
    let in_use = |mount: &&Mount| number.is_some_and(|number| mount.device == number);
    let mut findings = vec![Finding::ok(ROOT, format!("slot {booted} runs"))];
    if let Some(mount) = mounts.iter().find(in_use) {
        findings.push(Finding::wrong(
            ROOT,
            format!("slot {other} used by nobody, so that an update can be written to it"),
            format!("{} is mounted at {}", layout.path(other).display(), mount.point.display()),
            "unmount it, and take it out of /etc/fstab",
        ));
    }
    findings
}
