//! Counting: all leaves under one inner node at a time.
//!
//! A leaf's count lies in its first cache line, and where the leaves are, its parent knows: so the lines are asked for some
//! leaves ahead, and what a count takes is a line's worth of memory a leaf, where going down to each leaf took four waits.
//! A pair moves from leaf to leaf only with a change to their parent, if it is one parent's; so what was counted below a
//! parent that has not changed meanwhile is each pair that was there all along, once.

use super::cursor::{Take, Window};
use super::descend::{Seek, sound, wrong_level};
use super::leaf_copy::{Keep, Kept};
use super::{BTree, Inner};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::SlottedPage;
use crate::pool::Interrupt;

/// So many leaves ahead of the one that is counted are asked for.
const AHEAD: usize = 12;
/// How often the leaves of a parent are counted anew because it changed, before one of them is counted alone.
const ATTEMPTS: usize = 4;

impl BTree {
    /// Counts the pairs: each that is there all along once, and none that never is; exact when nothing writes meanwhile. Cost:
    /// reads the first cache line of every leaf, some 100 ns each in a tree larger than the processor's caches.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn len(&self) -> Result<u64> {
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
    /// Counts the pairs from `low` up to the end of the node above the leaves that covers it, which is left in `fence`; whether
    /// there are more behind it. `None` if it changed again and again.
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
        let behind =
            |leaf: &SlottedPage<'_>| Ok::<_, OutOfBounds>(leaf.count() - leaf.first_not_below(low)?.min(leaf.count()));
        let mut n = 0;
        if node.is_leaf() {
            n = sound(&view, behind(&node))?;
        } else {
            let first = sound(&view, node.child_for(low))?;
            for i in first..=node.count() {
                if i + AHEAD <= node.count() {
                    self.pool.ahead(&view, sound(&view, node.child_at(i + AHEAD))?).prefetch(1);
                }
                let child = self.pool.try_child(&view, sound(&view, node.child_at(i))?)?;
                let leaf = sound(&child, SlottedPage::open(child.reader()))?;
                if !leaf.is_leaf() {
                    return Err(wrong_level(&child));
                }
                n += if i == first { sound(&child, behind(&leaf))? } else { leaf.count() };
                child.validate()?;
            }
        }
        fence.clear();
        let more = sound(
            &view,
            node.covers(low).and_then(|covers| if covers { node.upper_fence(fence) } else { Err(OutOfBounds) }),
        )?;
        view.validate()?;
        Ok((n as u64, more))
    }
}
