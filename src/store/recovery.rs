//! Recovery: from what a crash left to a store that continues.
//!
//! | step | writes |
//! |---|---|
//! | the newest valid superblock; the log either copy needs is there | nothing |
//! | the log is read from the redo place to its end, and judged ([`wal::scan`]); pages that redo will want are asked for ([`super::ahead`]) | nothing |
//! | the accepted tail of the log is written again and synced ([`Wal::open_at`]) | log bytes that are there already |
//! | pages that have copies which the log goes back to are restored if torn, and synced ([`FilePageStore::open`]) | those pages |
//! | the allocator: snapshot, then the allocations and frees behind S | nothing |
//! | redo: every part of every record behind the redo LSN | dirty pages, when frames run out |
//! | both superblocks: a higher incarnation, the accepted end (W4) | superblocks; now groups may be written |
//!
//! Every step can crash and be begun again: until the superblocks are written the store is the one that was found, but
//! for pages that redo brought forward and that page LSNs tell apart.
//!
//! **Redo.** A part is skipped if the page's LSN says that it is in it already; a part that makes a page from nothing is
//! never skipped, and the page is never read for it. A page that any record behind the redo LSN names counts as dirty
//! from that record on, skipped or not: what the cache returns after a failed sync is not proof of being on disk. A page
//! whose LSN lies beyond the end of the log proves that the log has lost what was durable: `Corrupted`.

use super::ahead::Ahead;
use super::engine::LogForPool;
use super::files::Files;
use super::options::{Progress, StoreOptions};
use super::superblock::{Found, Superblock};
use crate::btree::{extent_of, redo_part};
use crate::error::{Error, Result, Site};
use crate::io::{Disk, DiskFile, OpenMode};
use crate::page::header;
use crate::pool::{BufferPool, Copies, DurableLog, Extent, FilePageStore, NoLog, PageStore, PoolOptions, Snapshot};
use crate::sync::Arc;
use crate::types::{Lsn, PageId, PageKind};
use crate::wal::{self, LogTail, Part, Record, RecoveryPoint, Wal, WalOptions};

/// What comes out.
pub(crate) struct Recovered {
    pub(crate) page_store: Arc<FilePageStore>,
    pub(crate) pool: Arc<BufferPool>,
    /// `None` when only reading.
    pub(crate) wal: Option<Arc<Wal>>,
    /// What the superblocks are to say; not yet written.
    pub(crate) superblock: Superblock,
    pub(crate) end: Lsn,
    pub(crate) records: u64,
}

/// What recovery works on.
pub(crate) struct Source<'a> {
    pub(crate) files: &'a Files,
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) page_file: &'a Arc<dyn DiskFile>,
    /// The same one, for what goes past the system's cache.
    pub(crate) direct_file: Arc<dyn DiskFile>,
    pub(crate) options: &'a StoreOptions,
    pub(crate) found: Found,
    pub(crate) wal: WalOptions,
    pub(crate) pool: PoolOptions,
}

/// Records between two reports of progress.
const REPORT_EVERY: u64 = 4096;

impl Source<'_> {
    /// Brings everything up to the end of the log; read-only, it only finds out that there is nothing to bring.
    ///
    /// # Errors
    /// `Corrupted`, `NeedsRecovery` (read-only), `Io`, `NoSpace`, `PoolExhausted`.
    pub(crate) fn recover(&self) -> Result<Recovered> {
        self.check_files()?;
        let tail = self.find_end()?;
        if self.options.read_only {
            return self.open_read_only(&tail);
        }
        let newest = &self.found.newest;
        let (end, incarnation) = (tail.end(), tail.highest_incarnation() + 1);
        let keep = self.found.older.map_or(newest.place.segment, |older| older.place.segment);
        let log = Wal::open_at(
            self.disk.clone(),
            &self.files.wal,
            newest.store_id,
            tail.clone().keep_from(keep),
            incarnation,
            self.wal,
        )?;
        let log = Arc::new(log);
        let (page_store, pool) = self.open_pool(Arc::new(LogForPool(log.clone())), end.lsn)?;
        self.restore_allocator(&pool, &page_store)?;
        let (records, next_tree) = self.redo(&pool, end.lsn, tail.records())?;
        pool.allocator().settle()?;
        let superblock = Superblock {
            sequence: newest.sequence + 1,
            incarnation,
            accepted_end: end.lsn,
            durable: log.durable_lsn(),
            next_tree: newest.next_tree.max(next_tree),
            closed: false,
            ..*newest
        };
        self.options.report(Progress::Recovered { records });
        Ok(Recovered { page_store, pool, wal: Some(log), superblock, end: end.lsn, records })
    }

    /// What must be there before anything is read: all of the page file that was made durable, and the log that either
    /// superblock needs (C1).
    fn check_files(&self) -> Result<()> {
        let newest = &self.found.newest;
        let len = self.page_file.len().map_err(|e| Error::io("read length", Some(&self.files.pages), e))?;
        let least = newest.file_end.get().saturating_mul(u64::from(newest.page_size));
        if len < least {
            let site = Site::File(self.files.pages.clone());
            return Err(Error::corrupted(site, format!("{len} bytes long, but it was {least} at least")));
        }
        let first = self.found.older.map_or(newest.place.segment, |older| older.place.segment);
        let names =
            self.disk.list(&self.files.wal).map_err(|e| Error::io("list log directory", Some(&self.files.wal), e))?;
        // The segment of the older place itself may rightly be gone: a place at the end of a segment that is full, or whose
        // rest was too short for the next group, is taken up by the next one. Whether the newest place can be read from
        // is for the scan to say.
        for segment in first.saturating_add(1)..=newest.place.segment {
            let name = format!("{segment:016x}.log");
            if !names.iter().any(|there| there.as_os_str() == name.as_str()) {
                let site = Site::File(self.files.wal.join(name));
                return Err(Error::corrupted(site, "a log segment that a superblock needs is missing"));
            }
        }
        Ok(())
    }

    fn point(&self) -> RecoveryPoint {
        let newest = &self.found.newest;
        // Both copies' word counts: an older copy can know no more than the newest, but it costs nothing to believe it.
        let proven = self.found.older.map_or(newest.durable, |older| older.durable.max(newest.durable));
        RecoveryPoint {
            store_id: newest.store_id,
            from: newest.place,
            incarnation: newest.incarnation,
            accepted_end: newest.accepted_end,
            proven,
            // Until the next session has written both copies, nothing is written behind the end (W4).
            end_known: newest.closed && newest.redo == newest.durable,
        }
    }

    /// The first reading of the log: where it ends, and that it is whole up to there.
    fn find_end(&self) -> Result<LogTail> {
        let mut bytes = 0;
        let report = |more| {
            bytes += more;
            self.options.report(Progress::LogScanned { bytes });
        };
        let point = self.point();
        let newest = &self.found.newest;
        // What is read past the system's cache finds nothing in it.
        let pages = if self.options.direct_io { 0 } else { self.options.memory / newest.page_size as usize };
        let mut ahead = Ahead::new(&**self.page_file, newest.page_size, newest.redo, pages);
        let ask = |_, lsn, record: &Record<'_>| {
            ahead.record(lsn, record);
            Ok(())
        };
        let tail = wal::scan(&**self.disk, &self.files.wal, &point, ask, report)?;
        if !point.end_known || tail.end().lsn == self.found.newest.redo {
            return Ok(tail);
        }
        // Groups behind the end that the superblock claims: it is not believed.
        let point = RecoveryPoint { end_known: false, ..point };
        wal::scan(&**self.disk, &self.files.wal, &point, |_, _, _| Ok(()), |_| {})
    }

    /// `end`: of the log.
    fn open_pool(&self, log: Arc<dyn DurableLog>, end: Lsn) -> Result<(Arc<FilePageStore>, Arc<BufferPool>)> {
        let newest = &self.found.newest;
        let page_size = newest.page_size as usize;
        let page_store = FilePageStore::open_with(
            self.page_file.clone(),
            self.files.pages.clone(),
            (page_size, newest.store_id),
            newest.retired_batch,
            self.options.read_only,
            self.copies(end)?,
        )?;
        let page_store = Arc::new(page_store.with_direct(self.direct_file.clone(), self.options.direct_io));
        let pool = BufferPool::new(page_store.clone(), log, self.pool.clone())?;
        Ok((page_store, Arc::new(pool)))
    }

    /// The file for copies of pages; there is none only where nothing is to be written.
    fn copies(&self, end: Lsn) -> Result<Option<Copies>> {
        let newest = &self.found.newest;
        let mode = if self.options.read_only { OpenMode::Read } else { OpenMode::ReadWrite };
        let file = match self.disk.open_direct(&self.files.copies, mode) {
            Err(e) if self.options.read_only && e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| Error::io("open the double-write file", Some(&self.files.copies), e))?,
        };
        let plan = self.pool.plan(newest.page_size as usize)?;
        let slot_bytes = plan.batch_bytes as u64;
        let wanted = self.options.max_copy_bytes.map_or(usize::MAX, |bytes| (bytes / slot_bytes) as usize);
        let slots = plan.copy_slots.min(wanted).max(1);
        // Pages may have been written behind the last checkpoint that say nothing newer than it: only a close says that none were.
        let settled = newest.closed && end == newest.redo;
        Ok(Some(Copies { file, slots, slot_bytes, redo: newest.redo, settled }))
    }

    /// The allocator as of the newest snapshot, with the extents of both superblocks' snapshots held (A4).
    fn restore_allocator(&self, pool: &BufferPool, page_store: &FilePageStore) -> Result<()> {
        let newest = &self.found.newest;
        let snapshot = read_snapshot(page_store, newest)?;
        let mut held: Vec<Extent> = newest.snapshot().into_iter().collect();
        held.extend(self.found.older.and_then(|older| older.snapshot()).filter(|older| !held.contains(older)));
        pool.allocator().restore(&snapshot, &held)
    }

    /// A store that was closed cleanly has nothing behind its redo LSN, and all its pages in place.
    fn open_read_only(&self, tail: &LogTail) -> Result<Recovered> {
        let newest = self.found.newest;
        let (page_store, pool) = self.open_pool(Arc::new(NoLog), tail.end().lsn)?;
        // An empty log: the creation ended before the catalog was made.
        let unfinished = tail.end().lsn == Lsn::FIRST;
        // Pages may be torn in place that say nothing newer than the log's end.
        let torn = page_store.completed_batch() > newest.retired_batch;
        if unfinished || torn || tail.end().lsn > newest.redo {
            return Err(Error::NeedsRecovery { path: self.files.dir.clone() });
        }
        self.restore_allocator(&pool, &page_store)?;
        Ok(Recovered { page_store, pool, wal: None, superblock: newest, end: tail.end().lsn, records: 0 })
    }

    /// The second reading: every record behind the redo LSN is applied. Returns how many there were, and a number above
    /// those of all trees that they made: one may be gone again, and numbers are never used twice.
    fn redo(&self, pool: &BufferPool, end: Lsn, of: u64) -> Result<(u64, u32)> {
        let newest = &self.found.newest;
        let mut redo = Redo { pool, end, snapshot: newest.snapshot_lsn, next_tree: 0 };
        let mut records = 0;
        let apply = |start: Lsn, lsn: Lsn, record: &Record<'_>| {
            if lsn > newest.redo {
                redo.record(start, lsn, record)?;
                records += 1;
                if records % REPORT_EVERY == 0 {
                    self.options.report(Progress::Redone { records, of });
                }
            }
            Ok(())
        };
        // Searched behind its end already, if that was called for.
        let point = RecoveryPoint { end_known: true, ..self.point() };
        let tail = wal::scan(&**self.disk, &self.files.wal, &point, apply, |_| {})?;
        if tail.end().lsn != end {
            let detail = format!("ended at {end} when it was first read, and at {} now", tail.end().lsn);
            return Err(Error::corrupted(Site::Log(end), detail));
        }
        Ok((records, redo.next_tree))
    }
}

/// The snapshot that a superblock names; that of an empty store if it names none.
pub(crate) fn read_snapshot(page_store: &FilePageStore, superblock: &Superblock) -> Result<Snapshot> {
    let Some(extent) = superblock.snapshot() else {
        let end = page_store.first_page();
        return Ok(Snapshot { lsn: superblock.snapshot_lsn, end, free: Vec::new(), pending: Vec::new() });
    };
    let damaged = |detail| Error::corrupted(Site::FreeSpace, detail);
    if extent.start < page_store.first_page() || extent.end() > PageId::MAX || extent.units > 1 << 21 {
        return Err(damaged("the superblock's place for it is no such place"));
    }
    let mut bytes = vec![0; extent.units as usize * page_store.page_size()];
    page_store.read(extent.start, &mut bytes)?;
    let snapshot = Snapshot::decode(&bytes)?;
    if snapshot.lsn != superblock.snapshot_lsn {
        return Err(damaged("the snapshot is not the one that the superblock names"));
    }
    Ok(snapshot)
}

/// Applies parts to pages.
struct Redo<'a> {
    pool: &'a BufferPool,
    /// The end of the log.
    end: Lsn,
    /// S: allocations and frees up to here are in the allocator's snapshot.
    snapshot: Lsn,
    /// Above the number of every tree of which a record made a page.
    next_tree: u32,
}

/// The operations of [`PageKind::SPACE`] parts.
const SPACE_ALLOCATE: u8 = 1;
const SPACE_FREE: u8 = 2;

impl Redo<'_> {
    /// All of the record from `start` to `lsn`, page by page: the parts of one page (a batch has many) under one latch, for
    /// a page that left memory with some of them and the record's LSN would never get the others.
    fn record(&mut self, start: Lsn, lsn: Lsn, record: &Record<'_>) -> Result<()> {
        let (space, mut parts): (Vec<_>, Vec<_>) = record.parts().partition(|part| part.kind == PageKind::SPACE);
        for part in space {
            self.space(lsn, &part)?;
        }
        // Stable: the order within a page is kept, and that between pages does not matter.
        parts.sort_by_key(|part| part.page);
        for parts in parts.chunk_by(|a, b| a.page == b.page) {
            self.page(start, lsn, parts)?;
        }
        Ok(())
    }

    /// What one record does to one page.
    fn page(&mut self, start: Lsn, lsn: Lsn, parts: &[Part<'_>]) -> Result<()> {
        let first = &parts[0];
        let mut page = if first.init {
            self.pool.redo_init(first.page, first.class)?
        } else {
            self.pool.exclusive(first.page, first.class)?
        };
        if page.lsn() > self.end {
            let detail = format!("holds {}, but the log ends at {}", page.lsn(), self.end);
            return Err(Error::corrupted(Site::Page(first.page), detail));
        }
        if !first.init && page.lsn() >= lsn {
            page.redo_dirty(start);
            return Ok(());
        }
        page.begin_change(start);
        let applied = parts.iter().try_for_each(|part| match part.kind {
            PageKind::BTREE => redo_part(page.writer(), lsn, part),
            kind => Err(Error::corrupted(Site::Log(start), format!("a part of unknown kind {}", kind.get()))),
        });
        if first.init && first.kind == PageKind::BTREE {
            let tree = page.reader().u32(header::TREE).unwrap_or_default();
            self.next_tree = self.next_tree.max(tree.saturating_add(1));
        }
        page.finish_change(lsn);
        applied
    }

    fn space(&self, lsn: Lsn, part: &Part<'_>) -> Result<()> {
        if lsn <= self.snapshot {
            return Ok(());
        }
        let allocator = self.pool.allocator();
        match part.op {
            SPACE_ALLOCATE => allocator.replay_allocation_of(extent_of(part)?),
            SPACE_FREE => allocator.replay_free_of(extent_of(part)?, lsn),
            op => Err(Error::corrupted(Site::Log(lsn), format!("unknown operation {op} on free space"))),
        }
    }
}
