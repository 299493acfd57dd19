//! What a tree asks of a log: room first, then an append that cannot fail, then the place to wait for.

use crate::error::Result;
use crate::types::Lsn;
use crate::wal::{LogPermit, Wal};

/// Room for one record, taken before the first latch (invariant W5). Dropping it gives it back.
#[must_use = "dropping it gives the room back"]
#[derive(Debug)]
pub struct LogRoom<'a>(Room<'a>);

#[derive(Debug)]
enum Room<'a> {
    Wal(LogPermit<'a>),
    Unbounded,
}

impl LogRoom<'static> {
    /// Room in a log that never runs out of it: for logs of one's own that keep records in memory.
    pub fn unbounded() -> LogRoom<'static> {
        LogRoom(Room::Unbounded)
    }
}

/// A log of redo records. [`Wal`] is one; tests and engine authors bring others.
pub trait RedoLog: Send + Sync {
    /// Reserves room for one record of at most `bytes`. Called with no latch held; may wait for a checkpoint.
    ///
    /// # Errors
    /// `NoSpace`, `BatchTooLarge`, `Poisoned`.
    fn reserve(&self, bytes: usize) -> Result<LogRoom<'_>>;

    /// Appends `record`, made by [`RecordBuilder`](crate::wal::RecordBuilder), into the room taken for it, and returns its
    /// LSN (its end). Cannot fail; called under latches, so it waits for nothing that needs one.
    fn append(&self, room: LogRoom<'_>, record: &[u8]) -> Lsn;

    /// The append position: every record appended before the call ends at or before it.
    fn position(&self) -> Lsn;

    /// The longest record the log takes, in bytes.
    fn max_record_bytes(&self) -> usize;
}

impl RedoLog for Wal {
    fn reserve(&self, bytes: usize) -> Result<LogRoom<'_>> {
        // A tree may be changed under a lock of whoever owns it: that of a catalog, say.
        self.reserve_holding(bytes).map(|permit| LogRoom(Room::Wal(permit)))
    }

    fn append(&self, room: LogRoom<'_>, record: &[u8]) -> Lsn {
        match room.0 {
            Room::Wal(permit) => Wal::append(self, permit, record),
            Room::Unbounded => {
                // Room from elsewhere: a caller's mistake that must not lose a record in silence.
                self.poison_latched("a record came with room that another log gave");
                Wal::position(self)
            }
        }
    }

    fn position(&self) -> Lsn {
        Wal::position(self)
    }

    fn max_record_bytes(&self) -> usize {
        self.options().max_record_bytes()
    }
}
