//! How many pairs a tree has, kept up to date by those who change it, so that asking costs nothing.
//!
//! | who | does what |
//! |---|---|
//! | a change that adds or takes away pairs | counts them, while the leaves that it changed are latched (B5) |
//! | whoever asks | adds up the counts of all threads, twice, until no change came in between |
//! | whoever asks first in a tree that was there before the store was opened | counts leaf by leaf; if no change came in between, that is the base from then on |
//!
//! Nothing of it is on disk: after an opening the first one who asks counts.
//!
//! **Why counting leaf by leaf gives the base.** A change is counted under the latches of the leaves it changed. If a leaf was
//! read before the change, the change was counted later than that; if after, it was counted before the leaf could be read.
//! So when the counts before and after the walk are the same, what the walk saw is what those counts stand for.

use super::Inner;
use crate::page::bytes::PageReader;
use crate::page::slotted::SlottedPage;
use crate::sync::{AtomicU64, Ordering};
use crate::telemetry::{STRIPES, stripe};
use crossbeam_utils::CachePadded;

/// Attempts at a moment when nothing changes, before the answer is that there is none: some microseconds.
const ATTEMPTS: usize = 64;
/// No base yet: no tree has as many pairs.
const UNKNOWN: u64 = u64::MAX;

/// What one thread, or some, have counted since the tree was opened. All only grow.
#[derive(Debug, Default)]
struct Stripe {
    added: AtomicU64,
    removed: AtomicU64,
    /// Changes that both add and take away, a batch's: those that have begun to be counted, and those that have been.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// The sums of all stripes at one moment, when no change was half counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    added: u64,
    removed: u64,
    begun: u64,
    ended: u64,
}

/// The count of one tree. Memory: 2 KiB.
#[derive(Debug)]
pub(crate) struct Count {
    stripes: [CachePadded<Stripe>; STRIPES],
    /// Pairs there were before anything was counted.
    base: AtomicU64,
}

impl Count {
    pub(crate) fn new() -> Count {
        Count { stripes: Default::default(), base: AtomicU64::new(UNKNOWN) }
    }

    /// Counts what one change adds and takes away, whose leaves are latched, as one.
    #[inline]
    pub(crate) fn change(&self, added: u64, removed: u64) {
        let mine = &self.stripes[stripe()];
        let both = added > 0 && removed > 0;
        // Release, all of them: they pair with the Acquire in `sums`, so that who sees one finds the leaves latched or changed, and
        // what was counted before it.
        if both {
            mine.begun.fetch_add(1, Ordering::Release);
        }
        if added > 0 {
            mine.added.fetch_add(added, Ordering::Release);
        }
        if removed > 0 {
            mine.removed.fetch_add(removed, Ordering::Release);
        }
        if both {
            mine.ended.fetch_add(1, Ordering::Release);
        }
    }

    fn sums(&self) -> Mark {
        let mut mark = Mark::default();
        for stripe in &self.stripes {
            // Acquire: pairs with the Release in `change`.
            mark.added += stripe.added.load(Ordering::Acquire);
            mark.removed += stripe.removed.load(Ordering::Acquire);
            mark.begun += stripe.begun.load(Ordering::Acquire);
            mark.ended += stripe.ended.load(Ordering::Acquire);
        }
        mark
    }

    /// The sums at some moment of this call, if there was one without a change.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let mut last = self.sums();
        for _ in 0..ATTEMPTS {
            let again = self.sums();
            // All grow only: what is the same twice was so all along in between.
            if again == last && last.begun == last.ended {
                return Some(last);
            }
            last = again;
        }
        None
    }

    /// At `mark` there were `n` pairs.
    pub(crate) fn settle(&self, mark: Mark, n: u64) {
        // Relaxed: whoever settles it settles it at the same number.
        self.base.store(n.wrapping_sub(mark.added).wrapping_add(mark.removed), Ordering::Relaxed);
    }

    /// How many pairs there were at `mark`; `None` if nobody knows yet.
    pub(crate) fn at(&self, mark: Mark) -> Option<u64> {
        let base = self.base.load(Ordering::Relaxed);
        (base != UNKNOWN).then(|| base.wrapping_add(mark.added).wrapping_sub(mark.removed))
    }
}

impl Inner {
    /// Counts all that a record adds to this tree and takes from it, whose leaves are latched.
    #[inline]
    pub(super) fn count(&self, added: u64, removed: u64) {
        if let Some(count) = &self.count
            && !cfg!(pagebox_break = "uncounted")
        {
            count.change(added, removed);
        }
    }

    /// Pairs in a page, if it is a leaf of this tree.
    pub(super) fn pairs_in(&self, page: PageReader<'_>) -> u64 {
        let leaf = SlottedPage::open(page).ok().filter(|node| node.is_leaf() && self.is_own(page));
        leaf.map_or(0, |leaf| leaf.count() as u64)
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_moment() {
        let count = Count::new();
        assert_eq!(count.mark().and_then(|mark| count.at(mark)), None);
        count.change(5, 0);
        count.settle(count.mark().unwrap(), 7);
        assert_eq!(count.at(count.mark().unwrap()), Some(7));
        // Pairs come on one thread and go on another, never more than one at a time: whoever asks sees seven or eight.
        std::thread::scope(|scope| {
            let (to, from) = std::sync::mpsc::sync_channel(0);
            scope.spawn(move || (0..20_000).for_each(|i| to.send(i).unwrap()));
            let there = std::sync::mpsc::sync_channel::<()>(0);
            scope.spawn({
                let count = &count;
                move || {
                    for _ in from {
                        count.change(1, 0);
                        there.0.send(()).unwrap();
                    }
                }
            });
            let changer = scope.spawn({
                let count = &count;
                move || there.1.into_iter().for_each(|()| count.change(0, 1))
            });
            while !changer.is_finished() {
                let n = count.mark().and_then(|mark| count.at(mark));
                assert!(n.is_none_or(|n| (6..=9).contains(&n)), "{n:?}");
            }
        });
        assert_eq!(count.at(count.mark().unwrap()), Some(7));
    }
}
