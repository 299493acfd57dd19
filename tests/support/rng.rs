//! A small deterministic generator: the same seed gives the same campaign on every machine and with every toolchain.

/// SplitMix64: one 64-bit counter and a mixing function, so any number of independent streams can be derived from a seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// Mixes the bits of one word so that neighbouring inputs give unrelated outputs.
pub fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of one seed.
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed))
    }

    /// The stream of a seed and a path of numbers below it: `Rng::of(seed, &[life, thread, op])`.
    pub fn of(seed: u64, path: &[u64]) -> Rng {
        Rng(path.iter().fold(mix(seed), |acc, part| mix(acc ^ mix(*part).rotate_left(17))))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`; 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// `n` bytes that do not compress.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(n);
        out
    }
}
