//! The one way to a sync of the page file: one runs at a time, and none after one that failed (P9).
//!
//! A sync that fails loses what the system likes of everything written before it, whoever wrote it, and **no later sync says
//! so**: the system may have dropped the dirty marks. Whoever syncs for himself would so be told of success while his pages
//! are gone, because somebody else's sync, in between, was the one that failed. Here four kinds of sync meet: those of a
//! batch of pages, of large values and loaded leaves, of a checkpoint, and of a superblock.
//!
//! | who comes while | does |
//! |---|---|
//! | no sync runs | leads: makes the next one |
//! | one runs | waits for the one after it, for the one that runs may have begun before the last write; one of those who wait leads it for all |
//! | one has failed | is refused, for ever |
//!
//! That a sync failed is noted before the gate opens to those who wait. Nobody can have a success that began after it.
//!
//! **Lock order.** The gate is a leaf: its lock is held for a few instructions, never through a sync, and nothing else is
//! acquired under it. Who waits at the gate may hold what a flusher or a checkpoint holds, since a leader needs none of it:
//! it is in the disk.

use crate::io::DiskFile;
use crate::page::bytes::PageWriter;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::io;

/// The page file with the gate before its syncs; all else passes.
#[derive(Debug)]
pub(super) struct GatedFile {
    file: Arc<dyn DiskFile>,
    /// Whether synced writes go past the gate as long as they go past the system's cache: then who writes is told himself.
    past: bool,
    gate: Mutex<Gate>,
    /// Notified when a sync has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    /// Syncs begun.
    begun: u64,
    /// The last of them that succeeded: what was written before it began is on the medium.
    succeeded: u64,
    /// Whether a leader is at work.
    running: bool,
    /// Somebody who waits for the next one wants the whole length of the file too.
    length: bool,
    /// Why no sync succeeds any more.
    failed: Option<Arc<str>>,
}

/// A leader's sync. Dropped when it has ended, in whatever way.
struct Turn<'a> {
    file: &'a GatedFile,
    number: u64,
    /// What to leave behind; nothing after a success.
    failure: Option<Arc<str>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut gate = self.file.gate.lock();
        gate.running = false;
        match self.failure.take() {
            None => gate.succeeded = self.number,
            failure => gate.failed = failure,
        }
        self.file.ended.notify_all();
    }
}

impl GatedFile {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> GatedFile {
        GatedFile { file, past: false, gate: Mutex::new(Gate::default()), ended: Condvar::new() }
    }

    /// A file of which only synced writes are wanted, and those past the cache need no gate. A system may refuse those late, with the
    /// first transfer: so it is asked each time.
    pub(super) fn for_copies(file: Arc<dyn DiskFile>) -> GatedFile {
        GatedFile { past: true, ..GatedFile::new(file) }
    }

    /// The number of the first sync that covers all that was written before this call.
    pub(super) fn next(&self) -> u64 {
        self.gate.lock().begun + 1
    }

    /// The number of the last sync that succeeded: all before it did.
    pub(super) fn succeeded(&self) -> u64 {
        self.gate.lock().succeeded
    }

    /// Returns after a sync that began after this call; with `length`, one that covers all of the file's length.
    fn pass(&self, length: bool) -> io::Result<()> {
        if cfg!(pagebox_break = "sync_gate") {
            return self.sync(length);
        }
        let mut gate = self.gate.lock();
        let needed = gate.begun + 1;
        gate.length |= length;
        self.wait_for(needed, gate)
    }

    /// Returns after the sync of this number, as [`GatedFile::next`] gave it.
    pub(super) fn reach(&self, number: u64) -> io::Result<()> {
        self.wait_for(number, self.gate.lock())
    }

    fn wait_for(&self, needed: u64, mut gate: MutexGuard<'_, Gate>) -> io::Result<()> {
        while gate.succeeded < needed {
            if let Some(cause) = &gate.failed {
                return Err(io::Error::other(format!("an earlier sync of this file failed: {cause}")));
            }
            if gate.running {
                self.ended.wait(&mut gate);
                continue;
            }
            // It is the one that is needed: had that one ended already, it would have succeeded or failed.
            return self.lead(gate);
        }
        Ok(())
    }

    fn lead(&self, mut gate: MutexGuard<'_, Gate>) -> io::Result<()> {
        gate.running = true;
        gate.begun += 1;
        let length = std::mem::take(&mut gate.length);
        let mut turn = Turn { file: self, number: gate.begun, failure: Some("a thread panicked in it".into()) };
        drop(gate);
        let result = self.sync(length);
        turn.failure = result.as_ref().err().map(|error| error.to_string().into());
        result
    }

    fn sync(&self, length: bool) -> io::Result<()> {
        if length { self.file.sync_all() } else { self.file.sync_data() }
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn read_page(&self, page: &mut PageWriter<'_>, offset: u64) -> io::Result<usize> {
        self.file.read_page(page, offset)
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.file.prefetch(offset, len);
    }

    fn forget(&self, offset: u64, len: u64) {
        self.file.forget(offset, len);
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pass(false)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.pass(true)
    }
    fn write_at_sync(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if self.past && self.file.is_direct() {
            return self.file.write_at_sync(buf, offset);
        }
        // A write and a sync: one of its own would be a sync beside the gate.
        self.write_at(buf, offset)?;
        self.sync_data()
    }
}
