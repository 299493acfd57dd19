//! The random numbers that a seed decides: SplitMix64, good enough to choose by and the same everywhere.

/// A sequence of numbers that its seed decides.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

/// Mixes two numbers into one, so that neighbours give unrelated results.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    scramble(scramble(a.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ b.wrapping_mul(0xD6E8_FEB8_6659_FD93))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scramble(self.0)
    }

    /// A number below `n`; 0 if there is none.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// True in `parts` of 256 cases.
    pub(super) fn chance(&mut self, parts: u64) -> bool {
        self.next() & 255 < parts
    }

    /// One of `all`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
