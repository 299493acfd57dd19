//! Making room: splits, each one record (B3).

use super::descend::{Seek, sound};
use super::mini::Part;
use super::redo::damaged;
use super::{Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{Content, SlottedPage, ops, scratch};
use crate::pool::{Interrupt, NewPage, PageMut};
use crate::types::{PageId, SizeClass};

/// What a node has to get room for.
#[derive(Clone, Copy)]
enum Need<'n> {
    /// In a leaf: a record of the key and a value of this length.
    Record(&'n [u8], usize),
    /// In a leaf: nothing in particular, but a boundary at this separator, which lies at or before the key.
    Boundary(&'n [u8], &'n [u8]),
    /// In a leaf with two records or more: half of them gone, whatever fits.
    Halves(&'n [u8], usize),
    /// In an inner node: this separator.
    Separator(&'n [u8]),
}

enum Step {
    /// Split.
    Done,
    /// Not necessary, or not possible.
    Met,
    /// The parent has no room for the separator left in the buffer.
    ParentFull,
}

/// Latched for a split: the node, and its parent unless it is the root; and what was reserved for it before.
struct Target<'p> {
    parent: Option<PageMut<'p>>,
    page: PageMut<'p>,
    /// One new page, or two for a root.
    new: Vec<NewPage<'p>>,
}

impl<'n> Need<'n> {
    fn key(&self) -> &'n [u8] {
        match self {
            Need::Record(key, _) | Need::Halves(key, _) | Need::Boundary(key, _) | Need::Separator(key) => key,
        }
    }

    fn is_met(&self, node: &SlottedPage<'_>) -> Result<bool, OutOfBounds> {
        match *self {
            Need::Record(key, value_len) => {
                let found = match node.search(key)? {
                    crate::page::slotted::Search::Found(slot) => Some(slot),
                    crate::page::slotted::Search::Insert(_) => None,
                };
                node.fits_record(found, key.len(), value_len)
            }
            Need::Boundary(_, at) => Ok(node.split_leaf_at(at)?.is_none()),
            Need::Halves(..) => Ok(node.count() < 2),
            Need::Separator(separator) => node.fits_separator(separator.len()),
        }
    }

    /// Where to cut: the first slot of the right half, and in `separator` what parts the halves.
    fn choose(&self, node: &SlottedPage<'_>, separator: &mut Vec<u8>) -> Result<usize, OutOfBounds> {
        match *self {
            Need::Record(key, value_len) | Need::Halves(key, value_len) => {
                Ok(node.choose_leaf_split(key, value_len, node.search(key)?, separator)?.slot)
            }
            Need::Boundary(_, at) => {
                separator.extend_from_slice(at);
                Ok(node.split_leaf_at(at)?.ok_or(OutOfBounds)?.slot)
            }
            Need::Separator(new) => Ok(node.choose_inner_split(new, separator)?.slot + 1),
        }
    }
}

impl Inner {
    /// Makes room for a record in the leaf that covers `key`: at an operation's first attempt it may move others to a neighbour
    /// (B4), else it splits what is in the way. On return there was room at some moment; others may have taken it, so the
    /// caller tries again.
    pub(super) fn make_room(&self, key: &[u8], value_len: usize, first: bool) -> Result<()> {
        if first && self.shift(key, value_len)? {
            return Ok(());
        }
        self.split_up(Need::Record(key, value_len)).map(|_| ())
    }

    /// For a batch: splits the leaf that covers `key` at `separator`, or, where that gives no two legal pages, wherever it
    /// does, as for a record of `key` and `value_len` bytes.
    pub(super) fn make_boundary(&self, key: &[u8], separator: &[u8], value_len: usize) -> Result<()> {
        if !self.split_up(Need::Boundary(key, separator))? {
            self.split_up(Need::Halves(key, value_len))?;
        }
        Ok(())
    }

    /// Splits the leaf, or the lowest of its ancestors that has to be split first. False if nothing was split.
    fn split_up(&self, need: Need<'_>) -> Result<bool> {
        let mut separator = Vec::new();
        match self.split_level(0, need.key(), need, &mut separator)? {
            Step::Done => return Ok(true),
            Step::Met => return Ok(false),
            Step::ParentFull => {}
        }
        for level in 1..=u8::MAX {
            let wanted = std::mem::take(&mut separator);
            match self.split_level(level, need.key(), Need::Separator(&wanted), &mut separator)? {
                Step::Done | Step::Met => return Ok(true),
                Step::ParentFull => {}
            }
        }
        Err(damaged(self.root, "more levels than any tree has"))
    }

    /// Splits the node of `level` over `key`. If its parent is full, `separator` is what that one needs room for.
    fn split_level(&self, level: u8, key: &[u8], need: Need<'_>, separator: &mut Vec<u8>) -> Result<Step> {
        let mut room = self.reserve(self.structure_bytes())?;
        match self.retry(|| self.try_split(level, key, need, &mut room, separator))? {
            Some(step) => Ok(step),
            None => self.split_in_lane(level, key, need, &mut room, separator),
        }
    }

    /// Places and frames for new pages. Held over no wait for a frame but this one, and given back at every restart.
    fn new_pages(&self, n: usize) -> Result<Vec<NewPage<'_>>> {
        (0..n).map(|_| self.pool.reserve(SizeClass::ZERO)).collect()
    }

    fn try_split<'l>(
        &'l self,
        level: u8,
        key: &[u8],
        need: Need<'_>,
        room: &mut Option<LogRoom<'l>>,
        separator: &mut Vec<u8>,
    ) -> Result<Step, Interrupt> {
        let reached = self.descend(Seek::Key(key), level)?;
        let view = reached.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        if node.level() != level || sound(&view, need.is_met(&node))? {
            view.validate()?;
            return Ok(Step::Met);
        }
        let new = self.new_pages(if reached.parent.is_some() { 1 } else { 2 })?;
        // Down the tree, by try (L5).
        let parent = reached.parent.map(|(parent, _)| parent.try_exclusive()).transpose()?;
        let page = view.try_exclusive()?;
        Ok(self.split_latched(Target { parent, page, new }, need, room, separator)?)
    }

    fn split_in_lane<'l>(
        &'l self,
        level: u8,
        key: &[u8],
        need: Need<'_>,
        room: &mut Option<LogRoom<'l>>,
        separator: &mut Vec<u8>,
    ) -> Result<Step> {
        self.in_lane(0, |lane| {
            let mut new = self.new_pages(2)?;
            let top: PageMut<'_> = self.coupled(lane, Seek::Key(key), level + 1)?;
            let out = |_: OutOfBounds| damaged(top.id(), "an offset leads outside of the page");
            let node = SlottedPage::open(top.reader()).map_err(out)?;
            let target = if node.level() == level + 1 {
                let child = node.child_for(key).and_then(|i| node.child(i)).map_err(out)?;
                let page = lane.exclusive(child, SizeClass::ZERO)?;
                new.truncate(1);
                Target { parent: Some(top), page, new }
            } else {
                Target { parent: None, page: top, new }
            };
            let id = target.page.id();
            let out = |_: OutOfBounds| damaged(id, "an offset leads outside of the page");
            let node = SlottedPage::open(target.page.reader()).map_err(out)?;
            if node.level() != level || need.is_met(&node).map_err(out)? {
                return Ok(Step::Met);
            }
            self.split_latched(target, need, room, separator)
        })
    }

    fn split_latched<'l>(
        &'l self,
        target: Target<'l>,
        need: Need<'_>,
        room: &mut Option<LogRoom<'l>>,
        separator: &mut Vec<u8>,
    ) -> Result<Step> {
        let id = target.page.id();
        let out = |_: OutOfBounds| damaged(id, "a node that cannot be split");
        separator.clear();
        let node = SlottedPage::open(target.page.reader()).map_err(out)?;
        let slot = need.choose(&node, separator).map_err(out)?;
        if let Some(parent) = &target.parent {
            let above = SlottedPage::open(parent.reader()).map_err(out)?;
            if !above.fits_separator(separator.len()).map_err(out)? {
                return Ok(Step::ParentFull);
            }
        }
        let (mut left, mut right) = (Vec::new(), Vec::new());
        // The separator of an inner node moves up; a leaf's is made, and all slots in front of it stay.
        let kept = if node.is_leaf() { slot } else { slot - 1 };
        if target.parent.is_some() {
            // The part with fewer slots moves to the new page, and only that is logged.
            let left_moves = kept < node.count() / 4;
            if left_moves {
                node.encode_left(kept, separator, &mut left).map_err(out)?;
            } else {
                node.encode_right(slot, separator, &mut right).map_err(out)?;
            }
            return self.split_below(target, separator, if left_moves { Err(&left) } else { Ok(&right) }, room);
        }
        node.encode_right(slot, separator, &mut right).map_err(out)?;
        node.encode_left(kept, separator, &mut left).map_err(out)?;
        self.grow_root(target, separator, [&left, &right], room)
    }

    /// A split that a new page takes the right (`Ok`) or the left half of.
    fn split_below<'l>(
        &'l self,
        target: Target<'l>,
        separator: &[u8],
        moved: Result<&[u8], &[u8]>,
        room: &mut Option<LogRoom<'l>>,
    ) -> Result<Step> {
        let (Some(parent), Ok([new])) = (target.parent, <[_; 1]>::try_from(target.new)) else {
            unreachable!("one page is reserved for a split below the root")
        };
        scratch::with(|up| {
            ops::encode_separator(separator, new.id(), up);
            let (above, cut, content) = match moved {
                Ok(right) => (ops::INSERT_SEPARATOR, ops::TRUNCATE, right),
                Err(left) => (ops::INSERT_LEFT, ops::RAISE, left),
            };
            let parts = vec![
                Part { page: parent, op: above, payload: up },
                Part { page: target.page, op: cut, payload: separator },
                Part { page: new.into_unwritten(), op: ops::INIT, payload: content },
            ];
            self.commit(room.take(), parts)?;
            Ok(Step::Done)
        })
    }

    /// The root's content moves down into two new pages; the root stays where it is (B1).
    fn grow_root<'l>(
        &'l self,
        target: Target<'l>,
        separator: &[u8],
        [left, right]: [&[u8]; 2],
        room: &mut Option<LogRoom<'l>>,
    ) -> Result<Step> {
        let Ok([first, second]) = <[_; 2]>::try_from(target.new) else {
            unreachable!("two pages are reserved for a root that grows")
        };
        let level = SlottedPage::open(target.page.reader()).map_or(0, |node| node.level());
        let children: [PageId; 2] = [first.id(), second.id()];
        scratch::with(|root| {
            Content::encode_root(self.tree, level + 1, separator, children, root);
            let parts = vec![
                Part { page: target.page, op: ops::REBUILD, payload: root },
                Part { page: first.into_unwritten(), op: ops::INIT, payload: left },
                Part { page: second.into_unwritten(), op: ops::INIT, payload: right },
            ];
            self.commit(room.take(), parts)?;
            Ok(Step::Done)
        })
    }
}
