//! Changing one key: insert, replace, remove, compare and swap are one operation with different expectations.

use super::descend::{Seek, sound};
use super::mini::begin_part;
use super::redo::{damaged, reason};
use super::{BTree, Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::header;
use crate::page::slotted::{Search, SlottedPage, SlottedPageMut, ops, scratch};
use crate::pool::{Interrupt, PageMut};
use crate::types::Lsn;
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD, RecordBuilder};

/// What a write found, and the LSN to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Whether the key was there before.
    pub existed: bool,
    /// The record's LSN; if nothing changed, the LSN of the last change of the leaf that was judged by.
    pub lsn: Lsn,
}

/// How a compare-and-swap went, and the LSN to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CasOutcome {
    /// Whether the expectation held and the change was made.
    pub swapped: bool,
    /// The value that was there, swapped or not; `None`: absent.
    pub current: Option<Vec<u8>>,
    /// As [`Changed::lsn`].
    pub lsn: Lsn,
}

/// What is to become of a key.
#[derive(Clone, Copy)]
pub(super) struct Edit<'e> {
    key: &'e [u8],
    /// Only if the value is this one (`Some(None)`: only if absent).
    expect: Option<Option<&'e [u8]>>,
    /// The new value; `None` removes.
    new: Option<&'e [u8]>,
}

pub(super) struct Outcome {
    pub(super) applied: bool,
    pub(super) existed: bool,
    pub(super) lsn: Lsn,
    /// A removal left so little that the leaf should be merged.
    pub(super) sparse: bool,
}

enum Step {
    Done(Outcome),
    Full,
}

/// What a leaf's state makes of an edit.
enum Verdict {
    Nothing { applied: bool },
    Full,
    Change(Search),
}

impl BTree {
    /// Sets `key` to `value`. Cost: a descent, one log record, one latch.
    ///
    /// # Errors
    /// `KeyTooLarge`, `ValueTooLarge` (see [`BTree::max_value`]), `NoSpace`, `PoolExhausted`, `Poisoned`, `Corrupted`, `Io`,
    /// `NotFound` for a dropped tree; so for every write. Nothing was changed, except that after `Poisoned` it is unknown.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<Changed> {
        self.change(Edit { key, expect: None, new: Some(value) }, None)
    }

    /// Sets `key` to `value`; `before` becomes the value it had, empty if it had none.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn replace(&self, key: &[u8], value: &[u8], before: &mut Vec<u8>) -> Result<Changed> {
        self.change(Edit { key, expect: None, new: Some(value) }, Some(before))
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn remove(&self, key: &[u8]) -> Result<Changed> {
        self.change(Edit { key, expect: None, new: None }, None)
    }

    /// Removes `key`; `before` becomes the value it had, empty if it had none.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn take(&self, key: &[u8], before: &mut Vec<u8>) -> Result<Changed> {
        self.change(Edit { key, expect: None, new: None }, Some(before))
    }

    /// Sets `key` to `new` (`None` removes it) if its value is `old` (`None`: if it is absent), in one step.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn compare_and_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<CasOutcome> {
        let mut before = Vec::new();
        let outcome = self.inner.edit(Edit { key, expect: Some(old), new }, Some(&mut before))?;
        let current = outcome.existed.then_some(before);
        Ok(CasOutcome { swapped: outcome.applied, current, lsn: outcome.lsn })
    }

    fn change(&self, edit: Edit<'_>, before: Option<&mut Vec<u8>>) -> Result<Changed> {
        let outcome = self.inner.edit(edit, before)?;
        Ok(Changed { existed: outcome.existed, lsn: outcome.lsn })
    }
}

impl<'e> Edit<'e> {
    /// The removal of a key, whatever its value.
    pub(super) fn removal(key: &'e [u8]) -> Edit<'e> {
        Edit { key, expect: None, new: None }
    }

    fn op(&self, at: Search) -> u8 {
        match (self.new, at) {
            (None, _) => ops::REMOVE,
            (Some(_), Search::Found(_)) => ops::UPDATE,
            (Some(_), Search::Insert(_)) => ops::INSERT,
        }
    }

    /// Judges a leaf; the value there goes to `before`.
    fn judge(
        &self,
        node: &SlottedPage<'_>,
        before: &mut Option<&mut Vec<u8>>,
    ) -> Result<(Search, Verdict), OutOfBounds> {
        // Redo asks the same: nothing is logged for a leaf that a damaged reference led to.
        if !node.covers(self.key)? {
            return Err(OutOfBounds);
        }
        let at = node.search(self.key)?;
        let found = if let Search::Found(slot) = at { Some(slot) } else { None };
        if let Some(out) = before.as_deref_mut() {
            out.clear();
            if let Some(slot) = found {
                node.value(slot, out)?;
            }
        }
        let holds = match (self.expect, found) {
            (None, _) | (Some(None), None) => true,
            (Some(Some(value)), Some(slot)) => node.value_is(slot, value)?,
            _ => false,
        };
        let verdict = match (self.new, found) {
            _ if !holds => Verdict::Nothing { applied: false },
            (None, None) => Verdict::Nothing { applied: true },
            (Some(value), _) if !node.fits_record(found, self.key.len(), value.len())? => Verdict::Full,
            _ => Verdict::Change(at),
        };
        Ok((at, verdict))
    }

    /// The most its record takes, in bytes.
    pub(super) fn record_bytes(&self) -> usize {
        RECORD_OVERHEAD + PART_OVERHEAD + ops::RECORD_OVERHEAD + self.key.len() + self.new.map_or(0, <[u8]>::len)
    }

    fn record<'b>(&self, at: Search, page: &PageMut<'_>, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        let mut record = RecordBuilder::new(buffer);
        begin_part(&mut record, self.op(at), page.id());
        match self.new {
            Some(value) => {
                record.put_u16(self.key.len() as u16);
                record.extend_from_slice(self.key);
                record.extend_from_slice(value);
            }
            None => record.extend_from_slice(self.key),
        }
        record.finish()
    }
}

fn page_lsn(page: PageReader<'_>) -> Result<Lsn, OutOfBounds> {
    page.u64(header::LSN).map(Lsn::new)
}

impl Inner {
    fn edit(&self, edit: Edit<'_>, mut before: Option<&mut Vec<u8>>) -> Result<Outcome> {
        self.check_sizes(edit.key, edit.new.map_or(0, <[u8]>::len))?;
        self.pool.check_poison()?;
        loop {
            let mut room = self.reserve(edit.record_bytes())?;
            let step = match self.retry(|| self.try_edit(edit, &mut room, &mut before))? {
                Some(step) => step,
                None => self.edit_in_lane(edit, &mut room, &mut before)?,
            };
            // Given back before a split takes its own: who waits for log space holds none.
            drop(room);
            match step {
                Step::Done(outcome) => {
                    if edit.new.is_none() {
                        self.tidy(edit.key, outcome.sparse);
                    }
                    return Ok(outcome);
                }
                Step::Full => self.make_room(edit.key, edit.new.map_or(0, <[u8]>::len))?,
            }
        }
    }

    fn try_edit<'l>(
        &'l self,
        edit: Edit<'_>,
        room: &mut Option<LogRoom<'l>>,
        before: &mut Option<&mut Vec<u8>>,
    ) -> Result<Step, Interrupt> {
        let view = self.descend(Seek::Key(edit.key), 0)?.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        let (at, verdict) = sound(&view, edit.judge(&node, before))?;
        match verdict {
            Verdict::Change(at) => {
                // The upgrade fails if anything changed since the view was taken: the verdict holds under the latch.
                let page = view.try_exclusive()?;
                Ok(Step::Done(self.carry_out(edit, at, page, room)?))
            }
            Verdict::Full => {
                view.validate()?;
                Ok(Step::Full)
            }
            Verdict::Nothing { applied } => {
                let lsn = sound(&view, page_lsn(view.reader()))?;
                let sparse = sound(&view, is_sparse(&node))?;
                view.validate()?;
                Ok(Step::Done(Outcome { applied, existed: matches!(at, Search::Found(_)), lsn, sparse }))
            }
        }
    }

    fn edit_in_lane<'l>(
        &'l self,
        edit: Edit<'_>,
        room: &mut Option<LogRoom<'l>>,
        before: &mut Option<&mut Vec<u8>>,
    ) -> Result<Step> {
        self.in_lane(0, |lane| {
            let page: PageMut<'_> = self.coupled(lane, Seek::Key(edit.key), 0)?;
            let id = page.id();
            let out = |_: OutOfBounds| damaged(id, "an offset leads outside of the page");
            let node = SlottedPage::open(page.reader()).map_err(out)?;
            let (at, verdict) = edit.judge(&node, before).map_err(out)?;
            match verdict {
                Verdict::Change(at) => Ok(Step::Done(self.carry_out(edit, at, page, room)?)),
                Verdict::Full => Ok(Step::Full),
                Verdict::Nothing { applied } => {
                    let sparse = is_sparse(&node).map_err(out)?;
                    let existed = matches!(at, Search::Found(_));
                    Ok(Step::Done(Outcome { applied, existed, lsn: page.lsn(), sparse }))
                }
            }
        })
    }

    /// From the latch to the unlatch (W5): append, apply, stamp.
    pub(super) fn carry_out<'l>(
        &'l self,
        edit: Edit<'_>,
        at: Search,
        mut page: PageMut<'_>,
        room: &mut Option<LogRoom<'l>>,
    ) -> Result<Outcome> {
        scratch::with(|buffer| {
            let record = edit.record(at, &page, buffer);
            page.begin_change(self.position());
            let lsn = self.append(room.take(), record);
            let mut node = SlottedPageMut::new(page.writer());
            let applied = match (edit.new, at) {
                (Some(value), Search::Found(slot)) => node.update_at(slot, 0, value),
                (Some(value), Search::Insert(slot)) => node.insert_at(slot, edit.key, 0, value),
                (None, at) => node.remove_at(at.slot()),
            };
            let sparse = edit.new.is_none() && node.node().and_then(|node| is_sparse(&node)).unwrap_or(false);
            if let Err(error) = applied {
                self.pool.poison(&format!("{:?} did not take what was logged for it: {}", page.id(), reason(error)));
                return Err(damaged(page.id(), reason(error)));
            }
            page.finish_change(lsn);
            Ok(Outcome { applied: true, existed: matches!(at, Search::Found(_)), lsn, sparse })
        })
    }
}

/// Whether a node holds so little that it should be merged with a neighbour: under a quarter of a page.
pub(super) fn is_sparse(node: &SlottedPage<'_>) -> Result<bool, OutOfBounds> {
    Ok(node.used_bytes()? < node.page_size() / 4)
}
