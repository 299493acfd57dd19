//! Appending: an LSN is claimed and its bytes placed in one critical section (W2).
//!
//! Claiming the LSN first and copying later lets a flush acknowledge by the highest LSN it saw while bytes below it are
//! still missing: acknowledged writes are then lost in a crash. Here both happen under one lock, and what a flush takes
//! is a whole buffer of whole records.

use super::commit::Caller;
use super::group::{GROUP_OVERHEAD, HEADER};
use super::log::Wal;
use super::record::RECORD_OVERHEAD;
use super::space::LogPermit;
use crate::io::AlignedBuf;
use crate::prefetch::prefetch_line_to_write;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use crate::types::Lsn;

/// Cache lines behind the last record that are asked for: about as many as the next one, of a short key and value, takes.
const AHEAD_LINES: usize = 4;

/// What records did not need of their reservations is given back once it is this part of a buffer.
const SURPLUS_PART: usize = 16;

/// The end of the log in memory. What an append writes lies in one cache line: it goes from thread to thread.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Tail {
    /// The end of the last record appended.
    pub(crate) position: AtomicU64,
    pub(crate) appender: Mutex<Appender>,
}

/// The buffer that records go to, under the append lock.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Appender {
    /// Room for a group header, then the records since the last flush took the buffer.
    buf: AlignedBuf,
    /// The end of the last record.
    end: Lsn,
    /// File bytes that records did not need of their reservations, still to be given back.
    surplus: u64,
    records: u64,
    capacity: usize,
    /// Where the first record in `buf` starts.
    start: Lsn,
    /// Where the first record since the log was opened starts.
    first: Lsn,
    /// When the first record came into `buf`, in nanoseconds of the log's clock plus one; 0 if there is none.
    opened: u64,
}

/// What a flush takes: the group is in the buffer it swapped in.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) account: u64,
}

// Behind position and lock, what each append writes ends with the line.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(core::mem::offset_of!(Appender, capacity) == 48);

impl Tail {
    pub(crate) fn new(capacity: usize, end: Lsn) -> Tail {
        Tail { position: AtomicU64::new(end.get()), appender: Mutex::new(Appender::new(capacity, end)) }
    }
}

impl Appender {
    fn new(capacity: usize, start: Lsn) -> Appender {
        let buf = new_buffer(capacity);
        let (surplus, records, opened) = (0, 0, 0);
        Appender { buf, end: start, surplus, records, capacity, start, first: start, opened }
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.records, self.end.get() - self.first.get())
    }

    fn is_empty(&self) -> bool {
        self.buf.len() == HEADER
    }

    /// Whether the last record, of `record` bytes, was the one that filled half of the buffer.
    #[inline]
    fn passed_half(&self, record: usize) -> bool {
        let half = self.capacity / 2;
        self.buf.len() >= half && self.buf.len() < half.saturating_add(record)
    }

    fn fits(&self, record: usize) -> bool {
        record <= self.capacity - self.buf.len()
    }

    /// Swaps the filled buffer for `spare`, an empty one; `None` if nothing was appended.
    pub(crate) fn take(&mut self, spare: &mut AlignedBuf) -> Option<Taken> {
        if self.is_empty() {
            return None;
        }
        debug_assert_eq!(spare.len(), HEADER, "the spare buffer is empty");
        std::mem::swap(&mut self.buf, spare);
        // What the records took of their reservations, the group's header and padding included.
        let account = self.end.get() - self.start.get() + GROUP_OVERHEAD;
        let taken = Taken { start: self.start, end: self.end, account };
        self.start = self.end;
        self.opened = 0;
        Some(taken)
    }

    /// The surplus, which the caller gives back.
    pub(crate) fn take_surplus(&mut self) -> u64 {
        std::mem::take(&mut self.surplus)
    }

    /// When the oldest record in the buffer came in.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }
}

/// An empty group buffer: it never grows beyond `capacity`, a multiple of 4,096.
pub(crate) fn new_buffer(capacity: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::with_capacity(capacity);
    buf.resize(HEADER);
    buf
}

/// Whether the length at the front is the record's.
fn is_record(record: &[u8]) -> bool {
    let len = record.first_chunk::<RECORD_OVERHEAD>().map(|len| u32::from_le_bytes(*len) as usize);
    len == Some(record.len())
}

impl Wal {
    /// Appends `record`, as [`RecordBuilder::finish`](super::RecordBuilder::finish) returned it, and returns its LSN: its
    /// end. It is not durable before [`commit`](Wal::commit) of that LSN. Costs one lock and one copy; no allocation.
    ///
    /// Never fails, and waits at most for a log write, when both buffers are full: it may be called under latches, since
    /// a log write needs none. For the same reason no waker runs here, also if a flush does: the background flusher or who
    /// next holds nothing runs it. In a poisoned log the record gets an LSN that never becomes durable. A record that is
    /// malformed or longer than its permit, the caller's own broken invariant, poisons the log.
    pub fn append(&self, permit: LogPermit<'_>, record: &[u8]) -> Lsn {
        let sound = is_record(record) && record.len() <= permit.bytes();
        let mut app = self.tail.appender.lock();
        if sound && !app.fits(record.len()) {
            app = self.make_room(app, record.len());
        }
        let end = Lsn::new(app.end.get().saturating_add(record.len() as u64));
        app.end = end;
        if sound && app.fits(record.len()) {
            self.place_record(&mut app, permit, record);
        } else if !sound {
            // Under the lock, so that no flush takes a buffer that lacks these bytes without seeing the poison.
            self.poison.set("a log record is malformed or longer than the space reserved for it".into());
        }
        // Release: pairs with the Acquire in `position`.
        self.tail.position.store(end.get(), Ordering::Release);
        let half_full = app.passed_half(record.len());
        drop(app);
        if half_full {
            // A hint to the background: with luck it has the other buffer free before this one is full.
            self.request_flush(end);
        }
        if !sound {
            self.wake_all(Caller::Holding);
        }
        end
    }

    #[inline]
    fn place_record(&self, app: &mut Appender, permit: LogPermit<'_>, record: &[u8]) {
        let opens = app.is_empty();
        app.buf.extend_from_slice(record);
        // The locks that follow wait for these stores, and those of the next record will for its own: by then its lines,
        // which the flush has read on another processor, are to be here.
        let next = app.buf.as_ptr_range().end;
        for line in 1..=AHEAD_LINES {
            prefetch_line_to_write(next.wrapping_add(line * 64));
        }
        app.surplus += permit.spend(record.len(), opens);
        // Not each time: all threads that write share the counter.
        if app.surplus >= (app.capacity / SURPLUS_PART) as u64 {
            self.space.give_back(app.take_surplus());
        }
        app.records += 1;
        if opens {
            self.note_opening(app);
        }
    }

    /// Waits for a log write, or makes it, until `record` bytes fit; or until the log is poisoned.
    #[cold]
    fn make_room<'a>(&'a self, app: MutexGuard<'a, Appender>, record: usize) -> MutexGuard<'a, Appender> {
        let mut app = app;
        loop {
            drop(app);
            let alive = self.flush_or_wait(Caller::Holding);
            app = self.tail.appender.lock();
            if !alive || app.fits(record) {
                return app;
            }
        }
    }

    /// Notes the time of a group's first record, if time passes at all.
    fn note_opening(&self, app: &mut Appender) {
        let Some(clock) = self.clock else { return };
        app.opened = (clock.elapsed().as_nanos() as u64).saturating_add(1);
        if self.unsynced_since.load(Ordering::Relaxed) == 0 {
            self.unsynced_since.store(app.opened, Ordering::Relaxed);
        }
    }
}
