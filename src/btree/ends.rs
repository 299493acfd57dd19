//! The two ends of a tree: reading and taking the first or the last pair, in one step.
//!
//! A leaf at an end may be empty, for a while. Whoever passes empty leaves keeps their views and validates all of them once
//! the pair is in hand (under its leaf's latch, if it is to be taken): then there was a moment at which nothing lay before it.
//!
//! A large value is read before its pair is taken, under no latch; the pair is then taken if the leaf still holds that very
//! reference.

use super::descend::{Seek, sound};
use super::redo::damaged;
use super::value::{self, Known, LARGE, Reference};
use super::write::{Changed, Edit, Outcome};
use super::{BTree, Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::header;
use crate::page::slotted::{Search, SlottedPage, max_key};
use crate::pool::{Interrupt, PageMut, PageView, Reader};
use crate::types::Lsn;

/// Which end.
#[derive(Clone, Copy)]
pub(super) enum End {
    First,
    Last,
}

/// What was read of the pair at an end.
pub(super) enum EndRead {
    /// The tree is empty.
    Empty,
    /// Key and value.
    Inline,
    /// The key, and in place of the value the reference to it, good as long as the reader is registered (V3).
    Large(Reader),
}

/// How an attempt to take the pair at an end went.
enum Step {
    Done(Outcome),
    /// In the lane: an empty leaf lies at that end, and is not the only one.
    Empty,
    /// Its large value has to be read first.
    Learn(Box<Reference>, Reader),
}

/// The leaf with the pair at an end, and the pair's slot (`None`: the tree is empty, this is its last leaf looked at).
struct Found<'p> {
    view: PageView<'p>,
    slot: Option<usize>,
    /// The slot's flags.
    flags: u8,
    /// The empty leaves before it.
    passed: Vec<PageView<'p>>,
}

impl Found<'_> {
    /// Whether all passed leaves are as they were: together with the pair's own, a moment of the tree.
    fn validate_passed(&self) -> Result<(), Interrupt> {
        self.passed.iter().try_for_each(|view| Ok(view.validate()?))
    }
}

impl BTree {
    /// Removes the pair with the least key, in one step; `key` and `value` become that pair. [`Changed::existed`] is false
    /// if the tree was empty. Cost: as [`BTree::remove`], more if leaves at that end are empty.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn pop_first(&self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Changed> {
        self.inner.pop(End::First, key, value)
    }

    /// Like [`BTree::pop_first`], for the greatest key.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn pop_last(&self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Changed> {
        self.inner.pop(End::Last, key, value)
    }
}

fn slot_at(node: &SlottedPage<'_>, end: End) -> Option<usize> {
    match end {
        End::First => (node.count() > 0).then_some(0),
        End::Last => node.count().checked_sub(1),
    }
}

impl Inner {
    /// Copies the pair at an end; `Ok(None)` if it could not be had in a bounded number of restarts.
    pub(super) fn read_end(&self, end: End, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Option<EndRead>> {
        self.retry(|| {
            let found = self.find_end(end, key, value)?;
            let read = match found.slot {
                None => EndRead::Empty,
                // Registered before the leaf is validated (V3).
                Some(_) if found.flags & LARGE != 0 => EndRead::Large(self.reader()),
                Some(_) => EndRead::Inline,
            };
            found.view.validate()?;
            found.validate_passed()?;
            Ok(read)
        })
    }

    /// Goes down to the pair at an end and copies it. Nothing counts before the views are validated.
    fn find_end(&self, end: End, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Found<'_>, Interrupt> {
        let mut passed: Vec<PageView<'_>> = Vec::new();
        let mut fence = Vec::new();
        loop {
            let seek = match end {
                End::First => Seek::Key(&fence),
                End::Last if passed.is_empty() => Seek::Last,
                End::Last => Seek::Before(&fence),
            };
            let view = self.descend(seek, 0)?.view;
            let node = sound(&view, SlottedPage::open(view.reader()))?;
            let sought = match end {
                End::First => node.covers(&fence),
                End::Last if passed.is_empty() => node.is_last(),
                End::Last => node.reaches(&fence),
            };
            if !sound(&view, sought)? {
                view.validate()?;
                return Err(Interrupt::Failed(damaged(view.id(), "a leaf where another belongs")));
            }
            key.clear();
            value.clear();
            let slot = slot_at(&node, end);
            if let Some(slot) = slot {
                let flags = sound(&view, node.key(slot, key).and_then(|()| node.value_and_flags(slot, value)))?;
                return Ok(Found { view, slot: Some(slot), flags, passed });
            }
            fence.clear();
            let more = match end {
                End::First => sound(&view, node.upper_fence(&mut fence))?,
                End::Last => {
                    sound(&view, node.lower_fence(&mut fence))?;
                    !fence.is_empty()
                }
            };
            view.validate()?;
            if !more {
                return Ok(Found { view, slot: None, flags: 0, passed });
            }
            passed.push(view);
        }
    }

    fn pop(&self, end: End, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Changed> {
        self.pool.check_poison()?;
        let mut known: Option<Known> = None;
        // The attempts have a buffer of their own: once a large value was read, it stays where it is.
        let mut inline = Vec::new();
        loop {
            let spare = known.as_ref().map_or(0, |known| value::free_bytes(&known.reference));
            let bytes = Edit::removal(&[], spare).record_bytes() + max_key(self.pool.page_size());
            let mut room = self.reserve(bytes)?;
            let step = match self.retry(|| self.try_pop(end, &mut room, key, &mut inline, known.as_ref()))? {
                Some(step) => step,
                None => self.pop_in_lane(end, &mut room, key, &mut inline, known.as_ref())?,
            };
            // Given back before a merge takes its own, and before the disk is waited for.
            drop(room);
            match step {
                // `key` is in an empty leaf at that end: out of the way with it.
                Step::Empty => self.tidy(key, true),
                Step::Learn(there, reader) => known = Some(self.learn(*there, reader, None, Some(value))?),
                Step::Done(outcome) => {
                    match &outcome.gone {
                        Some(gone) => self.forget_value(gone),
                        None => std::mem::swap(value, &mut inline),
                    }
                    if outcome.existed {
                        self.tidy(key, outcome.sparse);
                    }
                    return Ok(Changed { existed: outcome.existed, lsn: outcome.lsn });
                }
            }
        }
    }

    fn try_pop<'l>(
        &'l self,
        end: End,
        room: &mut Option<LogRoom<'l>>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
        known: Option<&Known>,
    ) -> Result<Step, Interrupt> {
        let found = self.find_end(end, key, value)?;
        let Some(slot) = found.slot else {
            let lsn = sound(&found.view, found.view.reader().u64(header::LSN).map(Lsn::new))?;
            found.view.validate()?;
            found.validate_passed()?;
            return Ok(Step::Done(nothing(lsn)));
        };
        let mut gone = None;
        if found.flags & LARGE != 0 {
            let reader = self.reader();
            let node = sound(&found.view, SlottedPage::open(found.view.reader()))?;
            let there = sound(&found.view, value::large_in(&node, slot))?;
            // Registered before the leaf is validated (V3).
            found.view.validate()?;
            found.validate_passed()?;
            match there {
                Some(there) if known.is_none_or(|known| known.reference != *there) => {
                    return Ok(Step::Learn(there, reader));
                }
                there => gone = there,
            }
        }
        // Fails if the leaf changed since the pair was read; the passed ones did not either, if they are sound by then.
        let page = found.view.try_exclusive()?;
        found.validate_passed()?;
        Ok(Step::Done(self.carry_out(Edit::removal(key, 0), Search::Found(slot), gone, page, room)?))
    }

    /// Where nobody can make it restart.
    fn pop_in_lane<'l>(
        &'l self,
        end: End,
        room: &mut Option<LogRoom<'l>>,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
        known: Option<&Known>,
    ) -> Result<Step> {
        self.in_lane(0, |lane| {
            let seek = match end {
                End::First => Seek::Key(&[]),
                End::Last => Seek::Last,
            };
            let page: PageMut<'_> = self.coupled(lane, seek, 0)?;
            let id = page.id();
            let out = |_: OutOfBounds| damaged(id, "an offset leads outside of the page");
            let node = SlottedPage::open(page.reader()).map_err(out)?;
            key.clear();
            value.clear();
            let Some(slot) = slot_at(&node, end) else {
                node.lower_fence(key).map_err(out)?;
                let only = key.is_empty() && node.is_last().map_err(out)?;
                return Ok(if only { Step::Done(nothing(page.lsn())) } else { Step::Empty });
            };
            node.key(slot, key).and_then(|()| node.value(slot, value)).map_err(out)?;
            let gone = value::large_in(&node, slot).map_err(out)?;
            if let Some(there) = &gone
                && known.is_none_or(|known| known.reference != **there)
            {
                // The leaf is latched (V3).
                return Ok(Step::Learn(there.clone(), self.reader()));
            }
            Ok(Step::Done(self.carry_out(Edit::removal(key, 0), Search::Found(slot), gone, page, room)?))
        })
    }
}

fn nothing(lsn: Lsn) -> Outcome {
    Outcome { applied: true, existed: false, lsn, sparse: false, gone: None, learnt: false }
}
