//! Pages in a file.

use super::demand::Demand;
use super::double_write::area::Area;
use super::double_write::restore::Found;
use super::double_write::ring::Ring;
use super::double_write::{self, DOUBLE_WRITE_BYTES, DOUBLE_WRITE_START, HEADER_BYTES};
use super::page_store::{PageImage, PageStore};
use super::sync_gate::GatedFile;
use crate::error::{Error, Result, Site};
use crate::io::DiskFile;
use crate::page::bytes::PageWriter;
use crate::sync::{Arc, Condvar, Mutex};
use crate::types::{Lsn, PageId};
use std::path::PathBuf;

/// The page file of a store: superblocks (not its business), pages, and the double-write area, if that has no file of its own.
/// After a sync of it that failed, none succeeds (P9).
#[derive(Debug)]
pub struct FilePageStore {
    /// Behind its gate: all syncs go through this, whoever makes them.
    file: Arc<GatedFile>,
    /// The same file, for what goes past the system's cache.
    past: Option<Arc<dyn DiskFile>>,
    /// Whether pages go past it too.
    direct: bool,
    path: PathBuf,
    page_size: usize,
    store_id: u64,
    /// The double-write area.
    area: Area,
    writing: Mutex<Writing>,
    /// Notified when somebody's writing has ended.
    ended: Condvar,
    /// Held by who gives up slots.
    #[cfg(feature = "btree")]
    giving: Mutex<()>,
    /// For syncs in the background.
    demand: Demand,
}

/// What those who write pages share. Not held while anything is written or synced.
#[derive(Debug)]
struct Writing {
    ring: Ring,
    passing: Passing,
}

/// Unsynced pages that the system's cache holds for a store that is to pass it by: it is to let go of them then.
#[derive(Debug, Default)]
struct Passing {
    runs: Vec<Run>,
    /// Their length together.
    bytes: u64,
}

/// Pages that lie one behind the other.
#[derive(Debug)]
struct Run {
    at: u64,
    len: u64,
    /// The sync that covers them.
    sync: u64,
}

/// A file for the double-write area.
pub(crate) struct Copies {
    pub(crate) file: Arc<dyn DiskFile>,
    /// Slots it may have, and how long each is to be, in bytes.
    pub(crate) slots: usize,
    pub(crate) slot_bytes: u64,
    /// The log that redo has goes back to here.
    pub(crate) redo: Lsn,
    /// Nothing was written since the pages were all in place: there is nothing to restore.
    pub(crate) settled: bool,
}

impl Copies {
    /// Where a synced write goes through the system's cache, a failure may be told to whoever else syncs the file at that time, and
    /// not to who wrote: one sync at a time then, and none after one that failed (P9).
    fn behind_gate(mut self) -> Copies {
        self.file = Arc::new(GatedFile::for_copies(self.file));
        self
    }
}

/// Slots that are made in any case.
const FEW_SLOTS: usize = 4;
/// More than these only up to so many times the length of the page file. With one lap of the copies' own length some pages would
/// have lost theirs when they are written again.
const MOST_OF_LENGTH: u64 = 2;
/// What the cache holds for a store that is to pass it by, at most: in runs of pages, and in bytes.
const MOST_PASSING: (usize, u64) = (1024, 16 << 20);

impl FilePageStore {
    /// Over an open page file, which nobody else may sync from here on. `retired` is the batch number in the superblock;
    /// pages of a later batch are made whole and durable first, unless `read_only`.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        page_size: usize,
        store_id: u64,
        retired: u64,
        read_only: bool,
    ) -> Result<FilePageStore> {
        FilePageStore::open_with(file, path, (page_size, store_id), retired, read_only, None)
    }

    /// As [`FilePageStore::open`], with the double-write area in a file of its own; or without redo, and so without copies that
    /// serve more than one write.
    pub(crate) fn open_with(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        (page_size, store_id): (usize, u64),
        retired: u64,
        read_only: bool,
        copies: Option<Copies>,
    ) -> Result<FilePageStore> {
        let file = Arc::new(GatedFile::new(file));
        let in_pages = Area::in_page_file(file.clone());
        let copies = copies.map(Copies::behind_gate);
        let found = match &copies {
            Some(copies) => Area::found(&copies.file, store_id)?,
            None => None,
        };
        let redo = copies.as_ref().map_or(Lsn::MAX, |copies| copies.redo);
        let mut begun = retired;
        if !copies.as_ref().is_some_and(|copies| copies.settled) {
            let areas: Vec<&Area> = found.iter().chain([&in_pages]).collect();
            let batches = Found::read(&areas, store_id, page_size)?;
            if !read_only {
                batches.restore(&*file, page_size, retired, redo)?;
            }
            begun = begun.max(batches.last_number());
        }
        let (most, slot_bytes) =
            copies.as_ref().map_or((1, DOUBLE_WRITE_BYTES), |copies| (copies.slots, copies.slot_bytes));
        let kept = found.filter(|area| area.slot_bytes() == slot_bytes);
        let area = match (kept, copies) {
            (Some(area), _) if read_only || area.whole_slots()? > 0 => area,
            (_, Some(copies)) if !read_only => match Area::make(copies.file, store_id, slot_bytes) {
                Err(Error::NoSpace { .. }) => in_pages,
                made => made?,
            },
            _ => in_pages,
        };
        // The page file has one, and pages behind it.
        let most = if area.is_own() { most } else { 1 };
        if !read_only {
            // All pages are in place, and synced: none of them is needed.
            area.cut(most)?;
        }
        let copies = (slot_bytes as usize).saturating_sub(HEADER_BYTES) / page_size;
        let ring = Ring::new(begun, area.whole_slots()?, (most, copies), redo);
        let writing = Mutex::new(Writing { ring, passing: Passing::default() });
        Ok(FilePageStore {
            file,
            past: None,
            direct: false,
            path,
            page_size,
            store_id,
            area,
            writing,
            ended: Condvar::new(),
            #[cfg(feature = "btree")]
            giving: Mutex::new(()),
            demand: Demand::default(),
        })
    }

    /// With the same file opened by [`Disk::open_direct`](crate::io::Disk::open_direct): the double-write area, which is only
    /// read after a crash, goes past the system's cache. With `pages` so do reads of pages into frames, and parts of large values
    /// that are written as whole pages; pages that are written in place, many at a time and anywhere, go through
    /// the cache, which has the disk work on all of them at once, and leave it when they are synced.
    #[must_use]
    pub fn with_direct(mut self, file: Arc<dyn DiskFile>, pages: bool) -> FilePageStore {
        self.direct = pages && file.is_direct();
        self.past = file.is_direct().then_some(file);
        self
    }

    /// The first page id behind superblocks and double-write area.
    #[must_use]
    pub fn first_page_of(page_size: usize) -> PageId {
        PageId::new((DOUBLE_WRITE_START + DOUBLE_WRITE_BYTES).div_ceil(page_size as u64))
    }

    /// The page file, for those who write other parts of it: its syncs are the ones that all others go by (P9).
    #[cfg(feature = "btree")]
    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        self.file.clone()
    }

    /// The number of the last batch whose pages, and those of all before it, are durable in place: what a superblock may call
    /// retired.
    #[must_use]
    pub fn completed_batch(&self) -> u64 {
        let writing = self.writing.lock();
        writing.ring.completed(self.file.succeeded())
    }

    /// Syncs of the page file so far.
    #[cfg(all(test, feature = "btree", feature = "sim"))]
    pub(super) fn syncs(&self) -> u64 {
        self.file.next() - 1
    }

    /// Through which pages are read, and written where nobody refers to them yet.
    fn plain(&self) -> &dyn DiskFile {
        match &self.past {
            Some(past) if self.direct => &**past,
            _ => &*self.file,
        }
    }

    fn offset(&self, id: PageId) -> u64 {
        id.get().saturating_mul(self.page_size as u64)
    }

    /// A slot that nothing relies on any more, for the next batch, and the batch's number.
    fn claim_slot(&self) -> Result<(Claimed<'_>, u64)> {
        let mut writing = self.writing.lock();
        let (slot, number, needed) = loop {
            if writing.ring.wants_slot() {
                self.make_slot(&mut writing.ring)?;
            }
            match writing.ring.claim(self.file.succeeded()) {
                Some(claimed) => break claimed,
                None => self.ended.wait(&mut writing),
            }
        };
        drop(writing);
        let claimed = Claimed { store: self, slot, done: false };
        if !cfg!(pagebox_break = "double_write") {
            self.reach(needed)?;
        }
        Ok((claimed, number))
    }

    /// Makes the slot that the ring wants, or does without it: a store that is small needs few, and a disk may be full.
    fn make_slot(&self, ring: &mut Ring) -> Result<()> {
        if self.area.is_own() {
            let at = self.area.at(ring.slots());
            let length = self.file.len().map_err(|e| self.fail("read length", e));
            if length.as_ref().is_ok_and(|length| at > MOST_OF_LENGTH * length)
                && ring.slots() >= FEW_SLOTS
                && ring.wrap()
            {
                return Ok(());
            }
            match length.and_then(|_| self.area.make_room(ring.slots())) {
                Ok(()) => {}
                // Whatever the reason: nothing was touched, and those that are there serve.
                Err(_) if ring.wrap() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        ring.add_slot();
        Ok(())
    }

    /// For a full disk: gives up all slots that can be done without. Whether that made room.
    ///
    /// # Errors
    /// `Io`.
    #[cfg(feature = "btree")]
    pub(crate) fn give_room(&self) -> Result<bool> {
        let Some(_giving) = self.giving.try_lock() else {
            // Somebody else does; what that gives is there when he is done.
            drop(self.giving.lock());
            return Ok(true);
        };
        let mut writing = self.writing.lock();
        if !self.area.is_own() {
            return Ok(false);
        }
        let needed = loop {
            match writing.ring.shrink(FEW_SLOTS, self.file.succeeded()) {
                Some(needed) => break needed,
                None => self.ended.wait(&mut writing),
            }
        };
        drop(writing);
        self.reach(needed)?;
        Ok(self.area.cut(FEW_SLOTS).unwrap_or(false))
    }

    /// Writes the header and the images of a batch to a slot, and makes them durable. Before that nothing in place is touched.
    fn write_slot(&self, buffer: &[u8], slot: usize) -> Result<()> {
        let at = self.area.at(slot);
        let file = self.area.file();
        if self.area.is_own() && file.is_direct() {
            return file.write_at_sync(buffer, at).map_err(|e| self.fail("write the double-write file", e));
        }
        // Not a synced write of its own: where there is no such call, that is a sync of the whole file beside the gate (P9). And what
        // a sync answers is never that there is no room: no later one succeeds.
        let (write_to, sync): (&dyn DiskFile, &dyn DiskFile) = match (self.area.is_own(), &self.past) {
            (true, _) => (file, file),
            (false, Some(past)) => (&**past, &*self.file),
            (false, None) => (file, &*self.file),
        };
        write_to.write_at(buffer, at).map_err(|e| self.fail("write the double-write area", e))?;
        sync.sync_data().map_err(|e| self.fail_for_good("sync the double-write area", e))
    }

    /// Neighbours in the file that are neighbours in the buffer go out in one write.
    fn write_in_place(&self, buffer: &[u8], images: &[PageImage]) -> Result<()> {
        self.runs(images).try_for_each(|(at, bytes)| {
            let written = self.file.write_at(&buffer[bytes], at);
            written.map_err(|e| self.fail_for_good("write a page", e))
        })
    }

    /// Where in the file runs of neighbours lie, and where in the buffer.
    fn runs(&self, images: &[PageImage]) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
        let follows = |a: &PageImage, b: &PageImage| {
            a.offset + a.len == b.offset && self.offset(a.id) + a.len as u64 == self.offset(b.id)
        };
        images.chunk_by(follows).map(|run| {
            let (first, last) = (run[0], run[run.len() - 1]);
            (self.offset(first.id), first.offset..last.offset + last.len)
        })
    }

    /// Pages were written in place; the number of the sync that will cover that. A cache that is to be passed by is not to hold
    /// too much until then.
    fn wrote_in_place(&self, images: &[PageImage]) -> Result<u64> {
        let sync = self.file.next();
        if self.direct {
            let mut writing = self.writing.lock();
            let passing = &mut writing.passing;
            for (at, bytes) in self.runs(images) {
                passing.runs.push(Run { at, len: bytes.len() as u64, sync });
                passing.bytes += bytes.len() as u64;
            }
            if passing.runs.len() > MOST_PASSING.0 || passing.bytes > MOST_PASSING.1 {
                drop(writing);
                self.reach(sync)?;
            }
        }
        Ok(sync)
    }

    /// The cache lets go of what has been synced, if it is to be passed by.
    fn let_pass(&self) {
        if !self.direct {
            return;
        }
        let succeeded = self.file.succeeded();
        let mut writing = self.writing.lock();
        let passing = &mut writing.passing;
        let synced: Vec<Run> = passing.runs.extract_if(.., |run| run.sync <= succeeded).collect();
        passing.bytes -= synced.iter().map(|run| run.len).sum::<u64>();
        drop(writing);
        synced.iter().for_each(|run| self.file.forget(run.at, run.len));
    }

    /// Waits for the sync of this number; a cache that is to be passed by then lets go of what it covered.
    fn reach(&self, sync: u64) -> Result<()> {
        if sync == u64::MAX {
            // A write in place failed, and the pool is poisoned, or about to be.
            return Err(self.fail_for_good("write pages", std::io::Error::other("an earlier write failed")));
        }
        if self.file.succeeded() < sync {
            self.file.reach(sync).map_err(|e| self.fail_for_good("sync pages", e))?;
        }
        self.let_pass();
        Ok(())
    }

    /// Asks for a sync in the background if one will be needed soon.
    fn ask_for_sync(&self, ring: &Ring) {
        if self.demand.is_served() && ring.due(self.file.succeeded()).is_some() {
            self.demand.ask();
        }
    }

    /// What somebody does in the background: the sync that will be needed soon, if one will.
    ///
    /// # Errors
    /// `Io`.
    #[cfg(feature = "btree")]
    pub(crate) fn sync_ahead(&self) -> Result<()> {
        let due = self.writing.lock().ring.due(self.file.succeeded());
        due.map_or(Ok(()), |sync| self.reach(sync))
    }

    /// For the same: waits until there may be something to do, or `timeout` has passed.
    #[cfg(feature = "btree")]
    pub(crate) fn wait_for_due(&self, timeout: std::time::Duration) {
        self.demand.wait(timeout);
    }

    /// Wakes it, so that it can see that it is to end.
    #[cfg(feature = "btree")]
    pub(crate) fn wake_syncer(&self) {
        self.demand.wake();
    }

    fn fail(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::io(op, Some(&self.path), error)
    }

    /// As `fail`, but never `NoSpace`: pages were touched, so the caller must not try again.
    fn fail_for_good(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::Io { op, path: Some(self.path.clone()), source: std::sync::Arc::new(error) }
    }
}

/// A slot with a batch under way. Dropped before its end by a failure or a panic.
struct Claimed<'s> {
    store: &'s FilePageStore,
    slot: usize,
    done: bool,
}

impl Claimed<'_> {
    fn end(mut self, how: impl FnOnce(&mut Ring, usize)) {
        let mut writing = self.store.writing.lock();
        how(&mut writing.ring, self.slot);
        self.store.ask_for_sync(&writing.ring);
        self.done = true;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.store.writing.lock().ring.failed(self.slot);
        }
        self.store.ended.notify_all();
    }
}

/// Pages being written in place that rely on copies which are there already.
struct Relying<'s> {
    store: &'s FilePageStore,
    slots: Vec<usize>,
    /// What covers it when it is done.
    sync: Option<u64>,
}

impl Drop for Relying<'_> {
    fn drop(&mut self) {
        self.store.writing.lock().ring.relied(&self.slots, self.sync);
        self.store.ended.notify_all();
    }
}

fn beyond_end(id: PageId) -> Error {
    Error::corrupted(Site::Page(id), "lies beyond the end of the page file")
}

impl PageStore for FilePageStore {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn first_page(&self) -> PageId {
        Self::first_page_of(self.page_size)
    }

    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        let n = self.plain().read_at(out, self.offset(id)).map_err(|e| self.fail("read a page", e))?;
        if n < out.len() { Err(beyond_end(id)) } else { Ok(()) }
    }

    fn read_page(&self, id: PageId, page: &mut PageWriter<'_>) -> Result<()> {
        let n = self.plain().read_page(page, self.offset(id)).map_err(|e| self.fail("read a page", e))?;
        if n < page.len() { Err(beyond_end(id)) } else { Ok(()) }
    }

    fn prefetch(&self, id: PageId, len: usize) {
        self.plain().prefetch(self.offset(id), len as u64);
    }

    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        let (claimed, number) = self.claim_slot()?;
        double_write::encode(buffer, self.store_id, number, images);
        // Nothing in place is touched before it is durable: an error up to here leaves every page whole.
        if let Err(error) = self.write_slot(buffer, claimed.slot) {
            claimed.end(|ring, slot| ring.abandon(slot));
            return Err(error);
        }
        self.write_in_place(buffer, images)?;
        let sync = self.wrote_in_place(images)?;
        claimed.end(|ring, slot| ring.wrote(slot, buffer, images, sync));
        Ok(())
    }

    fn has_copy(&self, id: PageId) -> bool {
        self.writing.lock().ring.serves(id)
    }

    fn write_again(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        let slots = self.writing.lock().ring.rely(images);
        let Some(slots) = slots else { return self.write_batch(buffer, images) };
        let mut relying = Relying { store: self, slots, sync: None };
        self.write_in_place(buffer, images)?;
        relying.sync = Some(self.wrote_in_place(images)?);
        Ok(())
    }

    fn raise_floor(&self, redo: Lsn) {
        if !cfg!(pagebox_break = "copy_floor") {
            self.writing.lock().ring.raise_floor(redo);
        }
    }

    fn write_fresh(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        self.write_in_place(buffer, images)?;
        self.wrote_in_place(images).map(|_| ())
    }

    fn grow(&self, from: PageId, end: PageId) -> Result<()> {
        let start = self.offset(from);
        self.file
            .allocate(start, self.offset(end).saturating_sub(start))
            .map_err(|e| self.fail("extend the page file", e))
    }

    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.plain().write_at(bytes, self.offset(start)).map_err(|e| self.fail("write unlogged pages", e))
    }

    fn write_past(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        let file: &dyn DiskFile = match &self.past {
            Some(past) => &**past,
            None => &*self.file,
        };
        file.write_at(bytes, self.offset(start)).map_err(|e| self.fail("write unlogged pages", e))
    }

    fn write_run(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.plain().write_at(bytes, self.offset(start)).map_err(|e| self.fail("write a run of pages", e))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| self.fail_for_good("sync the page file", e))?;
        self.let_pass();
        Ok(())
    }
}
