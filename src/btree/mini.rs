//! Mini-transactions over several pages: one record, and everything it says applied before the first latch is released.

use super::redo::{damaged, reason};
use super::value::{Draft, Reference, free_part};
use super::{Inner, LogRoom};
use crate::error::Result;
use crate::page::slotted::{ops, scratch};
use crate::pool::{Extent, PageMut};
use crate::types::{Lsn, PageId, PageKind, SizeClass};
use crate::wal::RecordBuilder;

/// Op of a part of kind `SPACE`: the page is allocated.
pub(super) const ALLOCATE: u8 = 1;
/// Op of a part of kind `SPACE`: the page is freed.
pub(super) const RELEASE: u8 = 2;

/// Op of a part whose page is freed as it is: only the allocator hears of it. The page's frame stays dirty, with its
/// recovery LSN, if it was; readers with a view of it find its version moved.
pub(super) const LET_GO: u8 = 0;

/// What happens to one latched page.
pub(super) struct Part<'p, 'b> {
    pub(super) page: PageMut<'p>,
    pub(super) op: u8,
    pub(super) payload: &'b [u8],
}

/// What a record says of space beside its nodes.
#[derive(Clone, Copy, Default)]
pub(super) struct Beside<'a> {
    /// Places of nodes that were written already (D4): reserved, now allocated.
    pub(super) places: &'a [(PageId, SizeClass)],
    /// Large values that were written already (V1).
    pub(super) drafts: &'a [Draft<'a>],
    /// Large values that go.
    pub(super) gone: &'a [Reference],
    /// Pairs in those nodes that were written already.
    pub(super) pairs: u64,
}

/// Starts the part of a node in a record.
pub(super) fn begin_part(record: &mut RecordBuilder<'_>, op: u8, page: PageId) {
    record.begin_part(PageKind::BTREE, op, SizeClass::ZERO, op == ops::INIT, page);
}

impl Inner {
    /// Appends one record for all `parts` (B3) and applies it (W5). Pages that [`ops::INIT`] makes count as allocated by it,
    /// those that [`ops::FREE`] ends as freed. Everything that can be refused was checked by the caller: what fails here
    /// poisons the pool.
    pub(super) fn commit(&self, room: Option<LogRoom<'_>>, parts: Vec<Part<'_, '_>>) -> Result<Lsn> {
        self.commit_with(room, Beside::default(), parts)
    }

    /// [`Inner::commit`], for a record that also allocates or frees what no node lies in.
    pub(super) fn commit_with(
        &self,
        room: Option<LogRoom<'_>>,
        beside: Beside<'_>,
        parts: Vec<Part<'_, '_>>,
    ) -> Result<Lsn> {
        scratch::with(|buffer| {
            let mut record = RecordBuilder::new(buffer);
            let Beside { places, drafts, gone, pairs } = beside;
            let mut space = !places.is_empty() || !drafts.is_empty() || !gone.is_empty();
            for &(id, class) in places {
                record.begin_part(PageKind::SPACE, ALLOCATE, class, false, id);
            }
            drafts.iter().for_each(|draft| draft.add_to(&mut record));
            gone.iter().flat_map(Reference::runs).for_each(|&run| free_part(&mut record, run));
            for part in &parts {
                let id = part.page.id();
                if let Some(op) = space_op(part.op) {
                    record.begin_part(PageKind::SPACE, op, SizeClass::ZERO, false, id);
                    space = true;
                    if cfg!(pagebox_break = "split_half") && op == ALLOCATE && parts.len() > 1 {
                        continue;
                    }
                }
                if part.op != LET_GO {
                    begin_part(&mut record, part.op, id);
                    record.extend_from_slice(part.payload);
                }
            }
            // A2: from before the append until the allocator knows.
            let gate = space.then(|| self.pool.allocator().enter());
            if let Some(gate) = &gate {
                let pages = parts.iter().filter(|part| space_op(part.op) == Some(RELEASE));
                let pages = pages.map(|part| Extent::new(part.page.id(), 1));
                self.pool.allocator().check_frees(gate, pages.chain(gone.iter().flat_map(Reference::runs).copied()))?;
            }
            let allocator = |id, op, lsn| match (&gate, space_op(op)) {
                (Some(gate), Some(ALLOCATE)) => self.pool.allocator().apply_allocation(gate, id, SizeClass::ZERO),
                (Some(gate), Some(_)) => self.pool.allocator().apply_free(gate, id, SizeClass::ZERO, lsn),
                _ => {}
            };
            let beside = |lsn| {
                if let Some(gate) = &gate {
                    places.iter().for_each(|&(id, class)| self.pool.allocator().apply_allocation(gate, id, class));
                    let drafts: Vec<&Draft<'_>> = drafts.iter().collect();
                    self.settle_space(gate, &drafts, gone, lsn);
                }
            };
            let lsn = self.log_and_apply(room, record.finish(), parts, pairs, allocator, beside)?;
            gone.iter().for_each(|value| self.forget_value(value));
            Ok(lsn)
        })
    }

    /// `allocator` and `beside` tell the allocator what becomes of the parts' pages and of what lies beside them: while the
    /// pages are latched, since whoever gets a latch may free any of it by its next record.
    fn log_and_apply(
        &self,
        room: Option<LogRoom<'_>>,
        record: &[u8],
        mut parts: Vec<Part<'_, '_>>,
        mut pairs: u64,
        allocator: impl Fn(PageId, u8, Lsn),
        beside: impl FnOnce(Lsn),
    ) -> Result<Lsn> {
        let position = self.position();
        for part in parts.iter_mut().filter(|part| part.op != LET_GO) {
            match part.op {
                ops::INIT => part.page.begin_life(position),
                _ => part.page.begin_change(position),
            }
        }
        let lsn = self.append(room, record);
        let mut before = 0;
        for part in &mut parts {
            let id = part.page.id();
            if part.op != ops::INIT {
                before += self.pairs_in(part.page.reader());
            }
            if part.op != LET_GO
                && let Err(error) = ops::apply(part.op, part.page.writer(), id, part.payload)
            {
                self.pool.poison(&format!("page {id} did not take what was logged for it: {}", reason(error)));
                return Err(damaged(id, reason(error)));
            }
            if space_op(part.op) != Some(RELEASE) {
                pairs += self.pairs_in(part.page.reader());
            }
            allocator(id, part.op, lsn);
        }
        // What only moved is no change.
        self.count(pairs.saturating_sub(before), before.saturating_sub(pairs));
        beside(lsn);
        for part in parts.iter_mut().filter(|part| part.op != LET_GO) {
            part.page.finish_change(lsn);
        }
        Ok(lsn)
    }

    /// The most a record of a split or a merge can take, in bytes: a node's content, separators, and what frames them.
    pub(super) fn structure_bytes(&self) -> usize {
        2 * self.pool.page_size() + 1024
    }
}

fn space_op(op: u8) -> Option<u8> {
    match op {
        ops::INIT => Some(ALLOCATE),
        ops::FREE | LET_GO => Some(RELEASE),
        _ => None,
    }
}
