//! One leaf's worth of pairs, copied: what iteration in both directions is made of.

use super::Inner;
use super::descend::{Seek, sound};
use super::redo::damaged;
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{SlottedPage, scratch};
use crate::pool::{Interrupt, PageRef};

/// Pairs copied out of one leaf, taken from either end.
#[derive(Debug, Default)]
pub(super) struct LeafCopy {
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Items before this one are taken.
    front: usize,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    at: usize,
    key_len: usize,
    value_len: usize,
}

/// What of a range is still to be read: from a key on, up to another one or to the end.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) low: Vec<u8>,
    pub(super) high: Option<Vec<u8>>,
}

impl Window {
    pub(super) fn new(low: &[u8], high: Option<&[u8]>) -> Option<Window> {
        let empty = high.is_some_and(|high| high <= low);
        (!empty).then(|| Window { low: low.to_vec(), high: high.map(<[u8]>::to_vec) })
    }
}

impl LeafCopy {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.front = 0;
    }

    pub(super) fn pop_front(&mut self) -> Option<(&[u8], &[u8])> {
        let item = *self.items.get(self.front)?;
        self.front += 1;
        Some(self.pair(item))
    }

    pub(super) fn pop_back(&mut self) -> Option<(&[u8], &[u8])> {
        if self.front >= self.items.len() {
            return None;
        }
        let item = self.items.pop()?;
        Some(self.pair(item))
    }

    fn pair(&self, item: Item) -> (&[u8], &[u8]) {
        let (key, value) = self.bytes[item.at..item.at + item.key_len + item.value_len].split_at(item.key_len);
        (key, value)
    }

    /// Copies the pairs in slots `from..to`. On a torn page it may fail, or copy nonsense of bounded size.
    fn copy(&mut self, node: &SlottedPage<'_>, from: usize, to: usize) -> Result<(), OutOfBounds> {
        // A sound page cannot hold more; a torn one could claim to.
        let mut left = node.page_size();
        for i in from..to {
            let (at, start) = (self.bytes.len(), node.prefix_len());
            node.key(i, &mut self.bytes)?;
            let key_len = self.bytes.len() - at;
            node.value(i, &mut self.bytes)?;
            let value_len = self.bytes.len() - at - key_len;
            left = left.checked_sub(key_len.saturating_sub(start) + value_len).ok_or(OutOfBounds)?;
            self.items.push(Item { at, key_len, value_len });
        }
        Ok(())
    }
}

/// Which end of a window to read from, and at most how many pairs.
#[derive(Clone, Copy)]
pub(super) enum Take {
    Front(usize),
    Back(usize),
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
                    let more = SlottedPage::open(leaf.reader()).and_then(|node| copy(&node, there, take, out, fence));
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
        let reached = self.descend(seek(window, take), 0)?;
        let view = reached.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        // Count and prefix are known to be true before they bound the copying.
        view.validate()?;
        let more = sound(&view, copy(&node, window, take, out, fence))?;
        view.validate()?;
        if node.count() == 0 && reached.parent.is_some() && more {
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

/// Copies what of the window the leaf holds, and leaves in `fence` where the window goes on; false if it does not.
fn copy(
    node: &SlottedPage<'_>,
    window: &Window,
    take: Take,
    out: &mut LeafCopy,
    fence: &mut Vec<u8>,
) -> Result<bool, OutOfBounds> {
    out.clear();
    fence.clear();
    // A leaf elsewhere, by a damaged reference, would lead the cursor in circles.
    if !is_sought(node, window, take)? {
        return Err(OutOfBounds);
    }
    let from = node.first_not_below(&window.low)?;
    let to = match &window.high {
        Some(high) => node.first_not_below(high)?,
        None => node.count(),
    };
    let there = to.saturating_sub(from);
    match take {
        Take::Front(limit) if there > limit => {
            out.copy(node, from, from + limit)?;
            // The key right behind the last one copied.
            node.key(from + limit - 1, fence)?;
            fence.push(0);
            Ok(true)
        }
        Take::Front(_) => {
            out.copy(node, from, to.max(from))?;
            node.upper_fence(fence)
        }
        Take::Back(limit) if there > limit => {
            out.copy(node, to - limit, to)?;
            node.key(to - limit, fence)?;
            Ok(true)
        }
        Take::Back(_) => {
            out.copy(node, from, to.max(from))?;
            node.lower_fence(fence)?;
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
