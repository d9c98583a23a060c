//! The fuzz targets in bounded loops.
#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/craft.rs"]
#[allow(dead_code)]
mod craft;
mod targets;

use bounded::{fuzz, Random};
use targets::{Target, TARGETS};

const RUNS: u64 = 3000;

/// Changes bytes, runs of bytes, and lengths.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const TELLING: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'[', b'\n', b' '];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(32)).min(bytes.len());
        match random.below(7) {
            _ if bytes.is_empty() => bytes.push(random.below(256) as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = TELLING[random.below(TELLING.len())],
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 => bytes[at..end].fill(random.below(256) as u8),
            _ => bytes.insert(at, TELLING[random.below(TELLING.len())]),
        }
    }
}

#[test]
fn no_input_makes_the_library_panic() {
    for Target { name, run, seeds } in TARGETS {
        fuzz(name, &seeds(), RUNS, mutate, run);
    }
}
