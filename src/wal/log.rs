//! [`Wal`]: the open log, its creation and its plain questions.

use super::append::Tail;
use super::commit::Flush;
use super::options::WalOptions;
use super::place::{Marks, UNFINISHED, WalPosition, segment_number, segment_path};
use super::poison::Poison;
use super::read::Holds;
use super::scan::Scanner;
use super::segments::{Segments, State, create_segment};
use super::space::Space;
use super::waker::Wakers;
use crate::error::{Error, Result, Site};
use crate::io::{Disk, FileKind};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, RwLock};
use crate::types::Lsn;
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the log asks for when it fills up: a checkpoint, after which [`Wal::release_below`] frees segments.
pub trait LogPressure: Send + Sync {
    /// Called by [`Wal::reserve`], outside of every lock of the log. With `needed` false the log is half full: start a
    /// checkpoint in the background and return. With `needed` true a writer waits: return when a checkpoint has ended, made
    /// now or under way before; if it freed too little, the writer asks again, a bounded number of times. The checkpoint's
    /// own records go through [`Wal::reserve_for_checkpoint`].
    ///
    /// # Errors
    /// Whatever kept the checkpoint from being made; the waiting `reserve` returns it.
    fn relieve(&self, needed: bool) -> Result<()>;
}

/// An open write-ahead log. `Send + Sync`; share it in an [`Arc`].
///
/// Opened by [`Wal::create`] or, after [`scan`](super::scan), by [`Wal::open_at`]. It starts no threads: whoever
/// commits first writes for all (see [`Wal::commit`]).
pub struct Wal {
    pub(crate) store_id: u64,
    pub(crate) incarnation: u64,
    /// Where the log's clock starts; none on disks where a seed decides everything.
    pub(crate) clock: Option<Instant>,
    pub(crate) tail: CachePadded<Tail>,
    /// Every byte before this is on disk (W1).
    pub(crate) durable: CachePadded<AtomicU64>,
    /// When the oldest append that is not durable was made, in nanoseconds of `clock` plus one; 0 if there is none.
    pub(crate) unsynced_since: AtomicU64,
    /// Set by the flush that found the log past its soft mark, taken by the next reservation.
    pub(crate) pressure_due: crate::sync::AtomicBool,
    pub(crate) flush: CachePadded<Mutex<Flush>>,
    pub(crate) flushed: Condvar,
    pub(crate) work: Condvar,
    pub(crate) space: Space,
    pub(crate) segments: Segments,
    pub(crate) poison: Poison,
    pub(crate) wakers: Mutex<Wakers>,
    /// Wakers are due that an append, which may be called under latches, has left to others.
    pub(crate) wakers_due: crate::sync::AtomicBool,
    pub(crate) pressure: RwLock<Option<Arc<dyn LogPressure>>>,
    pub(crate) holds: Mutex<Holds>,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.segments.dir)
            .field("incarnation", &self.incarnation)
            .field("position", &self.position())
            .field("durable", &self.durable_lsn())
            .field("poisoned", &self.poison.is_set())
            .finish_non_exhaustive()
    }
}

/// Numbers about a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalStats {
    /// Records appended.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Groups made durable: one write and one sync each.
    pub groups: u64,
    /// File bytes of those groups, header and padding included.
    pub group_bytes: u64,
    /// File bytes that hold the log now, unusable segment tails included.
    pub used_bytes: u64,
    /// Segments behind the current one that are still needed.
    pub retained_segments: usize,
    /// Segments prepared ahead.
    pub ready_segments: usize,
}

impl Wal {
    /// Starts an empty log in `dir`, creating the directory if need be. `store_id` must be unlike that of any log whose
    /// bytes could ever lie here; `incarnation` is the first session's number, at least 1. Costs the zero-filling and
    /// syncing of one segment. On return files and directory are durable, so that a superblock with
    /// [`WalPosition::FIRST`] may be written.
    ///
    /// Leftovers of an unfinished creation are removed.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::Corrupted`] if a segment there holds a group of records already: nothing is
    /// removed then; [`Error::NoSpace`] and [`Error::Io`] as the disk has them.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_id: u64,
        incarnation: u64,
        options: WalOptions,
    ) -> Result<Wal> {
        options.validate()?;
        match disk.kind(dir).map_err(|e| Error::io("look for log directory", Some(dir), e))? {
            None => disk.create_dir(dir).map_err(|e| Error::io("create log directory", Some(dir), e))?,
            Some(FileKind::Directory) => clear_unfinished(&*disk, dir)?,
            Some(_) => return Err(Error::corrupted(Site::File(dir.into()), "not a directory")),
        }
        sync_entry(&*disk, dir)?;
        let current = create_segment(&*disk, dir, WalPosition::FIRST.segment, &options)?;
        options.sync_method.check(&*current.file)?;
        let state = State::new(VecDeque::new(), current, WalPosition::FIRST, Marks::new());
        Ok(Wal::start(disk, dir, store_id, incarnation, options, state))
    }

    /// Puts a log together around segments whose every group is durable.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_id: u64,
        incarnation: u64,
        options: WalOptions,
        state: State,
    ) -> Wal {
        let end = state.end.lsn;
        let space = Space::new();
        let clock = (!disk.deterministic()).then(Instant::now);
        let segments = Segments::new(disk, dir.into(), options, state, &space);
        Wal {
            store_id,
            incarnation,
            clock,
            tail: CachePadded::new(Tail::new(options.buffer_bytes, end)),
            durable: CachePadded::new(AtomicU64::new(end.get())),
            unsynced_since: AtomicU64::new(0),
            pressure_due: crate::sync::AtomicBool::new(false),
            flush: CachePadded::new(Mutex::new(Flush::new(options.buffer_bytes))),
            flushed: Condvar::new(),
            work: Condvar::new(),
            space,
            segments,
            poison: Poison::new(),
            wakers: Mutex::new(Wakers::default()),
            wakers_due: crate::sync::AtomicBool::new(false),
            pressure: RwLock::new(None),
            holds: Mutex::new(Holds::default()),
        }
    }

    /// The append position: the end of the last record appended, durable or not. One atomic load.
    ///
    /// A record whose append was not finished when this was read ends beyond it; of the ones at or below it, everything
    /// their writers did before appending is visible to the caller.
    #[must_use]
    pub fn position(&self) -> Lsn {
        // Acquire: pairs with the Release in `append`, so that recovery LSNs set before an append (W6) are seen.
        Lsn::new(self.tail.position.load(Ordering::Acquire))
    }

    /// Every record that ends at or below this is durable (W1). One atomic load.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        // Acquire: pairs with the Release in `publish`, the flush's last step.
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// For how long the oldest append has not been durable; `None` if all are, or on a disk where a seed decides
    /// everything (no clock is read there). A writer in relaxed mode waits when this passes its interval.
    #[must_use]
    pub fn oldest_unsynced_age(&self) -> Option<Duration> {
        // Relaxed: a time, not a promise; the append lock orders the writes.
        let since = self.unsynced_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.clock?.elapsed().saturating_sub(Duration::from_nanos(since)))
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> &WalOptions {
        self.segments.options()
    }

    /// This session's number.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// File bytes that hold the log, unusable segment tails included; not the segments prepared ahead.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.segments.used()
    }

    /// File bytes that it can hold before a writer must wait for a checkpoint: the last segment is the checkpoint's, and of
    /// another one a group's length may be left unused.
    #[must_use]
    pub fn writable_bytes(&self) -> u64 {
        let options = self.options();
        ((options.max_segments() - 1) * options.segment_bytes).saturating_sub(options.buffer_bytes as u64)
    }

    /// Whether it is half full, or fuller: when it asks for a checkpoint (see [`LogPressure`]).
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        self.segments.is_half_full()
    }

    /// Numbers since it was opened. Takes three short locks.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        let (retained_segments, ready_segments) = self.segments.counts();
        let (groups, group_bytes) = self.flush.lock().counts();
        let (records, record_bytes) = self.tail.appender.lock().counts();
        WalStats {
            records,
            record_bytes,
            groups,
            group_bytes,
            used_bytes: self.used_bytes(),
            retained_segments,
            ready_segments,
        }
    }

    /// The greatest remembered group start at or below `lsn`, or the end of the durable log if `lsn` is there or beyond:
    /// what a superblock keeps beside its redo LSN. `None` below the oldest segment retained. Entries are at least
    /// 64 KiB of file apart, so up to that much may lie between the place and `lsn`.
    #[must_use]
    pub fn locate(&self, lsn: Lsn) -> Option<WalPosition> {
        self.segments.locate(lsn)
    }

    /// The oldest group start that is remembered: reading can begin there. The end of the log if there is none.
    #[must_use]
    pub fn oldest(&self) -> WalPosition {
        self.segments.oldest()
    }

    /// Gives up the segments wholly below `lsn`: they are renamed to stand ready again, or removed when enough do.
    /// Returns how many. Readers' positions hold it back. Renames cost a directory sync each.
    ///
    /// Only after **both** superblock copies' places lie at or beyond `lsn` (C1): pass the older one's
    /// [`WalPosition::lsn`], not its redo LSN.
    ///
    /// # Errors
    /// [`Error::Io`] from renaming, removing or syncing; the log goes on, with fewer segments ready.
    pub fn release_below(&self, lsn: Lsn) -> Result<usize> {
        self.segments.release_below(lsn, &self.space, || self.holds.lock().least())
    }
}

/// Makes the entry of `dir` in its parent durable.
fn sync_entry(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    disk.sync_dir(parent).map_err(|e| Error::io("sync directory", Some(parent), e))
}

/// Removes what an unfinished creation left in `dir`; refuses if there is a log.
fn clear_unfinished(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let segments = list_segments(disk, dir)?;
    let mut scanner = Scanner::new(disk, dir);
    for &seq in &segments {
        if scanner.load(seq, 0, |_| true)?.is_some() {
            let site = Site::File(segment_path(dir, seq));
            return Err(Error::corrupted(site, "a log is here already, but nothing refers to it"));
        }
    }
    drop(scanner);
    for seq in segments {
        let path = segment_path(dir, seq);
        disk.remove(&path).map_err(|e| Error::io("remove log segment", Some(&path), e))?;
    }
    remove_unfinished(disk, dir)
}

/// Removes a segment that was being filled when its process ended.
pub(crate) fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let path = dir.join(UNFINISHED);
    match disk.remove(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove unfinished log segment", Some(&path), e))
        }
        _ => Ok(()),
    }
}

/// The sequence numbers of the segments in `dir`, ascending.
pub(crate) fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>> {
    let names = disk.list(dir).map_err(|e| Error::io("list log directory", Some(dir), e))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}
