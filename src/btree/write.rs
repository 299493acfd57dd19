//! Changing one key: insert, replace, remove, compare and swap are one operation with different expectations.

use super::descend::{Seek, sound};
use super::mini::begin_part;
use super::redo::{damaged, reason};
use super::value::{self, Draft, Known, LARGE, Reference, free_part};
use super::{BTree, Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::header;
use crate::page::slotted::{Search, SlottedPage, SlottedPageMut, ops, scratch};
use crate::pool::{Interrupt, PageMut, Reader};
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
    /// What the leaf is to hold; `None` removes.
    new: Option<&'e [u8]>,
    /// `new` is a large value that is still to be written.
    unwritten: bool,
    /// `new` is the reference to this one.
    draft: Option<&'e Draft<'e>>,
    /// What is known of the large value there.
    known: Option<&'e Known>,
    /// Bytes of log room for frees.
    spare: usize,
}

/// What large values need beside the leaf, kept from one attempt to the next.
#[derive(Default)]
struct Side<'p> {
    draft: Option<Draft<'p>>,
    known: Option<Known>,
    spare: usize,
    /// The bytes of the large value in `known`. Not where attempts put what they find: one that is in vain may find anything.
    learnt: Vec<u8>,
}

pub(super) struct Outcome {
    pub(super) applied: bool,
    pub(super) existed: bool,
    pub(super) lsn: Lsn,
    /// A removal left so little that the leaf should be merged.
    pub(super) sparse: bool,
    /// The large value that is no more.
    pub(super) gone: Option<Box<Reference>>,
    /// The value that was there is the large one that was looked at before.
    pub(super) learnt: bool,
}

enum Step {
    Done(Outcome),
    Full,
    /// The new value has to be written first.
    Write,
    /// The large value there has to be looked at first.
    Learn(Box<Reference>, Reader),
    /// The log room lacks this many bytes for frees.
    Room(usize),
}

/// What a leaf's state makes of an edit.
enum Verdict {
    Nothing {
        applied: bool,
        learnt: bool,
    },
    Full,
    Write,
    Learn(Box<Reference>),
    Room(usize),
    /// The large value there goes, if there is one.
    Change(Option<Box<Reference>>),
}

impl BTree {
    /// Sets `key` to `value`. Cost: a descent, one log record, one latch.
    ///
    /// # Errors
    /// `KeyTooLarge`, `ValueTooLarge` (see [`BTree::max_value`]), `NoSpace`, `PoolExhausted`, `Poisoned`, `Corrupted`, `Io`,
    /// `NotFound` for a dropped tree; so for every write. Nothing was changed, except that after `Poisoned` it is unknown.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<Changed> {
        self.change(Edit::new(key, None, Some(value)), None)
    }

    /// Sets `key` to `value`; `before` becomes the value it had, empty if it had none.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn replace(&self, key: &[u8], value: &[u8], before: &mut Vec<u8>) -> Result<Changed> {
        self.change(Edit::new(key, None, Some(value)), Some(before))
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn remove(&self, key: &[u8]) -> Result<Changed> {
        self.change(Edit::new(key, None, None), None)
    }

    /// Removes `key`; `before` becomes the value it had, empty if it had none.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn take(&self, key: &[u8], before: &mut Vec<u8>) -> Result<Changed> {
        self.change(Edit::new(key, None, None), Some(before))
    }

    /// Sets `key` to `new` (`None` removes it) if its value is `old` (`None`: if it is absent), in one step.
    ///
    /// # Errors
    /// See [`BTree::insert`].
    pub fn compare_and_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<CasOutcome> {
        let mut before = Vec::new();
        let outcome = self.inner.edit(Edit::new(key, Some(old), new), Some(&mut before))?;
        let current = outcome.existed.then_some(before);
        Ok(CasOutcome { swapped: outcome.applied, current, lsn: outcome.lsn })
    }

    fn change(&self, edit: Edit<'_>, before: Option<&mut Vec<u8>>) -> Result<Changed> {
        let outcome = self.inner.edit(edit, before)?;
        Ok(Changed { existed: outcome.existed, lsn: outcome.lsn })
    }
}

impl<'e> Edit<'e> {
    fn new(key: &'e [u8], expect: Option<Option<&'e [u8]>>, new: Option<&'e [u8]>) -> Edit<'e> {
        Edit { key, expect, new, unwritten: false, draft: None, known: None, spare: 0 }
    }

    /// The edit with what there is beside the leaf by now.
    fn with<'s>(self, side: &'s Side<'_>, large: bool) -> Edit<'s>
    where
        'e: 's,
    {
        let draft = side.draft.as_ref();
        let new = draft.map(Draft::bytes).or(self.new);
        Edit { new, unwritten: large && draft.is_none(), draft, known: side.known.as_ref(), spare: side.spare, ..self }
    }

    /// The removal of a key, whatever its value; `spare` bytes of log room are for the frees of a large one.
    pub(super) fn removal(key: &'e [u8], spare: usize) -> Edit<'e> {
        Edit { spare, ..Edit::new(key, None, None) }
    }

    fn op(&self, at: Search) -> u8 {
        match (self.new, at) {
            (None, _) => ops::REMOVE,
            (Some(_), Search::Found(_)) => ops::UPDATE,
            (Some(_), Search::Insert(_)) => ops::INSERT,
        }
    }

    /// The flags of the slot that gets the new value.
    fn flags(&self) -> u8 {
        if self.draft.is_some() { LARGE } else { 0 }
    }

    /// Judges a leaf; the value there goes to `before`.
    fn judge(
        &self,
        node: &SlottedPage<'_>,
        before: &mut Option<&mut Vec<u8>>,
    ) -> Result<(Search, Verdict), OutOfBounds> {
        let at = node.search(self.key)?;
        // Redo asks the same: nothing is logged for a leaf that a damaged reference led to. Asked last: if the fences have to be
        // looked at, their lines, which lie apart from all others, have had time to come.
        if !node.covers(self.key)? {
            return Err(OutOfBounds);
        }
        let found = if let Search::Found(slot) = at { Some(slot) } else { None };
        if let Some(slot) = found
            && let Some(large) = value::large_in(node, slot)?
        {
            return Ok((at, self.judge_large(node, slot, large, before.is_some())?));
        }
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
            _ if !holds => Verdict::Nothing { applied: false, learnt: false },
            (None, None) => Verdict::Nothing { applied: true, learnt: false },
            (Some(_), _) if self.unwritten => Verdict::Write,
            (Some(value), _) if !node.fits_record(found, self.key.len(), value.len())? => Verdict::Full,
            _ => Verdict::Change(None),
        };
        Ok((at, verdict))
    }

    /// Judges a leaf that holds a large value for the key. Whatever needs its content is asked of what was learnt before.
    #[cold]
    fn judge_large(
        &self,
        node: &SlottedPage<'_>,
        slot: usize,
        there: Box<Reference>,
        wanted: bool,
    ) -> Result<Verdict, OutOfBounds> {
        let known = self.known.filter(|known| known.reference == *there);
        let as_long = matches!(self.expect, Some(Some(value)) if value.len() as u64 == there.len());
        if known.is_none() && (wanted || as_long) {
            return Ok(Verdict::Learn(there));
        }
        let holds = match self.expect {
            None => true,
            Some(None) => false,
            Some(Some(_)) => known.is_some_and(|known| known.equal),
        };
        Ok(match self.new {
            _ if !holds => Verdict::Nothing { applied: false, learnt: known.is_some() },
            Some(_) if self.unwritten => Verdict::Write,
            Some(value) if !node.fits_record(Some(slot), self.key.len(), value.len())? => Verdict::Full,
            _ if value::free_bytes(&there) > self.spare => Verdict::Room(value::free_bytes(&there)),
            _ => Verdict::Change(Some(there)),
        })
    }

    /// The most its record takes, in bytes.
    pub(super) fn record_bytes(&self) -> usize {
        let space = self.spare + self.draft.map_or(0, Draft::record_bytes);
        // What is unwritten does not get as far as a record.
        let value = self.new.filter(|_| !self.unwritten).map_or(0, <[u8]>::len);
        let own = ops::RECORD_OVERHEAD + self.key.len() + value;
        RECORD_OVERHEAD + PART_OVERHEAD + own + space
    }

    fn record<'b>(
        &self,
        at: Search,
        page: &PageMut<'_>,
        gone: Option<&Reference>,
        buffer: &'b mut Vec<u8>,
    ) -> &'b [u8] {
        let mut record = RecordBuilder::new(buffer);
        if let Some(draft) = self.draft {
            draft.add_to(&mut record);
        }
        if let Some(gone) = gone {
            gone.runs().iter().for_each(|&run| free_part(&mut record, run));
        }
        begin_part(&mut record, self.op(at), page.id());
        match self.new {
            Some(value) => {
                record.put_u16(ops::record_word(self.key.len(), self.flags()));
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
    fn edit(&self, edit: Edit<'_>, before: Option<&mut Vec<u8>>) -> Result<Outcome> {
        self.check_sizes(edit.key, edit.new.map_or(0, <[u8]>::len))?;
        let large = edit.new.is_some_and(|value| self.is_large(edit.key.len(), value.len()));
        self.edit_beside(edit, large, before, &mut Side::default())
    }

    /// Inserts a key that is not there with a large value that is written and synced: the record's LSN, and `draft` is taken;
    /// `None` if the key is there.
    ///
    /// # Errors
    /// See [`BTree::insert`]; `draft` is left as it was.
    pub(super) fn insert_draft<'p>(&'p self, key: &[u8], draft: &mut Option<Draft<'p>>) -> Result<Option<Lsn>> {
        let mut side = Side { draft: draft.take(), ..Side::default() };
        let outcome = self.edit_beside(Edit::new(key, Some(None), Some(&[])), true, None, &mut side);
        match outcome {
            Ok(outcome) if outcome.applied => Ok(Some(outcome.lsn)),
            other => {
                *draft = side.draft;
                other.map(|_| None)
            }
        }
    }

    /// `large`: what `edit` sets is a large value.
    fn edit_beside<'p>(
        &'p self,
        edit: Edit<'_>,
        large: bool,
        mut before: Option<&mut Vec<u8>>,
        side: &mut Side<'p>,
    ) -> Result<Outcome> {
        self.pool.check_poison()?;
        let mut first = true;
        loop {
            let now = edit.with(side, large);
            let mut room = self.reserve(now.record_bytes())?;
            let step = match self.retry(|| self.try_edit(now, &mut room, &mut before))? {
                Some(step) => step,
                None => self.edit_in_lane(now, &mut room, &mut before)?,
            };
            // Given back before a split takes its own: who waits for log space holds none.
            drop(room);
            match step {
                Step::Done(outcome) => {
                    if let Some(before) = before.filter(|_| outcome.learnt) {
                        std::mem::swap(before, &mut side.learnt);
                    }
                    if let Some(gone) = &outcome.gone {
                        self.forget_value(gone);
                    }
                    if edit.new.is_none() {
                        self.tidy(edit.key, outcome.sparse);
                    }
                    return Ok(outcome);
                }
                Step::Full => {
                    let value_len = now.new.map_or(0, <[u8]>::len);
                    self.make_room(now.key, value_len, std::mem::replace(&mut first, false))?;
                }
                Step::Write => side.draft = self.write_values(edit.new.as_slice())?.pop(),
                Step::Learn(there, reader) => {
                    let expected = edit.expect.flatten();
                    side.known =
                        Some(self.learn(*there, reader, expected, before.is_some().then_some(&mut side.learnt))?);
                }
                Step::Room(bytes) => side.spare = bytes,
            }
        }
    }

    fn try_edit<'l>(
        &'l self,
        edit: Edit<'_>,
        room: &mut Option<LogRoom<'l>>,
        before: &mut Option<&mut Vec<u8>>,
    ) -> Result<Step, Interrupt> {
        let (view, node) = self.leaf(edit.key)?;
        node.prefetch_change(edit.key);
        let (at, verdict) = sound(&view, edit.judge(&node, before))?;
        let step = match verdict {
            Verdict::Change(gone) => {
                // The upgrade fails if anything changed since the view was taken: the verdict holds under the latch.
                let page = view.try_exclusive()?;
                return Ok(Step::Done(self.carry_out(edit, at, gone, page, room)?));
            }
            Verdict::Nothing { applied, learnt } => {
                let lsn = sound(&view, page_lsn(view.reader()))?;
                let sparse = sound(&view, is_sparse(&node))?;
                Step::Done(Outcome {
                    applied,
                    existed: matches!(at, Search::Found(_)),
                    lsn,
                    sparse,
                    gone: None,
                    learnt,
                })
            }
            Verdict::Full => Step::Full,
            Verdict::Write => Step::Write,
            // Registered before the leaf is validated (V3).
            Verdict::Learn(there) => Step::Learn(there, self.reader()),
            Verdict::Room(bytes) => Step::Room(bytes),
        };
        view.validate()?;
        Ok(step)
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
                Verdict::Change(gone) => Ok(Step::Done(self.carry_out(edit, at, gone, page, room)?)),
                Verdict::Full => Ok(Step::Full),
                Verdict::Write => Ok(Step::Write),
                // The leaf is latched (V3).
                Verdict::Learn(there) => Ok(Step::Learn(there, self.reader())),
                Verdict::Room(bytes) => Ok(Step::Room(bytes)),
                Verdict::Nothing { applied, learnt } => {
                    let sparse = is_sparse(&node).map_err(out)?;
                    let existed = matches!(at, Search::Found(_));
                    Ok(Step::Done(Outcome { applied, existed, lsn: page.lsn(), sparse, gone: None, learnt }))
                }
            }
        })
    }

    /// From the latch to the unlatch (W5): append, apply, stamp. `gone` is the large value that the change takes away.
    pub(super) fn carry_out<'l>(
        &'l self,
        edit: Edit<'_>,
        at: Search,
        gone: Option<Box<Reference>>,
        mut page: PageMut<'_>,
        room: &mut Option<LogRoom<'l>>,
    ) -> Result<Outcome> {
        scratch::with(|buffer| {
            let record = edit.record(at, &page, gone.as_deref(), buffer);
            let space = edit.draft.is_some() || gone.is_some();
            // A2: from before the append until the allocator knows.
            let gate = space.then(|| self.pool.allocator().enter());
            if let (Some(gate), Some(gone)) = (&gate, &gone) {
                self.pool.allocator().check_frees(gate, gone.runs().iter().copied())?;
            }
            page.begin_change_at(|| self.position());
            let lsn = self.append(room.take(), record);
            let mut node = SlottedPageMut::new(page.writer());
            let applied = match (edit.new, at) {
                (Some(value), Search::Found(slot)) => node.update_at(slot, edit.flags(), value),
                (Some(value), Search::Insert(slot)) => node.insert_at(slot, edit.key, edit.flags(), value),
                (None, at) => node.remove_at(at.slot()),
            };
            let sparse = edit.new.is_none() && node.node().and_then(|node| is_sparse(&node)).unwrap_or(false);
            if let Some(gate) = &gate {
                self.settle_space(gate, edit.draft.as_slice(), gone.as_slice(), lsn);
            }
            if let Err(error) = applied {
                self.pool.poison(&format!("{:?} did not take what was logged for it: {}", page.id(), reason(error)));
                return Err(damaged(page.id(), reason(error)));
            }
            page.finish_change(lsn);
            match (edit.new, at) {
                (Some(_), Search::Found(_)) => {}
                (Some(_), Search::Insert(_)) => self.count(1, 0),
                (None, _) => self.count(0, 1),
            }
            let learnt = edit.known.is_some() && gone.is_some();
            Ok(Outcome { applied: true, existed: matches!(at, Search::Found(_)), lsn, sparse, gone, learnt })
        })
    }
}

/// Whether a node holds so little that it should be merged with a neighbour: under a quarter of a page.
pub(super) fn is_sparse(node: &SlottedPage<'_>) -> Result<bool, OutOfBounds> {
    Ok(node.used_bytes()? < node.page_size() / 4)
}
