//! Numbers to spread moments and losses with (splitmix64), repeatable by `ROTA_SEED=N`.

use std::time::SystemTime;

pub struct Random(u64);

impl Random {
    /// From `ROTA_SEED`, or else from the clock; the seed is printed.
    pub fn new() -> Random {
        let clock =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_micros() as u64);
        let seed =
            std::env::var("ROTA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(clock % 1_000_000);
        println!("ROTA_SEED={seed}");
        Random(seed)
    }

    /// Another sequence, which this one decides.
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }

    /// From 0 to below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Default for Random {
    fn default() -> Self {
        Random::new()
    }
}
