//! The fuzz target in a bounded loop, for the stable compiler. `ROTA_FUZZ_RUNS` and `ROTA_FUZZ_SEED` make it longer, or repeat
//! it; with `ROTA_FUZZ_CORPUS` the seeds are written into a folder there, for `cargo fuzz`.
mod targets;

use std::{env, fs, path::Path};

const RUNS: u64 = 20_000;

/// xorshift64*: as much randomness as this needs.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

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

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_data_base_makes_the_program_panic() {
    let seed = number("ROTA_FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let runs = number("ROTA_FUZZ_RUNS").unwrap_or(RUNS);
    println!("ROTA_FUZZ_SEED={seed} ROTA_FUZZ_RUNS={runs}");
    let seeds = targets::seeds();
    if let Ok(corpus) = env::var("ROTA_FUZZ_CORPUS") {
        let folder = Path::new(&corpus).join("store");
        fs::create_dir_all(&folder).unwrap();
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(at.to_string()), seed).unwrap();
        }
    }
    seeds.iter().for_each(|seed| targets::store(seed));
    let mut random = Random(seed | 1);
    for _ in 0..runs {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut bytes, &mut random);
        targets::store(&bytes);
    }
}
