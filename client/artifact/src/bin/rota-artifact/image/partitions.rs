//! The partitions of a disk image: MBR or GPT.
use std::{fs::File, io, os::unix::fs::FileExt};

const SECTOR: u64 = 512;
const GPT_PROTECTIVE: u8 = 0xee;

/// Where the partitions begin, in bytes; empty when there is no partition table.
pub fn offsets(disk: &File) -> io::Result<Vec<u64>> {
    let mut sector = [0; SECTOR as usize];
    match disk.read_exact_at(&mut sector, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        read => read?,
    }
    if sector[510..] != [0x55, 0xaa] {
        return Ok(Vec::new());
    }
    let entries: Vec<&[u8]> = sector[446..510].chunks_exact(16).collect();
    if entries[0][4] == GPT_PROTECTIVE {
        return gpt(disk);
    }
    // A boot sector of a FAT file system has the same mark, but no valid entries.
    if entries.iter().any(|entry| entry[0] & 0x7f != 0) {
        return Ok(Vec::new());
    }
    let used = entries.iter().filter(|entry| entry[4] != 0);
    Ok(used.map(|entry| u64::from(number32(&entry[8..])) * SECTOR).collect())
}

fn gpt(disk: &File) -> io::Result<Vec<u64>> {
    let mut header = [0; SECTOR as usize];
    disk.read_exact_at(&mut header, SECTOR)?;
    if !header.starts_with(b"EFI PART") {
        return Ok(Vec::new());
    }
    let (start, count, size) = (number64(&header[72..]), number32(&header[80..]), number32(&header[84..]));
    let mut offsets = Vec::new();
    let mut entry = [0; 128];
    for index in 0..u64::from(count.min(128)) {
        let at = start.checked_mul(SECTOR).and_then(|at| at.checked_add(index * u64::from(size)));
        disk.read_exact_at(&mut entry, at.ok_or(io::ErrorKind::InvalidData)?)?;
        if entry[..16] != [0; 16] {
            offsets.push(number64(&entry[32..]).checked_mul(SECTOR).ok_or(io::ErrorKind::InvalidData)?);
        }
    }
    Ok(offsets)
}

fn number32(bytes: &[u8]) -> u32 {
    bytes[..4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn number64(bytes: &[u8]) -> u64 {
    bytes[..8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
