//! Every byte of page file and log goes through [`Disk`]: real files, the simulated disk, or a user's own medium.
//!
//! The trait promises no more than `docs/fault-model.md` assumes: a write that was not synced may survive in any subset
//! of its sectors and in any order; length and content persist independently; a directory entry needs a sync of its
//! directory; a sync that returned `Ok` is durable.
//!
//! [`FileDisk`] does that with system calls; `sim::SimDisk` (feature `sim`) does it in memory and can show every state
//! that a crash may leave.

#[cfg(any(feature = "pool", feature = "wal"))]
mod aligned;
#[cfg(any(feature = "pool", feature = "wal"))]
mod file;
#[cfg(any(feature = "pool", feature = "wal"))]
mod lock;
#[cfg(any(feature = "pool", feature = "wal"))]
mod os;
#[cfg(all(test, any(feature = "pool", feature = "wal")))]
mod tests;

#[cfg(any(feature = "pool", feature = "wal"))]
pub(crate) use aligned::AlignedBuf;
#[cfg(any(feature = "pool", feature = "wal"))]
pub use file::FileDisk;

#[cfg(feature = "pool")]
use crate::page::bytes::PageWriter;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// For reading only; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it must not exist and is created (mode 0600).
    CreateNew,
    /// For reading and writing; created empty if it is not there (mode 0600), otherwise kept as it is.
    Create,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else (link to nothing, device, socket): never opened.
    Other,
}

/// Whether a lock excludes everybody or only writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockKind {
    /// Held by read-only opens; any number of them.
    Shared,
    /// Held by the one writing process.
    Exclusive,
}

/// A held lock; dropping it releases it.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// An open file. All offsets and lengths are in bytes. Callable from many threads at once.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at `offset` until `buf` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As [`DiskFile::read_at`], into the memory of a page, which others may be reading meanwhile: no slice may cover it, so what
    /// has only slices reads into a buffer first.
    #[cfg(feature = "pool")]
    fn read_page(&self, page: &mut PageWriter<'_>, offset: u64) -> io::Result<usize> {
        let mut buffer = vec![0; page.len()];
        let n = self.read_at(&mut buffer, offset)?.min(buffer.len());
        page.write(0, &buffer[..n]);
        Ok(n)
    }
    /// Says that these bytes will be read soon, so that the system may fetch them meanwhile. A hint: does not wait, and fails
    /// in silence.
    fn prefetch(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Says that the system need not keep these bytes in its cache. A hint: fails in silence.
    fn forget(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Whether transfers of whole blocks go past the system's cache: see [`Disk::open_direct`].
    fn is_direct(&self) -> bool {
        false
    }
    /// Writes all of `buf` at `offset`, extending the file if need be. Not durable before a sync.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// The current length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) to `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes sure that later writes to `offset..offset + len` cannot fail for lack of space, extending the file.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes content, and the length needed to read it, durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes content and all of the length durable (fsync).
    fn sync_all(&self) -> io::Result<()>;
    /// Writes all of `buf` and makes that write durable before returning (RWF_DSYNC where there is such a thing).
    fn write_at_sync(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(buf, offset)?;
        self.sync_data()
    }
}

/// Sees every write before it is carried out; the store installs one on disks that can call it, to check the WAL rule.
pub trait WriteObserver: Send + Sync {
    /// `bytes` are about to be written at `offset` of the file at `path`. An `Err` is a broken invariant: the disk
    /// panics with its text.
    fn on_write(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), String>;
}

/// A medium with files and directories. Paths are used as given; the store only names files inside its own directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a regular file; anything else is an error, and symbolic links at the last place are not followed.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// As [`Disk::open`], for transfers past the system's cache (`O_DIRECT`): those whose offset, length and memory are
    /// multiples of 4,096. All others, and all where there is no such way ([`DiskFile::is_direct`] tells), are as ever.
    /// What is written in one way is read in the other. A read of bytes that are being written may return anything for those,
    /// but it must not be remembered.
    fn open_direct(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, mode)
    }
    /// What `path` names, or `None` if nothing.
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>>;
    /// Creates one directory (mode 0700); `AlreadyExists` if there is one.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in ascending order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Renames a file, replacing the target. Durable after `sync_dir` of its directory (both, if they differ).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir` of its directory.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a lock on the file at `path`, creating it if need be, without waiting: `Ok(None)` if it is held, by another
    /// process or by this one. `create` false does not create it (a read-only medium).
    fn lock(&self, path: &Path, kind: LockKind, create: bool) -> io::Result<Option<Box<dyn DiskLock>>>;
    /// Whether a seed decides everything: the store then runs no threads of its own and steps background work inline.
    fn deterministic(&self) -> bool {
        false
    }
    /// Asks the disk to show `observer` every write. Disks that cannot ignore it.
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        let _ = observer;
    }
}

/// Whether whole blocks of `file`, which has one at least, really go past the cache: some file systems refuse only the transfer.
#[cfg(any(feature = "wal", all(test, feature = "pool")))]
pub(crate) fn takes_direct(file: &dyn DiskFile) -> io::Result<bool> {
    if file.is_direct() {
        file.read_at(&mut AlignedBuf::zeroed(aligned::ALIGN), 0)?;
    }
    Ok(file.is_direct())
}
