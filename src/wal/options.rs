//! What a log can be told: sizes and the way it makes its writes durable, validated into typed errors.

use super::group::{BLOCK, GROUP_MAX, HEADER};
use crate::error::{Error, Result};
use crate::io::{DiskFile, takes_direct};

/// How a group of log records is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyncMethod {
    /// The best one that works here: [`SyncMethod::DirectDsync`] where files can be written past the page cache, otherwise
    /// [`SyncMethod::Fdatasync`]. Measured: docs/design.md, section 3.3.
    #[default]
    Auto,
    /// A write, then `fdatasync`.
    Fdatasync,
    /// One synced write (`RWF_DSYNC` where there is such a thing): one system call a group.
    Dsync,
    /// Synced writes past the page cache (`O_DIRECT`): one system call a group, no copy of it, and nothing else waits for
    /// its blocks. [`Error::InvalidOption`] from the log's creation or opening where the file system has no such way.
    DirectDsync,
    /// Synced writes through io_uring. Not in this build: [`Error::InvalidOption`].
    IoUring,
}

impl SyncMethod {
    /// Whether a group goes to `file` and is synced in one call.
    pub(crate) fn in_one_call(self, file: &dyn DiskFile) -> bool {
        match self {
            SyncMethod::Auto => file.is_direct(),
            SyncMethod::Fdatasync => false,
            SyncMethod::Dsync | SyncMethod::DirectDsync | SyncMethod::IoUring => true,
        }
    }

    /// Whether groups can be written to `file` in this way.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub(crate) fn check(self, file: &dyn DiskFile) -> Result<()> {
        let takes = || takes_direct(file).map_err(|e| Error::io("read log segment", None, e));
        if self == SyncMethod::DirectDsync && !takes()? {
            let reason = "DirectDsync is not to be had on this medium".to_owned();
            return Err(Error::InvalidOption { option: "sync_method", reason });
        }
        Ok(())
    }
}

/// The sizes of a log and how it syncs; a builder by value.
///
/// Memory: two buffers of [`buffer_bytes`](WalOptions::buffer_bytes) and an index of at most some 5,000 places (32
/// bytes each). Disk: at most [`max_log_bytes`](WalOptions::max_log_bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    pub(crate) segment_bytes: u64,
    pub(crate) max_log_bytes: u64,
    pub(crate) buffer_bytes: usize,
    pub(crate) sync_method: SyncMethod,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes: 16 << 20,
            max_log_bytes: 256 << 20,
            buffer_bytes: 1 << 20,
            sync_method: SyncMethod::Auto,
        }
    }
}

impl WalOptions {
    /// The length of a segment file in bytes: a multiple of 4,096, at least twice the buffer. Default 16 MiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> WalOptions {
        self.segment_bytes = bytes;
        self
    }

    /// The most the log's files may take together, in bytes: at least four segments. Default 256 MiB. It bounds the
    /// time recovery takes; half full, the log asks for a checkpoint (see [`LogPressure`](super::LogPressure)).
    #[must_use]
    pub fn max_log_bytes(mut self, bytes: u64) -> WalOptions {
        self.max_log_bytes = bytes;
        self
    }

    /// The size of each of the two append buffers in bytes: a multiple of 4,096 from 8,192 to 64 MiB. Default 1 MiB. A
    /// group, what one flush writes, is at most this long, and a record at most half of it.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> WalOptions {
        self.buffer_bytes = bytes;
        self
    }

    /// How groups are made durable. Default [`SyncMethod::Auto`].
    #[must_use]
    pub fn sync_method(mut self, method: SyncMethod) -> WalOptions {
        self.sync_method = method;
        self
    }

    /// The greatest record in bytes (its 4-byte length included) that [`reserve`](super::Wal::reserve) admits.
    #[must_use]
    pub fn max_record_bytes(&self) -> usize {
        (self.buffer_bytes / 2).saturating_sub(HEADER)
    }

    /// How many segment files the log may have.
    pub(crate) fn max_segments(&self) -> u64 {
        self.max_log_bytes / self.segment_bytes.max(1)
    }

    /// Checks every size and combination. Cost: none to speak of.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] naming the option and the nearest acceptable value.
    pub fn validate(&self) -> Result<()> {
        let wrong = |option, reason| Err(Error::InvalidOption { option, reason });
        let buffer = self.buffer_bytes as u64;
        if !buffer.is_multiple_of(BLOCK) || !(2 * BLOCK..=GROUP_MAX).contains(&buffer) {
            let reason = format!("{buffer} is not a multiple of {BLOCK} from {} to {GROUP_MAX}", 2 * BLOCK);
            return wrong("log_buffer_bytes", reason);
        }
        if !self.segment_bytes.is_multiple_of(BLOCK) {
            return wrong("log_segment_bytes", format!("{} is not a multiple of {BLOCK}", self.segment_bytes));
        }
        if self.segment_bytes < 2 * buffer || self.segment_bytes > 1 << 40 {
            let reason = format!("{} is not from {} (two buffers) to 1 TiB", self.segment_bytes, 2 * buffer);
            return wrong("log_segment_bytes", reason);
        }
        if self.max_segments() < 4 || self.max_log_bytes > 1 << 50 {
            let least = self.segment_bytes.saturating_mul(4);
            let reason = format!("{} is not from {least} (four segments) to 1 PiB", self.max_log_bytes);
            return wrong("max_log_bytes", reason);
        }
        match self.sync_method {
            SyncMethod::IoUring => wrong("sync_method", "IoUring is not to be had in this build".to_owned()),
            _ => Ok(()),
        }
    }
}
