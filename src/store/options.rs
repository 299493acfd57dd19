//! How a store is opened: typed options, each validated into an error that says what would do.

use super::{Store, open};
use crate::error::{Error, Result};
use crate::io::{Disk, DiskFile, FileDisk, takes_direct};
use crate::pool::PoolOptions;
use crate::sync::Arc;
use crate::wal::{SyncMethod, WalOptions};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on disk. Concurrent writers share one sync (group commit).
    #[default]
    Sync,
    /// When it is applied; on disk within the interval without further calls. A crash takes back a suffix of the writes
    /// in the order of the log, never one from their middle.
    Relaxed {
        /// The longest an acknowledged write may stay off the disk. A writer that finds an older one waits for its sync.
        within: Duration,
    },
    /// When it is applied; on disk after [`Store::sync`](crate::Store::sync), a checkpoint or a close.
    Manual,
}

/// What a long recovery or another long work reports now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The log is being read.
    LogScanned {
        /// Bytes of records read so far.
        bytes: u64,
    },
    /// Its records are being applied to the pages.
    Redone {
        /// Records done so far.
        records: u64,
        /// Records there are.
        of: u64,
    },
    /// Recovery is over.
    Recovered {
        /// Records that were looked at.
        records: u64,
    },
}

pub(crate) type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// The smallest and the greatest page size, in bytes.
pub(crate) const PAGE_SIZES: (usize, usize) = (4 << 10, 64 << 10);
/// The page size of a store whose creator gave none.
pub(crate) const DEFAULT_PAGE_SIZE: usize = 16 << 10;
/// A segment smaller than this would hold too few groups to be worth a file.
pub(crate) const MIN_SEGMENT_BYTES: u64 = 64 << 10;
const MAX_SEGMENT_BYTES: u64 = 1 << 30;
const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
const DEFAULT_SEGMENTS: u64 = 16;
/// Frames beyond the pool's own floor: 40 in all, so that a batch may change ten leaves, a quarter of them.
const SPARE_FRAMES: usize = 16;
/// A greater group makes no sync cheaper, but while a sync is held up, by a checkpoint's writes say, writers go on until both
/// buffers are full: some 30 ms here.
const MAX_LOG_BUFFER: usize = 4 << 20;
/// One being written, one being filled ahead, one a checkpoint still needs, one that it writes itself.
pub(crate) const MIN_SEGMENTS: u64 = 4;

/// How to open or create a [`Store`]. A builder by value; nothing is checked before [`StoreOptions::open`].
#[derive(Clone)]
pub struct StoreOptions {
    pub(crate) memory: usize,
    pub(crate) page_size: Option<usize>,
    pub(crate) durability: Durability,
    pub(crate) sync_method: SyncMethod,
    pub(crate) direct_io: bool,
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) max_log_bytes: Option<u64>,
    pub(crate) max_copy_bytes: Option<u64>,
    pub(crate) flushers: Option<usize>,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) lock_timeout: Duration,
    pub(crate) progress: Option<ProgressFn>,
    pub(crate) disk: Option<Arc<dyn Disk>>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            memory: 256 << 20,
            page_size: None,
            durability: Durability::default(),
            sync_method: SyncMethod::default(),
            direct_io: false,
            segment_bytes: None,
            max_log_bytes: None,
            max_copy_bytes: None,
            flushers: None,
            create: true,
            read_only: false,
            lock_timeout: Duration::ZERO,
            progress: None,
            disk: None,
        }
    }
}

impl StoreOptions {
    /// The options [`Store::open`] uses.
    #[must_use]
    pub fn new() -> StoreOptions {
        StoreOptions::default()
    }

    /// The memory budget in bytes: pages, their bookkeeping, write and log buffers together. Default 256 MiB. A budget
    /// below the floor that page size and buffers set is [`Error::InvalidOption`], with the floor in its text.
    #[must_use]
    #[doc(alias("cache_size", "cache_capacity"))]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// The page size in bytes, chosen at creation: a power of two from 4 KiB to 64 KiB, 16 KiB if not given. If given
    /// for a store that exists it must be that store's. 16 KiB is for data that is mostly in memory. Of data many times larger, a
    /// page is what each miss reads and each change writes: with records up to a kilobyte 4 KiB is twice as fast there, and 8 KiB
    /// where two of them would not fit 4.
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = Some(bytes);
        self
    }

    /// When a write is acknowledged; default [`Durability::Sync`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How the log is made durable; default [`SyncMethod::Auto`]. A method that cannot be had here is
    /// [`Error::InvalidOption`].
    #[must_use]
    pub fn sync_method(mut self, method: SyncMethod) -> Self {
        self.sync_method = method;
        self
    }

    /// Whether the page file goes around the system's page cache, so that the store's own memory is all it takes. Default
    /// off: what is evicted stays in the system's cache as long as that has room, and comes back in microseconds. The log and
    /// the double-write area, which are not read again, go around it in any case where they can.
    ///
    /// [`Error::InvalidOption`] from opening where the file system has no such way.
    #[must_use]
    pub fn direct_io(mut self, on: bool) -> Self {
        self.direct_io = on;
        self
    }

    /// The size of one log file in bytes: a multiple of 4,096, from 64 KiB to 1 GiB. Default 16 MiB, or a sixteenth of
    /// [`StoreOptions::max_log_bytes`] if that is given.
    #[must_use]
    pub fn log_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// The most file bytes the log may take; it bounds the time of a recovery, too. At least four segments; default
    /// sixteen. Writers wait for a checkpoint when it is used up.
    #[must_use]
    pub fn max_log_bytes(mut self, bytes: u64) -> Self {
        self.max_log_bytes = Some(bytes);
        self
    }

    /// The most that the file of the double-write area takes on disk, in bytes. It holds a copy of each page that was overwritten in
    /// place lately; the longer copies stay, the fewer have to be made. It is made as it is needed, at most twice as long as the page
    /// file is, or as the budget pays for: a sixty-fourth of the memory goes to knowing what is in it. A head of 4 KiB and one batch of
    /// pages are in it whatever is asked for: a sixteenth of the memory, between eight pages and 1 MiB. On a full disk it is given up
    /// but for four. A file that was longer is cut when the store is opened. Default: 256 batches, 256 MiB at most.
    #[must_use]
    pub fn max_copy_bytes(mut self, bytes: u64) -> Self {
        self.max_copy_bytes = Some(bytes);
        self
    }

    /// How many threads may write pages back at once, from one to eight: whoever needs a frame and finds only changed pages, the
    /// thread that keeps frames free, a checkpoint. Each has a buffer, a sixteenth of the memory or 1 MiB, whichever is less.
    /// Default: two where a second buffer takes no more than a fiftieth of the memory, else one. More of them help many threads that
    /// write to more data than fits into memory.
    #[must_use]
    pub fn flushers(mut self, n: usize) -> Self {
        self.flushers = Some(n);
        self
    }

    /// Whether a store that is not there is created. Default on; off, such an open is [`Error::NotFound`].
    #[must_use]
    #[doc(alias("create_if_missing"))]
    pub fn create(mut self, on: bool) -> Self {
        self.create = on;
        self
    }

    /// Whether the store is only read: any number of processes may, nothing is ever written, and a store that was not
    /// closed cleanly is [`Error::NeedsRecovery`]. Default off.
    #[must_use]
    pub fn read_only(mut self, on: bool) -> Self {
        self.read_only = on;
        self
    }

    /// How long to wait for another process (or another handle of this one) to let go of the store. Default: not at all.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// A function told of the progress of recovery and other long work, from the thread that does it.
    #[must_use]
    pub fn on_progress(mut self, f: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(f));
        self
    }

    /// Another medium than the file system: the simulated disk, or a [`Disk`] of one's own.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Opens or creates the store in `dir`, recovering it if need be. Cost: reads the log from the last checkpoint on.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::NotFound`] (with `create(false)`), [`Error::Locked`],
    /// [`Error::NeedsRecovery`] (read-only), [`Error::UnsupportedFormat`], [`Error::Corrupted`], [`Error::Io`],
    /// [`Error::NoSpace`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store> {
        self.validate()?;
        open::open(self, dir.as_ref())
    }

    /// The size of one log segment in bytes.
    pub(crate) fn segment(&self) -> u64 {
        let derived = || match self.max_log_bytes {
            Some(max) => (max / DEFAULT_SEGMENTS) & !4095,
            None => DEFAULT_SEGMENT_BYTES,
        };
        self.segment_bytes.unwrap_or_else(|| derived().clamp(MIN_SEGMENT_BYTES, DEFAULT_SEGMENT_BYTES))
    }

    /// The most file bytes the log may take.
    pub(crate) fn max_log(&self) -> u64 {
        self.max_log_bytes.unwrap_or_else(|| self.segment() * DEFAULT_SEGMENTS)
    }

    /// How the budget is split between log and pool for pages of `page_size` bytes.
    ///
    /// # Errors
    /// `InvalidOption` with the floor, if the budget is below it.
    pub(crate) fn plan(&self, page_size: usize, deterministic: bool) -> Result<(WalOptions, PoolOptions)> {
        let segment = self.segment();
        // A record may be half a buffer, and the greatest that the tree must be able to write (a root that grows) takes
        // less than two pages.
        let least = 8 * page_size;
        if segment < 2 * least as u64 {
            let reason = format!("{segment} bytes; with pages of {page_size} bytes at least {}", 2 * least);
            return Err(Error::InvalidOption { option: "log_segment_bytes", reason });
        }
        let floor = PoolOptions::floor(page_size) + SPARE_FRAMES * (page_size + 128) + 2 * least;
        if self.memory < floor {
            let reason = format!("{} bytes; with pages of {page_size} bytes at least {floor}", self.memory);
            return Err(Error::InvalidOption { option: "memory", reason });
        }
        let buffer = (self.memory / 64).clamp(least, MAX_LOG_BUFFER).min(segment as usize / 2) & !4095;
        let wal = WalOptions::default()
            .segment_bytes(segment)
            .max_log_bytes(self.max_log())
            .buffer_bytes(buffer)
            .sync_method(self.sync_method);
        wal.validate()?;
        let mut pool = PoolOptions::default().memory(self.memory - 2 * buffer).deterministic(deterministic);
        pool.flushers = self.flushers;
        pool.plan(page_size)?;
        Ok((wal, pool))
    }

    pub(crate) fn report(&self, progress: Progress) {
        if let Some(f) = &self.progress {
            f(progress);
        }
    }

    /// The medium: the one given, or the file system.
    pub(crate) fn medium(&self) -> Arc<dyn Disk> {
        self.disk.clone().unwrap_or_else(|| Arc::new(FileDisk::new()))
    }

    /// Whether the page file at `path`, opened for transfers past the cache, takes them, if that was asked for.
    pub(crate) fn check_direct(&self, file: &dyn DiskFile, path: &Path) -> Result<()> {
        if self.direct_io && !takes_direct(file).map_err(|e| Error::io("read the page file", Some(path), e))? {
            let reason = "the page file cannot be read past the system's cache".to_owned();
            return Err(Error::InvalidOption { option: "direct_io", reason });
        }
        Ok(())
    }

    /// Everything that can be said before a directory is looked at.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(size) = self.page_size {
            validate_page_size(size)?;
        }
        let segment = self.segment();
        if !segment.is_multiple_of(4096) || !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&segment) {
            let reason = format!(
                "{segment} bytes; a log segment is a multiple of 4096 from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}"
            );
            return Err(Error::InvalidOption { option: "log_segment_bytes", reason });
        }
        let (max, floor) = (self.max_log(), segment * MIN_SEGMENTS);
        if max < floor {
            let reason = format!("{max} bytes; with segments of {segment} bytes at least {floor}");
            return Err(Error::InvalidOption { option: "max_log_bytes", reason });
        }
        if matches!(self.durability, Durability::Relaxed { within } if within.is_zero()) {
            let reason = "a zero interval; use Durability::Sync".to_owned();
            return Err(Error::InvalidOption { option: "durability", reason });
        }
        Ok(())
    }
}

/// A page size is a power of two within the bounds.
pub(crate) fn validate_page_size(size: usize) -> Result<()> {
    let (min, max) = PAGE_SIZES;
    if size.is_power_of_two() && (min..=max).contains(&size) {
        return Ok(());
    }
    let reason = format!("{size} bytes; a power of two from {min} to {max}");
    Err(Error::InvalidOption { option: "page_size", reason })
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("memory", &self.memory)
            .field("page_size", &self.page_size)
            .field("durability", &self.durability)
            .field("sync_method", &self.sync_method)
            .field("direct_io", &self.direct_io)
            .field("log_segment_bytes", &self.segment())
            .field("max_log_bytes", &self.max_log())
            .field("max_copy_bytes", &self.max_copy_bytes)
            .field("flushers", &self.flushers)
            .field("create", &self.create)
            .field("read_only", &self.read_only)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}
