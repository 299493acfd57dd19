//! Counting where nobody has kept count ([`super::count`]): the leaves under one inner node together, some dozens at a time.
//!
//! A leaf's count lies in its first cache line, and where the leaves are, their parent knows: so the lines are asked for some
//! leaves ahead, and what a count takes is a line's worth of memory a leaf, where going down to each leaf took four waits.
//! A pair moves from leaf to leaf only with a change to their parent, if it is one parent's; so what was counted below a
//! parent that has not changed meanwhile is each pair that was there all along, once.
//!
//! The parent must stay in memory meanwhile. So no more leaves are counted together than can be read without driving it out,
//! however many it has.

use super::count::Mark;
use super::cursor::{Take, Window};
use super::descend::{Seek, sound, wrong_level};
use super::leaf_copy::{Keep, Kept};
use super::{BTree, Inner};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::SlottedPage;
use crate::pool::{Interrupt, PageView};
use crate::sync::Ordering;

/// So many leaves ahead of the one that is counted are asked for.
const AHEAD: usize = 12;
/// Leaves that are counted together at most; of the pool's frames they are an eighth at most.
const TOGETHER: usize = 64;
/// How often the leaves of a parent are counted anew because it changed, before one of them is counted alone.
const ATTEMPTS: usize = 4;

impl BTree {
    /// Counts the pairs: each that is there all along once, and none that never is; exact when nothing writes meanwhile. Cost:
    /// reads the first cache line of every leaf, some 100 ns each in a tree larger than the processor's caches. A tree of a
    /// store does so once, and then knows ([`Tree::len`](crate::Tree::len)).
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn len(&self) -> Result<u64> {
        let before = self.counted_len()?;
        if let Some((_, Some(n))) = before {
            return Ok(n);
        }
        let n = self.count_all()?;
        if let (Some(count), Some((mark, _))) = (&self.inner.count, before)
            && count.mark() == Some(mark)
        {
            count.settle(mark, n);
        }
        Ok(n)
    }

    /// How many pairs were counted as they came and went, and the moment of which that is said.
    pub(crate) fn counted_len(&self) -> Result<Option<(Mark, Option<u64>)>> {
        self.inner.pool.check_poison()?;
        // Relaxed: who drops it waits for nobody. Leaf by leaf it shows what has become of it.
        let count = self.inner.count.as_ref().filter(|_| !self.inner.dropped.load(Ordering::Relaxed));
        Ok(count.and_then(|count| count.mark().map(|mark| (mark, count.at(mark)))))
    }

    fn count_all(&self) -> Result<u64> {
        let (mut window, mut copy, mut fence, mut n) =
            (Window::new(Vec::new(), None), Kept::new(Keep::Count), Vec::new(), 0);
        while let Some(there) = &mut window {
            match self.inner.count_from(&there.low, &mut fence)? {
                Some((count, more)) => {
                    n += count;
                    std::mem::swap(&mut there.low, &mut fence);
                    if !more {
                        window = None;
                    }
                }
                None => {
                    self.inner.fetch(&mut window, Take::Front(usize::MAX), &mut copy)?;
                    n += copy.len() as u64;
                }
            }
        }
        Ok(n)
    }
}

impl Inner {
    /// Counts the pairs from `low` up to the key that is left in `fence`, in some leaves of one parent; whether there are more
    /// behind them. `None` if the parent changed again and again.
    fn count_from(&self, low: &[u8], fence: &mut Vec<u8>) -> Result<Option<(u64, bool)>> {
        for _ in 0..ATTEMPTS {
            match self.try_count_from(low, fence) {
                Ok(counted) => return Ok(Some(counted)),
                Err(Interrupt::Restart) => {}
                Err(Interrupt::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    fn try_count_from(&self, low: &[u8], fence: &mut Vec<u8>) -> Result<(u64, bool), Interrupt> {
        // The root, if that is a leaf.
        let view = self.descend(Seek::Key(low), 1)?.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        if !sound(&view, node.covers(low))? {
            return sound(&view, Err(OutOfBounds));
        }
        let (mut n, mut next) = (0, node.count());
        if node.is_leaf() {
            n = sound(&view, count_behind(&node, low))?;
        } else {
            view.prefer();
            let first = sound(&view, node.child_for(low))?;
            let together = TOGETHER.min(self.pool.capacity_pages() / 8).max(1);
            next = node.count().min(first + together - 1);
            for i in first..=next {
                if i + AHEAD <= next {
                    self.pool.ahead(&view, sound(&view, node.child_at(i + AHEAD))?).prefetch(1);
                }
                n += self.count_child(&view, sound(&view, node.child_at(i))?, (i == first).then_some(low))?;
            }
        }
        fence.clear();
        // Up to the separator behind the last one counted, or to the end of them all.
        let more = if next < node.count() {
            sound(&view, node.key(next, fence))?;
            true
        } else {
            sound(&view, node.upper_fence(fence))?
        };
        if more && fence.as_slice() <= low {
            // On a damaged page, for ever.
            return sound(&view, Err(OutOfBounds));
        }
        view.validate()?;
        Ok((n as u64, more))
    }

    /// Counts the pairs of the leaf that the reference at byte `at` leads to, all or from a key on.
    fn count_child(&self, parent: &PageView<'_>, at: usize, from: Option<&[u8]>) -> Result<usize, Interrupt> {
        let child = match self.pool.try_resident_child(parent, at)? {
            Some(child) => child,
            None => self.pool.try_child(parent, at)?,
        };
        let leaf = sound(&child, SlottedPage::open(child.reader()))?;
        if !leaf.is_leaf() || !self.is_own(child.reader()) {
            return Err(wrong_level(&child));
        }
        let n = from.map_or(Ok(leaf.count()), |low| count_behind(&leaf, low));
        let n = sound(&child, n)?;
        child.validate()?;
        Ok(n)
    }
}

/// How many of a leaf's pairs are not below `low`.
fn count_behind(leaf: &SlottedPage<'_>, low: &[u8]) -> Result<usize, OutOfBounds> {
    Ok(leaf.count() - leaf.first_not_below(low)?.min(leaf.count()))
}
