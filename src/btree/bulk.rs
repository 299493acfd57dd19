//! Loading sorted records: leaves are built in memory, full from the start, written in runs beside the log, and hung onto the
//! right edge of the tree by one record a portion.
//!
//! The first records fill what room the last leaf has, in the ordinary way; so does an input that is no longer than a
//! leaf. From there on a **portion** is some hundreds of leaves: their places are reserved, they are written with few
//! large writes and synced once (D4), then linked ([`super::link`]): one record with the allocations, the old right edge's
//! changes and a reference to each leaf. Nodes above the leaves go by that record too: they are a few thousandths of the
//! bytes, and what the right edge looks like is known only when it is latched. A crash before the record leaves free
//! space; after it, everything.
//!
//! Memory: a buffer for the writes, out of the pool's budget, and a portion's references.

use super::descend::{Seek, rest, sound};
use super::link::Linked;
use super::mini::Beside;
use super::redo::damaged;
use super::value::{Draft, LARGE, Residence};
use super::{BTree, Inner};
use crate::error::{Error, Result};
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::slotted::children::Child;
use crate::page::slotted::{SlottedPage, Stage, scratch, shortest_separator};
use crate::pool::{Extent, Interrupt, Loan};
use crate::types::{Lsn, PageId, SizeClass};
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD};
use std::collections::VecDeque;

/// The write buffer, at most, in bytes.
const BUFFER: usize = 1 << 20;
/// Attempts at linking a portion before its records go the ordinary way.
const ATTEMPTS: usize = 256;

/// A load under way. [`BulkLoad::put`] takes the next record, [`BulkLoad::advance`] does what is due, [`BulkLoad::finish`]
/// the rest. Dropping it loses what is not linked yet, and nothing else.
pub struct BulkLoad<'t> {
    inner: &'t Inner,
    /// What a leaf is filled to, in bytes.
    limit: usize,
    tree: &'t BTree,
    stage: Stage,
    /// Whether leaves are built: before, the last leaf is filled up.
    building: bool,
    /// The last key put in or, at first, the greatest in the tree.
    last: Option<Vec<u8>>,
    /// Records put in.
    put: u64,
    /// Records in the tree.
    loaded: u64,
    lsn: Lsn,
    portion: Portion<'t>,
    /// Large values of records that are in no leaf yet, each with its record's place in the input.
    staged: VecDeque<(u64, Draft<'t>)>,
    /// Records that are in the tree or in the portion's leaves.
    taken: u64,
}

/// Leaves that are built and not linked.
struct Portion<'t> {
    inner: &'t Inner,
    buffer: Option<(Loan<'t>, Vec<u8>)>,
    /// Places taken; of the last one, the first `used` pages are built and the first `written` on their way to disk.
    runs: Vec<Extent>,
    used: u64,
    written: u64,
    leaves: Vec<Child>,
    /// The large values in them that are not in the tree yet, in order.
    drafts: Vec<Draft<'t>>,
    link_bytes: usize,
    records: u64,
    /// Records of the first leaf that went the ordinary way.
    inserted: usize,
    /// Its last leaf is built: it is to be linked.
    closing: bool,
    /// It could not be linked, and some of its records may have gone the ordinary way: so do the others.
    ordinary: bool,
    synced: bool,
}

/// What the right edge says to the next record.
enum Edge {
    /// It would fit the last leaf, or belongs in front of that one.
    Insert,
    /// The last leaf is full; what parts it from the record.
    Full(Vec<u8>),
}

impl BTree {
    /// Begins a load of records whose keys ascend, from beyond the greatest key that is there.
    #[must_use]
    pub fn bulk_load(&self) -> BulkLoad<'_> {
        self.bulk_load_filled(100)
    }

    /// As [`BTree::bulk_load`], into leaves filled to `percent` of a page, as near to that as whole records come; what lies
    /// outside of 50 to 100 counts as the nearer of the two. A record that alone is longer takes what it takes.
    #[must_use]
    pub fn bulk_load_filled(&self, percent: u8) -> BulkLoad<'_> {
        let inner = &*self.inner;
        BulkLoad {
            inner,
            limit: inner.pool.page_size() * usize::from(percent.clamp(50, 100)) / 100,
            tree: self,
            stage: Stage::default(),
            building: false,
            last: None,
            put: 0,
            loaded: 0,
            lsn: Lsn::NONE,
            portion: Portion::new(inner),
            staged: VecDeque::new(),
            taken: 0,
        }
    }
}

impl<'t> BulkLoad<'t> {
    /// Takes the next record; to be followed by [`BulkLoad::advance`]. Cost: a copy; a large value is written to its place,
    /// and synced with the portion.
    ///
    /// # Errors
    /// `Unsorted` if its key is not greater than the one before, or than all in the tree; `KeyTooLarge`,
    /// `ValueTooLarge`; what writing a large value gives. It was not taken then; those before it can still be finished.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.inner.check_sizes(key, value.len())?;
        if !self.is_large(key, value) {
            self.admit(key)?;
            self.stage.push(key, 0, value);
        } else {
            self.refuse_unsorted(key)?;
            let draft = self.inner.draft_value(value, Residence::None)?;
            self.admit(key)?;
            self.stage.push(key, LARGE, draft.bytes());
            self.staged.push_back((self.put, draft));
        }
        self.put += 1;
        Ok(())
    }

    /// Whether the value is one that [`BulkLoad::put`] writes to the disk.
    #[must_use]
    pub fn is_large(&self, key: &[u8], value: &[u8]) -> bool {
        self.inner.is_large(key.len(), value.len())
    }

    fn refuse_unsorted(&mut self, key: &[u8]) -> Result<()> {
        if self.last.is_none() {
            self.last = self.tree.last()?.map(|(key, _)| key);
        }
        match &self.last {
            Some(last) if key <= last.as_slice() => Err(Error::Unsorted { index: self.put }),
            _ => Ok(()),
        }
    }

    fn admit(&mut self, key: &[u8]) -> Result<()> {
        self.refuse_unsorted(key)?;
        match &mut self.last {
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            None => self.last = Some(key.to_vec()),
        }
        Ok(())
    }

    /// Does what is due after a record was put in: mostly nothing, now and then a leaf, a write, or a portion's sync and
    /// record. After an error it can be called again.
    ///
    /// # Errors
    /// Those of [`BTree::insert`]; `Unsorted` if another writer has put a key in the way: at or beyond the first one that
    /// is not loaded yet.
    pub fn advance(&mut self) -> Result<()> {
        while !self.building && self.stage.len() > 0 {
            self.fill_up()?;
        }
        loop {
            if self.portion.closing {
                self.link()?;
            }
            let Some((n, closed)) = self.full_leaf() else { return Ok(()) };
            self.build(n, closed)?;
        }
    }

    /// Whether [`BulkLoad::advance`] has anything to do. Cost: some 10 ns.
    #[must_use]
    #[inline]
    pub fn is_due(&self) -> bool {
        !self.building || self.portion.closing || self.full_leaf().is_some()
    }

    /// How many records make the next leaf, if there are enough of them, and whether it gets an upper fence.
    #[inline]
    fn full_leaf(&self) -> Option<(usize, bool)> {
        let open = self.portion.is_long();
        // One that alone is longer than the share has a leaf for itself.
        let partly = self.limit < self.inner.pool.page_size();
        if partly && self.stage.len() > 1 && !self.stage.first_fits(self.limit) {
            return Some((1, !open));
        }
        if open {
            self.stage.fill_open(self.limit).map(|n| (n, false))
        } else {
            self.stage.fill_closed(self.limit).map(|n| (n, true))
        }
    }

    /// How many of the last records make a leaf with an upper fence; `None`: all of them, without one.
    fn last_leaf(&self) -> Option<usize> {
        if self.stage.fits_open(self.limit) || self.stage.len() == 1 {
            return None;
        }
        Some(self.stage.most_closed(self.limit).unwrap_or(1))
    }

    /// Loads what is left. How many records were loaded in all, and the LSN to wait for.
    ///
    /// # Errors
    /// As [`BulkLoad::advance`].
    pub fn finish(&mut self) -> Result<(u64, Lsn)> {
        self.advance()?;
        let page_size = self.inner.pool.page_size();
        // What would be a leaf of its own, hardly full, goes into those that there are.
        if self.portion.leaves.is_empty() && self.stage.fits_open(page_size) {
            while self.stage.len() > 0 {
                self.insert_first()?;
            }
        }
        while self.stage.len() > 0 {
            match self.last_leaf() {
                None => self.build(self.stage.len(), false)?,
                Some(n) => self.build(n, true)?,
            }
        }
        if self.portion.closing {
            self.link()?;
        }
        Ok((self.loaded, self.lsn))
    }

    /// How many records are in the tree so far, and the LSN to wait for.
    #[must_use]
    pub fn loaded(&self) -> (u64, Lsn) {
        (self.loaded, self.lsn)
    }

    /// The first record goes into the last leaf, unless that is full: then leaves are built from here on.
    fn fill_up(&mut self) -> Result<()> {
        let (key, value_len) = (self.stage.key(0), self.stage.value(0).len());
        match self.inner.retry(|| self.inner.try_edge(key, value_len))? {
            Some(Edge::Full(separator)) => {
                self.stage.set_lower(&separator);
                self.building = true;
                Ok(())
            }
            _ => self.insert_first(),
        }
    }

    fn insert_first(&mut self) -> Result<()> {
        let (key, value) = (self.stage.key(0), self.stage.value(0));
        if self.staged.front().is_some_and(|(place, _)| *place == self.taken) {
            let mut draft = self.staged.pop_front().map(|(_, draft)| draft);
            let inserted = self.insert_draft(key, &mut draft);
            // Still to be had if that failed.
            draft.into_iter().for_each(|draft| self.staged.push_front((self.taken, draft)));
            self.lsn = inserted?;
        } else {
            self.lsn = self.insert_new(key, value)?;
        }
        self.loaded += 1;
        self.drop_first(1);
        Ok(())
    }

    /// The first `n` records are where they belong.
    fn drop_first(&mut self, n: usize) {
        self.stage.drop_first(n);
        self.taken += n as u64;
    }

    /// The ordinary way, for a key that is not there.
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Lsn> {
        let outcome = self.tree.compare_and_swap(key, None, Some(value))?;
        if outcome.swapped { Ok(outcome.lsn) } else { Err(Error::Unsorted { index: self.loaded }) }
    }

    /// As [`BulkLoad::insert_new`], for a large value that is written already; it is left in `draft` if that fails.
    fn insert_draft(&self, key: &[u8], draft: &mut Option<Draft<'t>>) -> Result<Lsn> {
        self.inner.pool.sync_content()?;
        draft.iter_mut().for_each(Draft::take_frames);
        match self.inner.insert_draft(key, draft)? {
            Some(lsn) => Ok(lsn),
            None => Err(Error::Unsorted { index: self.loaded }),
        }
    }

    /// Makes a leaf of the first `n` records; one that is not `closed` ends its portion.
    fn build(&mut self, n: usize, closed: bool) -> Result<()> {
        let (id, out) = self.portion.next_page()?;
        self.stage.build(n, closed, self.inner.tree, id, out);
        let leaf = Child { separator: self.stage.lower().to_vec(), page: id };
        self.portion.used += 1;
        self.portion.link_bytes += leaf.log_bytes();
        self.portion.leaves.push(leaf);
        self.portion.records += n as u64;
        self.portion.closing = !closed;
        self.drop_first(n);
        while self.staged.front().is_some_and(|(place, _)| *place < self.taken) {
            if let Some((_, draft)) = self.staged.pop_front() {
                self.portion.link_bytes += draft.record_bytes();
                self.portion.drafts.push(draft);
            }
        }
        Ok(())
    }

    /// Ends the portion: everything on disk, then one record.
    fn link(&mut self) -> Result<()> {
        if self.portion.ordinary {
            return self.insert_portion();
        }
        self.portion.make_durable()?;
        let portion = &self.portion;
        let places = portion.places();
        let max = self.inner.log.as_ref().map_or(usize::MAX, |log| log.max_record_bytes());
        let mut bytes = RECORD_OVERHEAD + places.len() * PART_OVERHEAD + portion.link_bytes + 1024;
        for n in 0..ATTEMPTS {
            if bytes > max {
                break;
            }
            let mut room = self.inner.reserve(bytes)?;
            let drafts = &portion.drafts;
            let beside = Beside { places: &places, drafts, gone: &[], pairs: portion.records };
            match self.inner.try_link(&portion.leaves, beside, &mut room, bytes) {
                Ok(Linked::Done(lsn)) => {
                    (self.lsn, self.loaded) = (lsn, self.loaded + portion.records);
                    self.portion.clear(true);
                    return Ok(());
                }
                Ok(Linked::Behind) => {
                    self.portion.clear(false);
                    return Err(Error::Unsorted { index: self.loaded });
                }
                Ok(Linked::TooLong(needed)) => bytes = needed,
                Ok(Linked::Full) => break,
                Err(Interrupt::Failed(error)) => return Err(error),
                Err(Interrupt::Restart) => {
                    drop(room);
                    rest(n);
                }
            }
        }
        self.insert_portion()
    }

    /// Where a portion cannot be linked, because others change the right edge all the time or its keys are so long that
    /// the record would be: its records go the ordinary way. Goes on after an error where it stopped.
    fn insert_portion(&mut self) -> Result<()> {
        self.portion.ordinary = true;
        let mut image = vec![0; self.inner.pool.page_size()];
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while let Some(leaf) = self.portion.leaves.first() {
            let id = leaf.page;
            self.inner.pool.store().read(id, &mut image)?;
            let out = |_| damaged(id, "a leaf just written is none");
            let node = SlottedPage::open(PageReader::from_slice(&image)).map_err(out)?;
            for i in self.portion.inserted..node.count() {
                key.clear();
                value.clear();
                let flags = node.key(i, &mut key).and_then(|()| node.value_and_flags(i, &mut value)).map_err(out)?;
                self.lsn = if flags & LARGE == 0 {
                    self.insert_new(&key, &value)?
                } else {
                    let mut draft = (!self.portion.drafts.is_empty()).then(|| self.portion.drafts.remove(0));
                    let inserted = self.insert_draft(&key, &mut draft);
                    draft.into_iter().for_each(|draft| self.portion.drafts.insert(0, draft));
                    inserted?
                };
                self.loaded += 1;
                self.portion.inserted += 1;
            }
            self.portion.leaves.remove(0);
            self.portion.inserted = 0;
        }
        self.portion.clear(false);
        Ok(())
    }
}

impl<'t> Portion<'t> {
    fn new(inner: &'t Inner) -> Portion<'t> {
        Portion {
            inner,
            buffer: None,
            runs: Vec::new(),
            used: 0,
            written: 0,
            leaves: Vec::new(),
            drafts: Vec::new(),
            link_bytes: 0,
            records: 0,
            inserted: 0,
            closing: false,
            ordinary: false,
            synced: false,
        }
    }

    /// Whether its next leaf is to be the last one: its references fill an inner node, and leave room in the record.
    fn is_long(&self) -> bool {
        let page = self.inner.pool.page_size();
        let max = self.inner.log.as_ref().map_or(usize::MAX, |log| log.max_record_bytes());
        self.link_bytes >= page.min(max.saturating_sub(2 * page))
    }

    /// A place for the next leaf, and the memory to build it in.
    fn next_page(&mut self) -> Result<(PageId, &mut [u8])> {
        let (pool, page) = (&self.inner.pool, self.inner.pool.page_size());
        if self.buffer.is_none() {
            let bytes = (pool.capacity_pages() / 8).clamp(1, (BUFFER / page).max(1)) * page;
            let loan = pool.lend(bytes)?;
            self.buffer = Some((loan, vec![0; bytes]));
        }
        if self.runs.last().is_none_or(|run| run.units == self.used) {
            self.write_out()?;
            let pages = self.buffer.as_ref().map_or(1, |(_, bytes)| bytes.len() / page);
            self.runs.push(pool.allocator().reserve_run(pages as u64)?);
            (self.used, self.written) = (0, 0);
        }
        match (self.runs.last(), &mut self.buffer) {
            (Some(run), Some((_, bytes))) => {
                let id = PageId::new(run.start.get() + self.used);
                Ok((id, &mut bytes[self.used as usize * page..][..page]))
            }
            _ => unreachable!("a run and a buffer were just made"),
        }
    }

    fn write_out(&mut self) -> Result<()> {
        let (pool, page) = (&self.inner.pool, self.inner.pool.page_size());
        if let (Some(run), Some((_, bytes))) = (self.runs.last(), &self.buffer)
            && self.written < self.used
        {
            let start = PageId::new(run.start.get() + self.written);
            pool.write_run(start, &bytes[self.written as usize * page..self.used as usize * page])?;
            self.written = self.used;
        }
        Ok(())
    }

    /// All leaves on disk, and nothing in memory that is not what is there (D4).
    fn make_durable(&mut self) -> Result<()> {
        self.write_out()?;
        let pool = &self.inner.pool;
        if let Some(run) = self.runs.last_mut()
            && self.used < run.units
        {
            let rest = Extent::new(PageId::new(run.start.get() + self.used), run.units - self.used);
            pool.allocator().unreserve_extent(rest);
            run.units = self.used;
        }
        if !self.synced {
            if !cfg!(pagebox_break = "bulk_sync") {
                pool.sync_runs()?;
            }
            self.runs.iter().for_each(|&run| pool.forget_run(run));
            self.drafts.iter_mut().for_each(Draft::take_frames);
            self.synced = true;
        }
        Ok(())
    }

    /// Its runs as places of size classes, as few as can be: parts of the record.
    fn places(&self) -> Vec<(PageId, SizeClass)> {
        let mut places = Vec::new();
        for run in &self.runs {
            let (mut start, mut left) = (run.start.get(), run.units);
            while left > 0 {
                let class = (left.ilog2() as u8).min(SizeClass::COUNT as u8 - 1);
                let class = SizeClass::new(class).unwrap_or(SizeClass::ZERO);
                places.push((PageId::new(start), class));
                (start, left) = (start + class.units(), left - class.units());
            }
        }
        places
    }

    /// Ready for another one; places that no record names are given back.
    fn clear(&mut self, linked: bool) {
        for run in self.runs.drain(..) {
            if !linked {
                self.inner.pool.allocator().unreserve_extent(run);
            }
        }
        (self.used, self.written, self.link_bytes, self.records, self.inserted) = (0, 0, 0, 0, 0);
        (self.closing, self.ordinary, self.synced) = (false, false, false);
        self.leaves.clear();
        // Those that a record names are settled; the others give their space back.
        self.drafts.clear();
    }
}

impl Drop for Portion<'_> {
    fn drop(&mut self) {
        self.clear(false);
    }
}

impl Inner {
    fn try_edge(&self, key: &[u8], value_len: usize) -> Result<Edge, Interrupt> {
        let view = self.descend(Seek::Last, 0)?.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        let edge = scratch::with(|last| -> Result<Edge, OutOfBounds> {
            let Some(greatest) = node.count().checked_sub(1) else { return Ok(Edge::Insert) };
            if !node.covers(key)? || node.fits_record(None, key.len(), value_len)? {
                return Ok(Edge::Insert);
            }
            node.key(greatest, last)?;
            if last.as_slice() >= key {
                return Ok(Edge::Insert);
            }
            let separator = &key[..shortest_separator(last, key)];
            Ok(if node.fits_upper(separator)? { Edge::Full(separator.to_vec()) } else { Edge::Insert })
        });
        let edge = sound(&view, edge)?;
        view.validate()?;
        Ok(edge)
    }
}

impl std::fmt::Debug for BulkLoad<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkLoad").field("put", &self.put).field("loaded", &self.loaded).finish_non_exhaustive()
    }
}
