//! Which record is next: uniform, Zipf, latest.

use crate::data::mix;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A small generator of random numbers (SplitMix64), the same sequence for every engine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// The next 64 bits.
    #[inline]
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(n)) >> 64) as u64
    }

    /// A number from 0 up to 1, without it.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How the records are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// Each alike.
    Uniform,
    /// Zipf, 0.99, the ranks scattered over the records.
    Zipf,
    /// Zipf, 0.99, the youngest record first.
    Latest,
}

/// Ranks distributed as Zipf's law says, by the method of Gray and others ("Quickly generating billion-record synthetic
/// databases", 1994), which YCSB uses too.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

/// YCSB's constant.
const THETA: f64 = 0.99;

impl Zipf {
    /// Ranks `0..n`.
    pub fn new(n: u64) -> Zipf {
        let n = n.max(2);
        let zeta = zeta(n, THETA);
        let alpha = 1.0 / (1.0 - THETA);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - self::zeta(2, THETA) / zeta);
        Zipf { n, theta: THETA, alpha, zeta, eta }
    }

    /// The next rank.
    pub fn rank(&self, rng: &mut Rng) -> u64 {
        let u = rng.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        let rank = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n - 1)
    }
}

/// The sum of `1 / i^theta` for `i` in `1..=n`: summed up to ten thousand, then Euler and Maclaurin's formula.
fn zeta(n: u64, theta: f64) -> f64 {
    let summed = n.min(10_000);
    let head: f64 = (1..=summed).map(|i| (i as f64).powf(-theta)).sum();
    if n == summed {
        return head;
    }
    let (a, b) = (summed as f64, n as f64);
    let f = |x: f64| x.powf(-theta);
    head + (b.powf(1.0 - theta) - a.powf(1.0 - theta)) / (1.0 - theta) + (f(b) - f(a)) / 2.0
}

/// A long sequence of ids (or, for [`Choice::Latest`], ranks), drawn before a measurement and shared by its threads, so
/// that the cost of Zipf's law falls on no engine.
#[derive(Clone)]
pub struct Ring(Arc<[u64]>);

impl Ring {
    const LEN: usize = 1 << 20;

    /// Of ids below `records`; uniform choices need none.
    pub fn new(choice: Choice, records: u64, seed: u64) -> Ring {
        if choice == Choice::Uniform {
            return Ring(Arc::new([]));
        }
        let (mut rng, zipf) = (Rng::new(seed), Zipf::new(records));
        let draw = |_| match zipf.rank(&mut rng) {
            rank if choice == Choice::Zipf => mix(rank) % records,
            rank => rank,
        };
        Ring((0..Ring::LEN).map(draw).collect())
    }
}

/// One thread's choices.
pub struct Ids {
    ring: Ring,
    at: usize,
    rng: Rng,
    records: u64,
}

impl Ids {
    /// The choices of thread `thread`, which starts at a place of its own in the ring.
    pub fn new(ring: &Ring, records: u64, seed: u64, thread: usize) -> Ids {
        let at = thread * (Ring::LEN / 67);
        Ids { ring: ring.clone(), at, rng: Rng::new(seed ^ (thread as u64) << 32), records }
    }

    /// The next id, or the next rank of [`Choice::Latest`].
    #[inline]
    pub fn next(&mut self) -> u64 {
        if self.ring.0.is_empty() {
            return self.rng.below(self.records);
        }
        self.at = (self.at + 1) & (Ring::LEN - 1);
        self.ring.0[self.at]
    }

    /// The same thread's random numbers.
    #[inline]
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeta_is_summed_right() {
        let n = 200_000;
        let plain: f64 = (1..=n).map(|i| (i as f64).powf(-THETA)).sum();
        assert!((zeta(n, THETA) - plain).abs() < 1e-6);
    }

    #[test]
    fn the_first_ranks_have_their_share() {
        let (zipf, mut rng) = (Zipf::new(10_000_000), Rng::new(1));
        let draws = 1_000_000;
        let first = (0..draws).filter(|_| zipf.rank(&mut rng) == 0).count() as f64 / f64::from(draws);
        assert!((first - 1.0 / zipf.zeta).abs() < 0.002, "{first}");
    }
}
