//! One error type for the whole crate.

use crate::types::{Lsn, PageId};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where damage was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Site {
    /// A page of the page file.
    Page(PageId),
    /// A position in the log.
    Log(Lsn),
    /// Both superblocks, or one that nothing can stand in for.
    Superblock,
    /// The record of free space.
    FreeSpace,
    /// A file of the store as a whole: missing, too short, not a regular file.
    File(PathBuf),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Page(id) => write!(f, "page {id}"),
            Site::Log(lsn) => write!(f, "log at {lsn}"),
            Site::Superblock => f.write_str("superblock"),
            Site::FreeSpace => f.write_str("free space"),
            Site::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Everything that can go wrong. `Clone + Send + Sync`; sources are shared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    #[non_exhaustive]
    Io {
        /// What was being done, as a verb phrase ("read page").
        op: &'static str,
        /// The file or directory, where one is known.
        path: Option<PathBuf>,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another process, or this one, has the store open.
    #[non_exhaustive]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The named thing is not there (any more): a store opened with `create(false)`, a dropped tree.
    #[non_exhaustive]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A tree name that is empty, too long or reserved.
    #[non_exhaustive]
    InvalidName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Bytes on disk are not what was written. Nothing was changed because of it.
    #[non_exhaustive]
    Corrupted {
        /// The page, log position or file.
        site: Site,
        /// What does not fit.
        detail: String,
    },
    /// The store was written by another version of the format.
    #[non_exhaustive]
    UnsupportedFormat {
        /// The version in the superblock.
        found: u32,
        /// The version this crate reads and writes.
        supported: u32,
    },
    /// An option, or a combination of them, that cannot be had.
    #[non_exhaustive]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// Why, with the nearest acceptable value where there is one.
        reason: String,
    },
    /// The key is longer than this store's page size allows.
    #[non_exhaustive]
    KeyTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The greatest length accepted, in bytes.
        max: usize,
    },
    /// The value is longer than can be stored.
    #[non_exhaustive]
    ValueTooLarge {
        /// Its length in bytes.
        len: u64,
        /// The greatest length accepted, in bytes.
        max: u64,
    },
    /// The batch does not fit the log or the memory budget. Nothing was changed.
    #[non_exhaustive]
    BatchTooLarge {
        /// What it would take, in bytes.
        bytes: u64,
        /// What there is, in bytes.
        max: u64,
    },
    /// A batch's requirement did not hold. Nothing was changed.
    #[non_exhaustive]
    Conflict {
        /// The tree's name.
        tree: String,
        /// The key whose value was another.
        key: Vec<u8>,
    },
    /// No frame could be freed within the bounded wait: the budget is too small for what runs at once.
    #[non_exhaustive]
    PoolExhausted {
        /// How long was waited.
        waited: Duration,
    },
    /// The disk, or the log's bound, has no room. Nothing was changed; reads go on, and writes when there is room.
    #[non_exhaustive]
    NoSpace {
        /// What the room was wanted for.
        what: &'static str,
        /// How many bytes were wanted.
        needed: u64,
    },
    /// A sync failed earlier, or a thread panicked inside a change: what is on disk is unknown until it is reopened.
    #[non_exhaustive]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// A read-only open of a store that was not closed cleanly.
    #[non_exhaustive]
    NeedsRecovery {
        /// The store's directory.
        path: PathBuf,
    },
    /// The store was opened read-only.
    ReadOnly,
    /// The store was closed.
    Closed,
    /// The input of a bulk load is not in ascending order.
    #[non_exhaustive]
    Unsorted {
        /// The zero-based position of the first item out of order.
        index: u64,
    },
}

impl Error {
    #[cfg(any(feature = "pool", feature = "wal"))]
    /// An I/O error with its context; a full disk becomes [`Error::NoSpace`].
    pub(crate) fn io(op: &'static str, path: Option<&std::path::Path>, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
            return Error::NoSpace { what: op, needed: 0 };
        }
        Error::Io { op, path: path.map(Into::into), source: Arc::new(source) }
    }

    #[cfg(any(feature = "pool", feature = "wal"))]
    /// Damage at a place.
    pub(crate) fn corrupted(site: Site, detail: impl Into<String>) -> Error {
        Error::Corrupted { site, detail: detail.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { op, path: Some(path), source } => write!(f, "{op}: {}: {source}", path.display()),
            Error::Io { op, path: None, source } => write!(f, "{op}: {source}"),
            Error::Locked { path } => write!(f, "{}: the store is open elsewhere", path.display()),
            Error::NotFound { what } => write!(f, "{what}: not found"),
            Error::InvalidName { name, reason } => write!(f, "invalid name {name:?}: {reason}"),
            Error::Corrupted { site, detail } => write!(f, "{site} is damaged: {detail}"),
            Error::UnsupportedFormat { found, supported } => {
                write!(f, "format version {found} is not supported (this build reads version {supported})")
            }
            Error::InvalidOption { option, reason } => write!(f, "option {option}: {reason}"),
            Error::KeyTooLarge { len, max } => write!(f, "key of {len} bytes: at most {max} fit"),
            Error::ValueTooLarge { len, max } => write!(f, "value of {len} bytes: at most {max} fit"),
            Error::BatchTooLarge { bytes, max } => write!(f, "batch takes {bytes} bytes: at most {max} fit"),
            Error::Conflict { tree, key } => write!(f, "tree {tree:?}: key {key:?} does not have the required value"),
            Error::PoolExhausted { waited } => write!(f, "no frame could be freed within {waited:?}"),
            Error::NoSpace { what, needed: 0 } => write!(f, "no space: {what}"),
            Error::NoSpace { what, needed } => write!(f, "no space: {what} ({needed} bytes)"),
            Error::Poisoned { cause } => write!(f, "the store is poisoned until reopened: {cause}"),
            Error::NeedsRecovery { path } => {
                write!(f, "{}: not closed cleanly; open it for writing once to recover", path.display())
            }
            Error::ReadOnly => f.write_str("the store was opened read-only"),
            Error::Closed => f.write_str("the store is closed"),
            Error::Unsorted { index } => write!(f, "item {index} is not greater than the one before it"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            Error::Locked { .. } => io::ErrorKind::WouldBlock,
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::Corrupted { .. } | Error::UnsupportedFormat { .. } => io::ErrorKind::InvalidData,
            Error::NoSpace { .. } => io::ErrorKind::StorageFull,
            Error::ReadOnly => io::ErrorKind::PermissionDenied,
            Error::InvalidName { .. }
            | Error::InvalidOption { .. }
            | Error::KeyTooLarge { .. }
            | Error::ValueTooLarge { .. }
            | Error::BatchTooLarge { .. }
            | Error::Unsorted { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
