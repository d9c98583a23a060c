//! The fuzz target in a bounded loop.
#[path = "../../artifact/tests/common/bounded.rs"]
mod bounded;
mod targets;

use bounded::{fuzz, Random};

const RUNS: u64 = 20_000;

/// Changes bytes, mostly where pages begin and where nodes lie.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const TELLING: [u8; 8] = [0, 1, 2, 4, 0x10, 0x7f, 0x80, 0xff];
    for _ in 0..=random.below(4) {
        let page = random.below(bytes.len() / 4096 + 1) * 4096;
        let at = match random.below(3) {
            0 => page + random.below(160),
            1 => (page + 4096).saturating_sub(1 + random.below(160)),
            _ => random.below(bytes.len()),
        };
        let at = at.min(bytes.len().saturating_sub(1));
        match random.below(8) {
            _ if bytes.is_empty() => bytes.push(random.below(256) as u8),
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2..=4 => bytes[at] = TELLING[random.below(TELLING.len())],
            5 => bytes[at] = random.below(256) as u8,
            6 => bytes.truncate(at),
            _ => drop(bytes.drain(at..(at + 1 + random.below(32)).min(bytes.len()))),
        }
    }
}

#[test]
fn no_data_base_makes_the_program_panic() {
    fuzz("store", &targets::seeds(), RUNS, mutate, targets::store);
}
