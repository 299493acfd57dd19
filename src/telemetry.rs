//! Counters that a hot path may afford: striped over cache lines, relaxed, summed only when somebody asks.
//!
//! A shared counter costs a cache-line transfer per count; the `metrics` macros some 50 ns. Here a thread counts on a line
//! that it mostly has to itself.

use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use std::cell::Cell;

/// How many lines each counter is spread over; a power of two.
pub(crate) const STRIPES: usize = 16;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread's line: threads take them in turn.
#[inline]
pub(crate) fn stripe() -> usize {
    STRIPE
        .try_with(|stripe| match stripe.get() {
            usize::MAX => {
                // Relaxed: any distribution will do.
                let mine = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
                stripe.set(mine);
                mine
            }
            mine => mine,
        })
        .unwrap_or(0)
}

/// A counter that many threads add to and few read.
#[derive(Debug)]
pub(crate) struct Counter {
    stripes: [CachePadded<AtomicU64>; STRIPES],
}

impl Counter {
    pub(crate) fn new() -> Counter {
        Counter { stripes: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))) }
    }

    /// Counts one; the count of this thread's line so far, which tells when to look at things that need it seldom.
    #[inline]
    pub(crate) fn add_one(&self) -> u64 {
        // Relaxed: a statistic.
        self.stripes[stripe()].fetch_add(1, Ordering::Relaxed)
    }

    /// Counts one, for the hottest paths: no locked instruction. Exact while at most [`STRIPES`] threads count; beyond that,
    /// two that share a line may lose a count now and then.
    #[inline(always)]
    pub(crate) fn note_one(&self) {
        self.note(1);
    }

    /// Counts `n`, as [`Counter::note_one`].
    #[inline(always)]
    pub(crate) fn note(&self, n: u64) {
        let mine = &self.stripes[stripe()];
        // Relaxed: a statistic.
        mine.store(mine.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The sum, at about this moment.
    pub(crate) fn sum(&self) -> u64 {
        // Relaxed: a statistic.
        self.stripes.iter().map(|stripe| stripe.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add_one();
                    }
                });
            }
        });
        assert_eq!(counter.sum(), 4000);
    }
}
