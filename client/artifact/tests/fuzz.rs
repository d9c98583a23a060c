//! The fuzz targets in a bounded loop, for the stable compiler. `ROTA_FUZZ_RUNS` and `ROTA_FUZZ_SEED` make it longer, or
//! repeat it; with `ROTA_FUZZ_CORPUS` the seeds are written into folders there, for `cargo fuzz`.
#[path = "common/craft.rs"]
#[allow(dead_code)]
mod craft;
mod targets;

use std::{env, fs, path::Path};

use targets::{Target, TARGETS};

const RUNS: u64 = 3000;

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

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_input_makes_the_library_panic() {
    let seed = number("ROTA_FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let runs = number("ROTA_FUZZ_RUNS").unwrap_or(RUNS);
    println!("ROTA_FUZZ_SEED={seed} ROTA_FUZZ_RUNS={runs}");
    let mut random = Random(seed | 1);
    for Target { name, run, seeds } in TARGETS {
        let seeds = seeds();
        if let Ok(corpus) = env::var("ROTA_FUZZ_CORPUS") {
            let folder = Path::new(&corpus).join(name);
            fs::create_dir_all(&folder).unwrap();
            seeds
                .iter()
                .enumerate()
                .for_each(|(at, seed)| fs::write(folder.join(at.to_string()), seed).unwrap());
        }
        seeds.iter().for_each(|seed| run(seed));
        for _ in 0..runs {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            mutate(&mut bytes, &mut random);
            run(&bytes);
        }
    }
}
