//! A write-ahead log: records in groups, group commit, recycled segments, and recovery that tells a torn tail from
//! damage. Usable alone; it knows nothing of pages' content or of the pool.
//!
//! # The stream
//! Records lie behind one another in one endless stream; an LSN is a position in it, and a record's LSN is its **end**.
//! A [`Record`] is one mini-transaction: parts that each say what happens to one page, redone by a [`RedoHandler`]
//! (physiological redo after ARIES; no undo, since a dirty page only ever holds whole mini-transactions).
//!
//! # Writing
//! [`Wal::reserve`] takes room before any latch; [`Wal::append`] claims an LSN and places the bytes in one critical
//! section (invariant W2) and cannot fail; [`Wal::commit`] makes it durable. There is no log thread: the first to commit
//! writes one **group** for everybody, the others wait for it (leader and followers, as in many engines since DeWitt's
//! group commit of 1984). Groups go to zero-filled, recycled segment files, each at a multiple of 4,096 bytes, and are
//! never rewritten (W3); so no acknowledged byte ever shares a sector with a write under way.
//!
//! # Failing
//! Room is only ever missing in `reserve`, before anything has changed. A failed write or sync poisons the log before
//! any waiter wakes, and is never retried as if it could succeed: after a failed `fsync` the kernel may have dropped the
//! dirty data (Rebello et al., USENIX ATC 2020). Opening again rewrites what is not proven durable.
//!
//! # Recovering
//! [`scan`] walks the chain of groups from a [`WalPosition`] that a superblock keeps, and [`Wal::open_at`] goes on where
//! it ends.
//!
//! # Locks
//! In the order they may be taken: files being made or recycled (`admin`), who flushes (`flush`), the append buffer,
//! the list of segments, wakers. None is held while the pressure hook runs, or while a waker runs, is cloned or is dropped;
//! an append, whose caller may hold latches, runs neither. Only `admin` is held across I/O; the flush itself holds a turn,
//! not a lock, while it writes.
//!
//! ```
//! # fn main() -> pagebox::Result<()> {
//! use pagebox::wal::{self, RecordBuilder, RecoveryPoint, Wal, WalOptions, WalPosition};
//! use pagebox::{Lsn, PageId, PageKind, SizeClass, io::FileDisk};
//! use std::sync::Arc;
//!
//! # let temp = tempfile::tempdir().unwrap();
//! # let dir = temp.path().join("wal");
//! let disk = Arc::new(FileDisk::new());
//! let log = Wal::create(disk.clone(), &dir, 7, 1, WalOptions::default())?;
//! let mut buffer = Vec::new();
//! let mut record = RecordBuilder::new(&mut buffer);
//! record.begin_part(PageKind::FIRST_USER, 1, SizeClass::ZERO, false, PageId::new(9));
//! record.extend_from_slice(b"what happens to page 9");
//! let record = record.finish();
//! let permit = log.reserve(record.len())?;
//! let lsn = log.append(permit, record);
//! log.commit(lsn)?;
//! drop(log);
//!
//! let point = RecoveryPoint {
//!     store_id: 7,
//!     from: WalPosition::FIRST,
//!     incarnation: 1,
//!     accepted_end: Lsn::FIRST,
//!     proven: Lsn::NONE,
//!     end_known: false,
//! };
//! let mut payloads = Vec::new();
//! let tail = wal::scan(&*disk, &dir, &point, |_, _, record| {
//!     payloads.extend(record.parts().map(|part| part.payload.to_vec()));
//!     Ok(())
//! }, |_| {})?;
//! assert_eq!(payloads, [b"what happens to page 9"]);
//! let log = Wal::open_at(disk, &dir, 7, tail, 2, WalOptions::default())?;
//! assert_eq!(log.durable_lsn(), lsn);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod append;
mod commit;
mod group;
mod log;
mod options;
mod place;
mod poison;
mod read;
mod record;
mod recover;
mod reserve;
mod scan;
mod segments;
mod space;
mod waker;

#[cfg(test)]
mod tests;

pub use log::{LogPressure, Wal, WalStats};
pub use options::{SyncMethod, WalOptions};
pub use place::WalPosition;
pub use read::{LogReader, LoggedRecord};
pub use record::{PART_OVERHEAD, Part, Parts, RECORD_OVERHEAD, Record, RecordBuilder, RedoHandler};
pub use recover::{LogTail, RecoveryPoint, scan};
pub use space::LogPermit;
pub use waker::WakerKey;
