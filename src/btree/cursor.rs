//! One leaf after the other, copied: what iteration in both directions is made of.

use super::Inner;
use super::descend::{Seek, sound};
use super::leaf_copy::{FEW, Keep, LeafCopy};
use super::redo::damaged;
use crate::error::Result;
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::slotted::{SlottedPage, scratch};
use crate::pool::{Interrupt, PageRef};

/// What of a range is still to be read: from a key on, up to another one or to the end.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(super) low: Vec<u8>,
    pub(super) high: Option<Vec<u8>>,
}

impl Window {
    /// From `low` (inclusive) to `high` (exclusive; `None`: to the end); `None` if there can be nothing.
    pub(crate) fn new(low: Vec<u8>, high: Option<Vec<u8>>) -> Option<Window> {
        let empty = high.as_ref().is_some_and(|high| *high <= low);
        (!empty).then_some(Window { low, high })
    }
}

/// Which end of a window to read from, and at most how many pairs of the leaf there.
#[derive(Clone, Copy)]
pub(super) enum Take {
    Front(usize),
    Back(usize),
}

impl Take {
    /// A cursor's next step, `taken` pairs having been taken: few at first, then leaf by leaf.
    pub(super) fn front(taken: usize) -> Take {
        Take::Front(if taken < FEW { FEW } else { usize::MAX })
    }

    /// As [`Take::front`], from the other end.
    pub(super) fn back(taken: usize) -> Take {
        Take::Back(if taken < FEW { FEW } else { usize::MAX })
    }
}

impl Inner {
    /// Copies the first or last leaf's pairs of `window` into `out` and cuts them off the window; `None` is left when there
    /// are no more. The copy is of one moment.
    pub(super) fn fetch(&self, window: &mut Option<Window>, take: Take, out: &mut LeafCopy) -> Result<()> {
        out.clear();
        let Some(there) = window.as_mut() else { return Ok(()) };
        let more = scratch::with(|fence| {
            let more = match self.retry(|| self.try_fetch(there, take, out, fence))? {
                Some(more) => more,
                None => self.in_lane(0, |lane| {
                    let leaf: PageRef<'_> = self.coupled(lane, seek(there, take), 0)?;
                    let more = copy(leaf.reader(), there, take, out, fence);
                    out.register(self);
                    more.map_err(|_| damaged(leaf.id(), "an offset leads outside of the page"))
                })?,
            };
            if more {
                let end = match take {
                    Take::Front(_) => &mut there.low,
                    Take::Back(_) => there.high.get_or_insert_default(),
                };
                end.clear();
                end.extend_from_slice(fence);
            }
            Ok(more)
        })?;
        if !more || there.high.as_ref().is_some_and(|high| *high <= there.low) {
            *window = None;
        }
        Ok(())
    }

    fn try_fetch(
        &self,
        window: &Window,
        take: Take,
        out: &mut LeafCopy,
        fence: &mut Vec<u8>,
    ) -> Result<bool, Interrupt> {
        let (view, alone) = match seek(window, take) {
            Seek::Key(key) => {
                let (view, _) = self.leaf(key)?;
                (view, view.id() == self.root)
            }
            seek => {
                let reached = self.descend(seek, 0)?;
                (reached.view, reached.parent.is_none())
            }
        };
        let more = sound(&view, copy(view.reader(), window, take, out, fence))?;
        let empty = sound(&view, SlottedPage::open(view.reader()))?.count() == 0;
        out.register(self);
        view.validate()?;
        if empty && !alone && more {
            // A merge that was put off and forgotten; the next removal sees to it.
            self.untidy.put(if let Take::Front(_) = take { &window.low } else { fence });
        }
        Ok(more)
    }
}

fn seek(window: &Window, take: Take) -> Seek<'_> {
    match (take, &window.high) {
        (Take::Front(_), _) => Seek::Key(&window.low),
        (Take::Back(_), Some(high)) => Seek::Before(high),
        (Take::Back(_), None) => Seek::Last,
    }
}

/// Copies what of the window the leaf holds, and leaves in `fence` where the window goes on; false if it does not. The entries
/// and the fences are asked for before anything waits for one of them.
fn copy(
    page: PageReader<'_>,
    window: &Window,
    take: Take,
    out: &mut LeafCopy,
    fence: &mut Vec<u8>,
) -> Result<bool, OutOfBounds> {
    let node = SlottedPage::open(page)?;
    node.prefetch_fences();
    let from = node.first_not_below(&window.low)?;
    let to = match &window.high {
        Some(high) => node.first_not_below(high)?,
        None => node.count(),
    };
    let there = to.saturating_sub(from);
    let slots = match take {
        Take::Front(limit) => from..from + there.min(limit),
        Take::Back(limit) => from + there - there.min(limit)..from + there,
    };
    if out.keep() == Keep::Count {
        out.count_slots(slots.clone());
    } else {
        out.pack(&node, slots.clone())?;
    }
    // A leaf elsewhere, by a damaged reference, would lead the cursor in circles.
    if !node.is_leaf() || !is_sought(&node, window, take)? {
        return Err(OutOfBounds);
    }
    fence.clear();
    match take {
        Take::Front(_) if slots.len() < there => {
            // The key right behind the last one taken.
            out.last_key(fence);
            fence.push(0);
            Ok(true)
        }
        Take::Front(_) => {
            let more = node.upper_fence(fence)?;
            // On a damaged page, for ever.
            if more && *fence <= window.low { Err(OutOfBounds) } else { Ok(more) }
        }
        Take::Back(_) if slots.len() < there => {
            out.first_key(fence);
            Ok(true)
        }
        Take::Back(_) => {
            node.lower_fence(fence)?;
            if window.high.as_ref().is_some_and(|high| *fence >= *high) {
                return Err(OutOfBounds);
            }
            Ok(!fence.is_empty())
        }
    }
}

/// Whether the leaf is the one that holds this end of the window.
fn is_sought(node: &SlottedPage<'_>, window: &Window, take: Take) -> Result<bool, OutOfBounds> {
    match (take, &window.high) {
        (Take::Front(_), _) => node.covers(&window.low),
        (Take::Back(_), Some(high)) => node.reaches(high),
        (Take::Back(_), None) => node.is_last(),
    }
}
