//! Fuzz targets in bounded loops, for the stable compiler. `ROTA_FUZZ_RUNS` and `ROTA_FUZZ_SEED` make them longer, or repeat
//! them; with `ROTA_FUZZ_CORPUS` the seeds are written into folders there, for `cargo fuzz`.

use std::{env, fs, path::Path};

/// xorshift64*: as much randomness as this needs.
pub struct Random(u64);

impl Random {
    /// A number less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// Gives the target `name` all its seeds, and then `runs` of them that `mutate` has changed.
pub fn fuzz(
    name: &str,
    seeds: &[Vec<u8>],
    runs: u64,
    mutate: fn(&mut Vec<u8>, &mut Random),
    target: fn(&[u8]),
) {
    let seed = number("ROTA_FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let runs = number("ROTA_FUZZ_RUNS").unwrap_or(runs);
    println!("{name}: ROTA_FUZZ_SEED={seed} ROTA_FUZZ_RUNS={runs}");
    if let Ok(corpus) = env::var("ROTA_FUZZ_CORPUS") {
        let folder = Path::new(&corpus).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(at.to_string()), seed).unwrap();
        }
    }
    seeds.iter().for_each(|seed| target(seed));
    let mut random = Random(seed | 1);
    for _ in 0..runs {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut bytes, &mut random);
        target(&bytes);
    }
}
