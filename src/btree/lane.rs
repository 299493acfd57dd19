//! The slow lane: shared latches coupled down the path, one operation at a time. Nobody can make it restart.

use super::Inner;
use super::descend::Seek;
use super::redo::damaged;
use crate::error::{Error, Result};
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::slotted::SlottedPage;
use crate::pool::{PageMut, PageRef, SlowLane};
use crate::types::{PageId, SizeClass};

/// Levels a descent may pass: far beyond what 2^34 pages need.
const MAX_LEVELS: usize = 64;
/// How often the lane is taken anew when pages left memory faster than its frames could bring them.
const TURNS: usize = 16;

/// A page latched in the lane: as the caller wanted it.
pub(super) trait Latched<'p>: Sized {
    fn latch(lane: &mut SlowLane<'p>, id: PageId) -> Result<Self>;
    fn page(&self) -> PageReader<'_>;
    fn node(&self) -> Result<SlottedPage<'_>, OutOfBounds> {
        SlottedPage::open(self.page())
    }
}

impl<'p> Latched<'p> for PageRef<'p> {
    fn latch(lane: &mut SlowLane<'p>, id: PageId) -> Result<Self> {
        lane.shared(id, SizeClass::ZERO)
    }

    fn page(&self) -> PageReader<'_> {
        self.reader()
    }
}

impl<'p> Latched<'p> for PageMut<'p> {
    fn latch(lane: &mut SlowLane<'p>, id: PageId) -> Result<Self> {
        lane.exclusive(id, SizeClass::ZERO)
    }

    fn page(&self) -> PageReader<'_> {
        self.reader()
    }
}

/// The slow lane and what its user wants in it.
impl Inner {
    /// Runs `f` in the slow lane with `extra` frames beside those a path needs. The lane is taken again if its frames were
    /// used up: what was loaded by then is in memory, so the next turn needs fewer.
    pub(super) fn in_lane<'p, T>(
        &'p self,
        extra: usize,
        mut f: impl FnMut(&mut SlowLane<'p>) -> Result<T>,
    ) -> Result<T> {
        let mut turn = 0;
        loop {
            let frames = (self.height()? + 2 + extra).min((self.pool.capacity_pages() / 2).max(4));
            let mut lane = self.pool.slow_lane(frames)?;
            match f(&mut lane) {
                Err(Error::PoolExhausted { waited }) if waited.is_zero() && turn < TURNS => turn += 1,
                result => return result,
            }
        }
    }

    /// Levels above the leaves, read from the root.
    fn height(&self) -> Result<usize> {
        let root = self.pool.shared(self.root, SizeClass::ZERO)?;
        let level = root.reader().u8(crate::page::slotted::LEVEL).unwrap_or(0);
        Ok(usize::from(level).min(MAX_LEVELS))
    }

    /// The node of `level` on the way of `seek` (the root, if that is lower), latched as `P` is. Its parent's latch is
    /// held until then, so it is the right one.
    pub(super) fn coupled<'p, P: Latched<'p>>(
        &'p self,
        lane: &mut SlowLane<'p>,
        seek: Seek<'_>,
        level: u8,
    ) -> Result<P> {
        let mut above = PageRef::latch(lane, self.root)?;
        if !self.is_own(above.reader()) {
            return Err(self.gone());
        }
        let out = |id: PageId| move |_: OutOfBounds| damaged(id, "an offset leads outside of the page");
        for _ in 0..MAX_LEVELS {
            let id = above.id();
            let node = above.node().map_err(out(id))?;
            if node.level() <= level {
                // The root itself: its level may change while it is latched anew, so look again.
                drop(above);
                let page = P::latch(lane, id)?;
                // Nor need it be this tree's any more.
                if !self.is_own(page.page()) {
                    return Err(self.gone());
                }
                if page.node().map_err(out(id))?.level() <= level {
                    return Ok(page);
                }
                drop(page);
                above = PageRef::latch(lane, self.root)?;
                continue;
            }
            let index = seek.child(&node).map_err(out(id))?;
            let child = node.child(index).map_err(out(id))?;
            if node.level() == level + 1 {
                return P::latch(lane, child);
            }
            above = PageRef::latch(lane, child)?;
        }
        Err(damaged(self.root, "more levels than any tree has"))
    }
}
