//! Write-back: how a dirty page becomes a clean one without ever being half on disk.
//!
//! | step | who may change the page | what holds |
//! |---|---|---|
//! | copy under the shared latch, `WRITING` set | nobody | at most one write per frame in flight (P4) |
//! | checksum of the copy | anybody | |
//! | log durable to the greatest LSN copied | anybody | the WAL rule (P5) |
//! | copies to the double-write area, durable; the same copies in place | anybody | a torn page has an intact copy (P7) |
//! | under the shared latch, by try: same version as when copied? then clean | nobody | P6 |
//!
//! **Clean does not mean durable in place.** That takes a sync of the page file, and one serves many batches: before a slot of the
//! double-write area is overwritten (P7), before a superblock says where redo begins (C2), and at the end of [`flush_before`].
//! Until then the log, and the copies, bring back what the system's cache may lose. Whoever reads the page meanwhile is served by
//! that cache.
//!
//! Pages go out in three [ways](Way), in this order:
//!
//! | way | which pages | why no copy |
//! |---|---|---|
//! | again | that have a copy from an earlier batch which the log goes back to | redo brings it forward (P11) |
//! | copied | all others | |
//! | fresh | never written since the record that initialized them | dirty since, so redo starts at that record or before, and makes them from nothing (P10) |
//!
//! [`flush_before`]: BufferPool::flush_before
//!
//! If the page did change, it stays dirty, and its recovery LSN becomes the LSN of the copy: whatever changed it since
//! starts there or later.
//!
//! A turn waits for no latch ([`flushers`](super::flushers)): what is latched it leaves for the next.
//!
//! The flusher's turn ends in one of three ways: all copies are settled; a failure poisons the pool and settles them as not
//! written; a panic below it does the same, before the next one gets the turn. `WRITING` never outlives a turn. Nothing is
//! copied of a poisoned pool: who panicked in the middle of a change poisoned it before unlatching the page (W5).

use super::BufferPool;
use super::flushers::{FlushBuffer, Flusher};
use super::frame::{DIRTY, FRESH, FrameHeader, Frames, WRITING};
use super::page_store::PageImage;
use super::view::PageRef;
use crate::error::{Error, Result, Site};
use crate::latch::SharedGuard;
use crate::page::bytes::OutOfBounds;
use crate::page::header;
use crate::sync::Ordering;
use crate::types::{FrameId, Lsn, PageId, SizeClass};

/// How a page goes to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Again,
    Copied,
    Fresh,
}

/// In the order in which they are taken: what has no copy at first is among the copied whether it has one by then or not, and what
/// was fresh then is fresh at last, or somebody else has written it.
const WAYS: [Way; 3] = [Way::Again, Way::Copied, Way::Fresh];

/// One frame whose copy is in the buffer.
pub(super) struct Copy {
    class: SizeClass,
    frame: FrameId,
    version: u64,
    lsn: Lsn,
}

/// A flusher's turn.
struct Turn<'p> {
    pool: &'p BufferPool,
    /// Released after `Drop::drop` has run.
    buffer: Flusher<'p>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.buffer.copies.is_empty() {
            self.pool.poison("writing pages ended in the middle");
            self.pool.settle(&mut self.buffer, false);
        }
    }
}

impl BufferPool {
    /// For an eviction: writes those of `frames` that are dirty and not latched, if a turn is to be had within the wait for a frame.
    pub(super) fn write_victims(&self, class: SizeClass, frames: &[FrameId]) -> Result<()> {
        match self.flushers.take_within(self.options.wait) {
            Some(buffer) => self.write_frames(buffer, class, frames).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Writes those of `frames` that are dirty and not latched. Returns how many images were written, and which frames were skipped
    /// because they were latched.
    fn write_frames(&self, buffer: Flusher<'_>, class: SizeClass, frames: &[FrameId]) -> Result<(usize, Vec<FrameId>)> {
        let mut turn = Turn { pool: self, buffer };
        self.check_poison()?;
        let (mut written, mut latched) = (0, Vec::new());
        for way in WAYS {
            for &frame in frames {
                if turn.buffer.used + self.page_bytes(class) > turn.buffer.bytes.len() {
                    written += self.write_out(&mut turn.buffer, way)?;
                }
                if !self.copy_frame(&mut turn.buffer, class, frame, way)? && !latched.contains(&frame) {
                    latched.push(frame);
                }
            }
            written += self.write_out(&mut turn.buffer, way)?;
        }
        Ok((written, latched))
    }

    /// Writes every page that was dirtied before `before`, and syncs them. Writers go on meanwhile. Returns how many images were
    /// written.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, `Poisoned`, and what the log gives.
    pub fn flush_before(&self, before: Lsn) -> Result<usize> {
        let written = self.flush_paced(before, |_| {})?;
        // What was written before, by whom ever, counts too; and what somebody else is writing now may be among it.
        self.wait_for_turns();
        self.sync_written()?;
        Ok(written)
    }

    /// Waits for the end of all turns under way.
    pub(crate) fn wait_for_turns(&self) {
        drop(self.flushers.take_all());
    }

    /// From here on redo may begin at `redo`: what goes to disk behind this call relies on no older copy (P11). For a checkpoint,
    /// before it syncs the page file. Waits for all flushers.
    #[cfg(feature = "btree")]
    pub(crate) fn raise_floor(&self, redo: Lsn) {
        // Between turns: what a turn has decided holds to its end.
        let _turns = self.flushers.take_all();
        self.store.raise_floor(redo);
    }

    /// As [`BufferPool::flush_before`], without the sync: the page half of a checkpoint. After each batch asks `pace`, which may
    /// wait, with the share that is done. Nothing is held then.
    pub(crate) fn flush_paced(&self, before: Lsn, mut pace: impl FnMut(f64)) -> Result<usize> {
        let dirty: Vec<(SizeClass, Vec<FrameId>)> =
            self.frames.iter().map(|frames| (frames.class, dirtied_before(frames, before))).collect();
        let bytes = |class, frames: &[FrameId]| (frames.len() * self.page_bytes(class)) as f64;
        let all: f64 = dirty.iter().map(|(class, frames)| bytes(*class, frames)).sum();
        let chunks = || {
            dirty.iter().flat_map(|(class, frames)| {
                let batch = (self.batch_bytes / self.page_bytes(*class)).max(1);
                frames.chunks(batch).map(|frames| (*class, frames))
            })
        };
        let (mut written, mut done) = (0, 0.0);
        for (class, batch) in chunks() {
            written += self.write_due(class, batch, before)?;
            done += bytes(class, batch);
            pace(done / all);
        }
        if self.flushers.are_many() {
            // What somebody else was writing was left out, and may have changed behind his copy.
            self.wait_for_turns();
            for (class, batch) in chunks() {
                written += self.write_due(class, batch, before)?;
            }
        }
        Ok(written)
    }

    /// Writes those of `frames` that are still dirtied before `before`: meanwhile one may have got another page, or its page have
    /// been written and changed since.
    fn write_due(&self, class: SizeClass, frames: &[FrameId], before: Lsn) -> Result<usize> {
        let still = |frame: &FrameId| is_dirtied_before(&self.frames[class.get() as usize], *frame, before);
        let due: Vec<FrameId> = frames.iter().copied().filter(still).collect();
        if due.is_empty() {
            return Ok(0);
        }
        let (mut written, latched) = self.write_frames(self.flushers.take(), class, &due)?;
        for frame in latched.into_iter().filter(still) {
            written += self.write_latched(class, frame)?;
        }
        Ok(written)
    }

    /// Waits for the frame's latch, in no turn, and writes the page if it is dirty then.
    #[cold]
    fn write_latched(&self, class: SizeClass, frame: FrameId) -> Result<usize> {
        let Some(header) = self.frames[class.get() as usize].header(frame) else { return Ok(0) };
        let mut guard = header.latch.shared();
        let mut buffer = self.flushers.try_take();
        if buffer.is_none() {
            // Not under the latch: who wants to change the page would wait for the disk.
            drop(guard);
            drop(self.flushers.take());
            guard = header.latch.shared();
            buffer = self.flushers.try_take();
        }
        // Now under the latch, so that nobody gets it once more before: who has a turn does not wait for it.
        let buffer = buffer.unwrap_or_else(|| self.flushers.take());
        let mut turn = Turn { pool: self, buffer };
        let way = WAYS.into_iter().find(|way| self.goes(*way, header)).unwrap_or(Way::Copied);
        self.copy_latched(&mut turn.buffer, (class, frame), way, guard)?;
        self.write_out(&mut turn.buffer, way)
    }

    /// Writes every dirty page.
    ///
    /// # Errors
    /// As [`BufferPool::flush_before`].
    pub fn flush_all(&self) -> Result<usize> {
        self.flush_before(Lsn::MAX)
    }

    /// The least recovery LSN of all pages that are dirty, or written but not known to be synced; [`Lsn::MAX`] if there are none.
    /// For a checkpoint: read the append position T first, call [`BufferPool::flush_before`] with it, then this; redo may start at
    /// the lesser of both (C2).
    #[must_use]
    pub fn min_recovery_lsn(&self) -> Lsn {
        // In this order: a page is noted as written before it can be found clean.
        let dirty = self.min_dirty_lsn();
        dirty.min(self.unsynced.least())
    }

    /// As [`BufferPool::min_recovery_lsn`], for who syncs the page file after this and before redo may start there.
    pub(crate) fn min_dirty_lsn(&self) -> Lsn {
        let mut least = Lsn::MAX;
        for frames in &self.frames {
            for frame in 0..frames.used() as u32 {
                if let Some(lsn) = frames.header(FrameId::new(frame)).and_then(|header| header.recovery_lsn()) {
                    least = least.min(lsn);
                }
            }
        }
        least
    }

    /// Copies one frame into the buffer if it is dirty and goes this way, and marks it as being written (P4). False if it is latched:
    /// a turn does not wait for that.
    fn copy_frame(&self, buffer: &mut FlushBuffer, class: SizeClass, frame: FrameId, way: Way) -> Result<bool> {
        let frames = &self.frames[class.get() as usize];
        // What is skipped now is taken in a later pass, unless somebody else takes it: a page gets older, and may lose its copy.
        let Some(header) = frames.header(frame).filter(|header| self.goes(way, header)) else { return Ok(true) };
        let Some(guard) = header.latch.try_shared() else { return Ok(false) };
        self.copy_latched(buffer, (class, frame), way, guard).map(|()| true)
    }

    /// As `copy_frame`, under the frame's latch.
    fn copy_latched(
        &self,
        buffer: &mut FlushBuffer,
        (class, frame): (SizeClass, FrameId),
        way: Way,
        guard: SharedGuard<'_>,
    ) -> Result<()> {
        let frames = &self.frames[class.get() as usize];
        let Some(header) = frames.header(frame) else { return Ok(()) };
        let id = header.page();
        if id.is_none() || !header.has(DIRTY) || header.has(WRITING) || !self.goes(way, header) {
            return Ok(());
        }
        // Under the latch: the page may be half changed, by a thread that panicked while this one waited (W5).
        self.check_poison()?;
        // At once asked and set: another turn may hold the same latch (P4).
        let before = header.set(WRITING);
        if before & WRITING != 0 {
            return Ok(());
        }
        // Another turn, which held the same latch, may have written it since it was looked at.
        if before & DIRTY == 0 || (before & FRESH != 0) != (way == Way::Fresh) {
            header.clear(WRITING);
            return Ok(());
        }
        let page = PageRef { pool: self, data: frames.data(frame), id, class, guard };
        let offset = buffer.used;
        // Before the copy is made: whatever comes of it, the end of the turn takes the mark away.
        buffer.marked = true;
        buffer.copies.push(Copy { class, frame, version: page.version(), lsn: Lsn::NONE });
        let lsn = copy_page(&page, &mut buffer.bytes[offset..offset + frames.bytes]).map_err(|OutOfBounds| {
            let error = Error::corrupted(Site::Page(id), "its header in memory is not that of such a page");
            self.poison(&error.to_string());
            error
        })?;
        if let Some(copy) = buffer.copies.last_mut() {
            copy.lsn = lsn;
        }
        buffer.images.push(PageImage { id, class, offset, len: frames.bytes });
        buffer.used += frames.bytes;
        Ok(())
    }

    /// Whether the frame's page is to be taken in this pass. Exact under its latch, a hint otherwise.
    fn goes(&self, way: Way, header: &FrameHeader) -> bool {
        match way {
            Way::Fresh => header.has(FRESH),
            Way::Copied => !header.has(FRESH),
            Way::Again => !header.has(FRESH) && self.store.has_copy(header.page()),
        }
    }

    /// Everything after the copies were made, for all of them together.
    fn write_out(&self, buffer: &mut FlushBuffer, way: Way) -> Result<usize> {
        if buffer.images.is_empty() {
            return Ok(0);
        }
        for image in &buffer.images {
            let copy = &mut buffer.bytes[image.offset..image.offset + image.len];
            let sum = header::checksum(copy);
            copy[header::CHECKSUM..header::CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
        }
        let newest = buffer.copies.iter().map(|copy| copy.lsn).max().unwrap_or(Lsn::NONE);
        let newest = if cfg!(pagebox_break = "wal_rule") { Lsn::NONE } else { newest };
        let result = self.log.make_durable(newest).and_then(|()| {
            let used = buffer.used;
            let (bytes, images) = (&mut buffer.bytes[..used], &buffer.images);
            match way {
                Way::Again => self.store.write_again(bytes, images),
                Way::Copied => self.store.write_batch(bytes, images),
                Way::Fresh => self.store.write_fresh(bytes, images),
            }?;
            // Poisoned meanwhile: what is on disk is unknown, of these pages too.
            self.check_poison()
        });
        match &result {
            Ok(()) | Err(Error::NoSpace { .. }) => {}
            Err(error) => self.poison(&format!("writing pages failed: {error}")),
        }
        let written = self.settle(buffer, result.is_ok());
        result?;
        // Relaxed: statistics.
        self.counters.pages_written.fetch_add(written as u64, Ordering::Relaxed);
        self.counters.write_batches.fetch_add(1, Ordering::Relaxed);
        Ok(written)
    }

    /// The end of the writes of all copies, which leave the buffer; how many there were.
    fn settle(&self, buffer: &mut FlushBuffer, written: bool) -> usize {
        for copy in &buffer.copies {
            self.settle_frame(copy, written);
        }
        let copies = buffer.copies.len();
        buffer.reset();
        copies
    }

    /// The end of a frame's write: clean if it is what was written (P6).
    fn settle_frame(&self, copy: &Copy, written: bool) {
        let Some(header) = self.frames[copy.class.get() as usize].header(copy.frame) else { return };
        if written {
            if let Some(recovery) = header.recovery_lsn() {
                self.unsynced.note(recovery);
            }
            if !cfg!(pagebox_break = "fresh_again") {
                // Before it can be found clean: from now on there is an image that a torn write could destroy (P10).
                header.clear(FRESH);
            }
            match header.latch.try_shared() {
                Some(guard) if guard.version() == copy.version => header.clear(DIRTY),
                // Latched or changed since: every change after the copy was logged at the copy's LSN or later. Whoever
                // holds the latch finds DIRTY set and leaves the recovery LSN alone.
                _ if copy.lsn != Lsn::NONE => header.set_recovery_lsn(copy.lsn),
                _ => {}
            }
        }
        header.clear(WRITING);
    }
}

fn is_dirtied_before(frames: &Frames, frame: FrameId, before: Lsn) -> bool {
    frames.header(frame).and_then(|header| header.recovery_lsn()).is_some_and(|lsn| lsn < before)
}

/// The frames of a class with pages that were dirtied before `before`: fresh ones behind the others, for the two go out in
/// different ways, and each in the order of their places, so that neighbours are written as one.
fn dirtied_before(frames: &Frames, before: Lsn) -> Vec<FrameId> {
    let mut found: Vec<(bool, PageId, FrameId)> = (0..frames.used() as u32)
        .map(FrameId::new)
        .filter_map(|frame| {
            let header = frames.header(frame).filter(|_| is_dirtied_before(frames, frame, before))?;
            Some((header.has(FRESH), header.page(), frame))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, _, frame)| frame).collect()
}

/// Copies a page as it goes to disk: swip hints masked, checksum still to come. Returns its LSN. What would not be taken
/// for this page when it is read back is not written.
fn copy_page(page: &PageRef<'_>, out: &mut [u8]) -> Result<Lsn, OutOfBounds> {
    let reader = page.reader();
    let found = header::PageHeader::read(reader)?;
    let swips = found.swips(out.len())?;
    if found.id != page.id || found.class != page.class {
        return Err(OutOfBounds);
    }
    reader.copy_to(0, &mut out[..swips.start])?;
    reader.copy_to(swips.end, &mut out[swips.end..])?;
    for at in swips.step_by(8) {
        // Other holders of the shared latch may repair hints: these words are read atomically, one by one (L3).
        let swip = page.swip(at).ok_or(OutOfBounds)?;
        out[at..at + 8].copy_from_slice(&swip.load().masked().to_bits().to_le_bytes());
    }
    Ok(found.lsn)
}
