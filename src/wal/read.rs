//! Reading the durable log while it is being written: what a standby or a change feed follows.

use super::group::HEADER;
use super::log::Wal;
use super::place::{WalPosition, segment_path};
use super::record::Record;
use super::scan::Scanner;
use crate::error::{Error, Result, Site};
use crate::types::Lsn;
use std::time::{Duration, Instant};

/// The positions that readers hold back the recycling of segments from.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    list: Vec<(u64, Lsn)>,
    next: u64,
}

impl Holds {
    pub(crate) fn least(&self) -> Option<Lsn> {
        self.list.iter().map(|(_, lsn)| *lsn).min()
    }

    fn add(&mut self, lsn: Lsn) -> u64 {
        let key = self.next;
        self.next += 1;
        self.list.push((key, lsn));
        key
    }

    fn update(&mut self, key: u64, lsn: Lsn) {
        if let Some(hold) = self.list.iter_mut().find(|hold| hold.0 == key) {
            hold.1 = lsn;
        }
    }

    fn remove(&mut self, key: u64) {
        self.list.retain(|hold| hold.0 != key);
    }
}

/// A record read back from the log, with its own copy of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRecord {
    start: Lsn,
    lsn: Lsn,
    bytes: Vec<u8>,
}

impl LoggedRecord {
    /// Where it starts in the stream.
    #[must_use]
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// Its LSN: where it ends. Reading on from here continues behind it.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The record.
    ///
    /// # Errors
    /// None in practice: the bytes were checked when they were read.
    pub fn record(&self) -> Result<Record<'_>> {
        Record::decode(&self.bytes, self.start).map(|(record, _)| record)
    }
}

/// Reads durable records in order. While it exists, the segments from its position on are not recycled.
///
/// As an iterator it ends at what is durable, and goes on when more is: iterate again, or wait with
/// [`wait`](LogReader::wait).
pub struct LogReader<'a> {
    wal: &'a Wal,
    scanner: Scanner<'a>,
    hold: u64,
    /// Behind the group in hand.
    behind: WalPosition,
    /// The records of the group in hand that were not handed out.
    pending: Vec<u8>,
    taken: usize,
    /// Where the next record in hand starts.
    at: Lsn,
    /// Records that start below this are passed over.
    from: Lsn,
    /// Nothing beyond this is read.
    limit: Lsn,
    failed: bool,
}

impl std::fmt::Debug for LogReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("at", &self.at).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Wal {
    /// Reads the durable records that start at or behind `from`, up to what is durable now. [`Lsn::FIRST`] is the
    /// beginning, if that is still retained.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the log no longer reaches back to `from`; [`Error::Io`].
    pub fn replay(&self, from: Lsn) -> Result<LogReader<'_>> {
        let limit = self.durable_lsn();
        self.reader(from, limit)
    }

    /// Reads the durable records that start at or behind `from`, and those that become durable later.
    ///
    /// # Errors
    /// As [`replay`](Wal::replay).
    pub fn tail(&self, from: Lsn) -> Result<LogReader<'_>> {
        self.reader(from, Lsn::MAX)
    }

    fn reader(&self, from: Lsn, limit: Lsn) -> Result<LogReader<'_>> {
        // Held before it is looked up, so that it cannot be recycled in between.
        let hold = self.holds.lock().add(from);
        let mut reader = LogReader {
            wal: self,
            scanner: Scanner::new(&*self.segments.disk, &self.segments.dir),
            hold,
            behind: WalPosition::FIRST,
            pending: Vec::new(),
            taken: 0,
            at: from,
            from,
            limit,
            failed: false,
        };
        match self.segments.locate(from) {
            Some(at) => {
                (reader.behind, reader.at) = (at, at.lsn);
                self.holds.lock().update(hold, at.lsn);
                Ok(reader)
            }
            None => Err(Error::NotFound { what: format!("log from {from} on") }),
        }
    }
}

impl LogReader<'_> {
    /// Where reading has come to: records that end at or below this were handed out.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.at.max(self.from)
    }

    /// The next durable record, or `None` if there is none yet.
    ///
    /// # Errors
    /// [`Error::Corrupted`] if a durable group cannot be read back; [`Error::Io`].
    pub fn next_record(&mut self) -> Result<Option<LoggedRecord>> {
        loop {
            while self.taken < self.pending.len() {
                let (start, rest) = (self.at, &self.pending[self.taken..]);
                let (record, _) = Record::decode(rest, start)?;
                let bytes = record.as_bytes();
                let lsn = Lsn::new(start.get().saturating_add(bytes.len() as u64));
                if lsn > self.limit {
                    return Ok(None);
                }
                self.taken += bytes.len();
                self.at = lsn;
                if start >= self.from {
                    return Ok(Some(LoggedRecord { start, lsn, bytes: bytes.to_vec() }));
                }
            }
            if !self.load_group()? {
                return Ok(None);
            }
        }
    }

    /// Waits until there is more to read, `timeout` is over or the log is poisoned; returns whether there is. Does not
    /// wait, and flushes nothing, on a disk where a seed decides everything.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let more = || self.wal.durable_lsn() > self.at;
        let start = self.wal.clock.map(|_| Instant::now());
        let mut flush = self.wal.flush.lock();
        while !more() {
            let left = start.map_or(Duration::ZERO, |start| timeout.saturating_sub(start.elapsed()));
            if left.is_zero() || self.wal.poison.is_set() {
                return false;
            }
            self.wal.flushed.wait_for(&mut flush, left);
        }
        true
    }

    /// Takes the next durable group in hand.
    fn load_group(&mut self) -> Result<bool> {
        if self.wal.durable_lsn().min(self.limit) <= self.behind.lsn {
            return Ok(false);
        }
        let id = self.wal.store_id;
        let Some((header, _, behind)) = self.scanner.next(&self.behind, |group| group.store_id == id)? else {
            let path = segment_path(&self.wal.segments.dir, self.behind.segment);
            let detail = format!("a durable group cannot be read back from {}", path.display());
            return Err(Error::corrupted(Site::Log(self.behind.lsn), detail));
        };
        debug_assert!(header.len as usize + HEADER <= super::group::GROUP_MAX as usize);
        self.pending.clear();
        self.pending.extend_from_slice(self.scanner.records(&header));
        self.taken = 0;
        self.at = header.start;
        self.wal.holds.lock().update(self.hold, header.start);
        self.behind = behind;
        Ok(true)
    }
}

impl Iterator for LogReader<'_> {
    type Item = Result<LoggedRecord>;

    fn next(&mut self) -> Option<Result<LoggedRecord>> {
        if self.failed {
            return None;
        }
        let next = self.next_record();
        self.failed = next.is_err();
        next.transpose()
    }
}

impl Drop for LogReader<'_> {
    fn drop(&mut self) {
        self.wal.holds.lock().remove(self.hold);
    }
}
