//! Removing a range of keys, some leaves at a time: each step is one record.
//!
//! A step looks at the node above the leaf where the range begins. Leaves whose whole range of keys is to go, several in a
//! row, go together: the first of them stays, emptied, and covers for all; the others are freed as they are. What is left
//! of the range within a leaf is cut out of it. Neither logs what is removed. Afterwards the leaf is merged if that can be.

use super::descend::{Seek, rest, sound};
use super::mini::{Beside, LET_GO, Part};
use super::redo::damaged;
use super::value::{Reference, large_among};
use super::{BTree, Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::shrink::{encode_cut, encode_run};
use crate::page::slotted::{SlottedPage, ops, scratch};
use crate::pool::{Interrupt, PageMut, PageView};
use crate::types::{Lsn, PageId};
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD};

/// Leaves freed by one step at most.
const STEP: usize = 64;
/// Attempts at several leaves before a step is content with one.
const ATTEMPTS: usize = 8;

/// How one step of a removal went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RangeStep {
    /// Records removed.
    pub removed: u64,
    /// Where the range goes on; `None`: it is done.
    pub next: Option<Vec<u8>>,
    /// The record's LSN; [`Lsn::NONE`] if nothing was there.
    pub lsn: Lsn,
}

/// Leaves in a row whose keys all go.
struct Run<'p> {
    parent: PageView<'p>,
    leaves: Vec<PageView<'p>>,
    /// The separators between the first and the second of them, and in front of the last.
    first: Vec<u8>,
    last: Vec<u8>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    records: u64,
    /// The large values among them.
    gone: Vec<Reference>,
}

impl BTree {
    /// Removes some of the keys from `low` on and below `high` (`None`: to the end), by one record, atomically: those of
    /// some dozens of leaves, or of one. To be called again with `next` as `low` until that is `None`. Cost: reads what it
    /// removes.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn remove_range_step(&self, low: &[u8], high: Option<&[u8]>) -> Result<RangeStep> {
        let inner = &*self.inner;
        inner.pool.check_poison()?;
        if high.is_some_and(|high| high <= low) {
            return Ok(RangeStep::default());
        }
        let step = match inner.remove_leaves(low, high)? {
            Some(step) => step,
            None => inner.cut_leaf(low, high)?,
        };
        if step.removed > 0 || step.lsn > Lsn::NONE {
            inner.tidy(low, true);
        }
        Ok(step)
    }
}

impl Inner {
    /// Frees a run of leaves; `None` if there is none, or others are in the way.
    fn remove_leaves(&self, low: &[u8], high: Option<&[u8]>) -> Result<Option<RangeStep>> {
        for n in 0..ATTEMPTS {
            let most = (STEP.min(self.pool.capacity_pages() / 8) >> (n / 2)).max(2);
            let fences = 5 * crate::page::slotted::max_key(self.pool.page_size());
            let bytes = RECORD_OVERHEAD + (most + 3) * PART_OVERHEAD + fences + 64 + self.frees_of_a_leaf();
            let mut room = self.reserve(bytes)?;
            match self.try_remove_leaves(low, high, most, &mut room) {
                Ok(step) => return Ok(step),
                Err(Interrupt::Failed(error)) => return Err(error),
                Err(Interrupt::Restart) => {
                    drop(room);
                    rest(n);
                }
            }
        }
        Ok(None)
    }

    fn try_remove_leaves<'l>(
        &'l self,
        low: &[u8],
        high: Option<&[u8]>,
        most: usize,
        room: &mut Option<LogRoom<'l>>,
    ) -> Result<Option<RangeStep>, Interrupt> {
        let Some(run) = self.find_run(low, high, most)? else { return Ok(None) };
        // Down the tree and by try (L5): the views prove that nothing changed.
        let parent = run.parent.try_exclusive()?;
        let mut leaves = Vec::with_capacity(run.leaves.len());
        for leaf in &run.leaves {
            // The large values in it, which were found in this view, go by the same record.
            leaves.push(leaf.try_exclusive()?);
        }
        let (mut payload, mut content) = (Vec::new(), Vec::new());
        encode_run(&run.first, &run.last, &mut payload);
        let id = leaves[0].id();
        SlottedPage::open(leaves[0].reader())
            .and_then(|node| node.encode(0..0, &run.lower, run.upper.as_deref(), &mut content))
            .map_err(|_| damaged(id, "an offset leads outside of the page"))?;
        let mut parts = vec![Part { page: parent, op: ops::REMOVE_RUN, payload: &payload }];
        let mut freed: Vec<PageId> = Vec::with_capacity(leaves.len());
        for (i, page) in leaves.into_iter().enumerate() {
            if i == 0 {
                parts.push(Part { page, op: ops::REBUILD, payload: &content });
            } else {
                freed.push(page.id());
                parts.push(Part { page, op: LET_GO, payload: &[] });
            }
        }
        let beside = Beside { gone: &run.gone, ..Beside::default() };
        let lsn = self.commit_with(room.take(), beside, parts)?;
        freed.into_iter().for_each(|id| self.pool.let_go(id));
        let next = run.upper.filter(|upper| high.is_none_or(|high| upper.as_slice() < high));
        Ok(Some(RangeStep { removed: run.records, next, lsn }))
    }

    /// Two or more leaves under one node, from the one that covers `low` on, with nothing in them that stays.
    fn find_run(&self, low: &[u8], high: Option<&[u8]>, most: usize) -> Result<Option<Run<'_>>, Interrupt> {
        let reached = self.descend(Seek::Key(low), 0)?;
        let Some((parent, from)) = reached.parent else {
            reached.view.validate()?;
            return Ok(None);
        };
        let above = sound(&parent, SlottedPage::open(parent.reader()))?;
        let separator = |i: usize| {
            let mut key = Vec::new();
            sound(&parent, above.key(i, &mut key)).map(|()| key)
        };
        let mut run = Run {
            parent,
            leaves: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
            lower: Vec::new(),
            upper: None,
            records: 0,
            gone: Vec::new(),
        };
        let (mut to, mut bytes) = (from, 0);
        while to <= above.count() && to - from < most {
            // Where the leaf ends: all of it must lie in the range.
            let upper = if to < above.count() { Some(separator(to)?) } else { self.upper_of(&parent, &above)? };
            let within = match (&upper, high) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(upper), Some(high)) => upper.as_slice() <= high,
            };
            if !within {
                break;
            }
            let leaf = self.pool.try_child(&parent, sound(&parent, above.child_at(to))?)?;
            let node = sound(&leaf, SlottedPage::open(leaf.reader()))?;
            // In the first leaf there may be records in front of the range.
            if !node.is_leaf() || to == from && sound(&leaf, node.first_not_below(low))? > 0 {
                break;
            }
            if to == from {
                sound(&leaf, node.lower_fence(&mut run.lower))?;
            }
            let before = run.gone.len();
            bytes += sound(&leaf, large_among(&node, 0..node.count(), &mut run.gone))?;
            if to > from && bytes > self.frees_of_a_leaf() {
                run.gone.truncate(before);
                break;
            }
            run.records += node.count() as u64;
            (run.upper, to) = (upper, to + 1);
            run.leaves.push(leaf);
        }
        parent.validate()?;
        if run.leaves.len() < 2 {
            return Ok(None);
        }
        (run.first, run.last) = (separator(from)?, separator(to - 2)?);
        Ok(Some(run))
    }

    fn upper_of(&self, view: &PageView<'_>, node: &SlottedPage<'_>) -> Result<Option<Vec<u8>>, Interrupt> {
        let mut upper = Vec::new();
        Ok(sound(view, node.upper_fence(&mut upper))?.then_some(upper))
    }

    /// Cuts the range out of the leaf that covers its beginning.
    fn cut_leaf(&self, low: &[u8], high: Option<&[u8]>) -> Result<RangeStep> {
        let bytes = RECORD_OVERHEAD + PART_OVERHEAD + 3 + low.len() + high.map_or(0, <[u8]>::len);
        let mut room = self.reserve(bytes + self.frees_of_a_leaf())?;
        let attempt = || -> Result<RangeStep, Interrupt> {
            let view = self.descend(Seek::Key(low), 0)?.view;
            Ok(self.cut_latched(view.try_exclusive()?, low, high, &mut room)?)
        };
        match self.retry(attempt)? {
            Some(step) => Ok(step),
            None => self.in_lane(0, |lane| {
                let page: PageMut<'_> = self.coupled(lane, Seek::Key(low), 0)?;
                self.cut_latched(page, low, high, &mut room)
            }),
        }
    }

    fn cut_latched<'l>(
        &'l self,
        page: PageMut<'l>,
        low: &[u8],
        high: Option<&[u8]>,
        room: &mut Option<LogRoom<'l>>,
    ) -> Result<RangeStep> {
        let id = page.id();
        let out = |_: OutOfBounds| damaged(id, "an offset leads outside of the page");
        let node = SlottedPage::open(page.reader()).map_err(out)?;
        if !node.covers(low).map_err(out)? {
            return Err(out(OutOfBounds));
        }
        let slots = node.slots_between(low, high).map_err(out)?;
        let mut upper = Vec::new();
        let more = node.upper_fence(&mut upper).map_err(out)? && high.is_none_or(|high| upper.as_slice() < high);
        let mut step = RangeStep { removed: slots.len() as u64, next: more.then_some(upper), lsn: page.lsn() };
        if !slots.is_empty() {
            let mut gone = Vec::new();
            large_among(&node, slots, &mut gone).map_err(out)?;
            scratch::with(|payload| {
                encode_cut(low, high, payload);
                let beside = Beside { gone: &gone, ..Beside::default() };
                step.lsn = self.commit_with(room.take(), beside, vec![Part { page, op: ops::CUT, payload }])?;
                Ok(())
            })?;
        }
        Ok(step)
    }
}
