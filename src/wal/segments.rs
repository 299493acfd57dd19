//! The segment files: which hold the log, which stand ready, and where the next group goes.
//!
//! A segment is zero-filled and synced under another name before it gets its own, so that no group ever extends a file
//! or converts an unwritten extent, both of which put a file-system journal commit into every sync (see
//! `docs/design.md`, section 3.3). What the log no longer needs is renamed to a future number; the directory is synced
//! before the segment counts as ready, so before any group goes in.
//!
//! Two locks: `admin` is held by whoever creates, renames or removes files; `state` only for a few instructions. The
//! flush takes `state` alone, so it never waits for a file being filled.

use super::group::BLOCK;
use super::options::{SyncMethod, WalOptions};
use super::place::{Marks, UNFINISHED, WalPosition, segment_path};
use super::space::Space;
use crate::error::{Error, Result};
use crate::io::{AlignedBuf, Disk, DiskFile, OpenMode};
use crate::sync::{Arc, Condvar, Mutex};
use crate::types::Lsn;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

/// The most segments that stand ready: each is open, with two descriptors.
const READY_MAX: u64 = 128;
/// How much is zero-filled with one write.
const FILL_BYTES: usize = 1 << 20;

/// A segment wholly behind the current one.
#[derive(Debug)]
pub(crate) struct Retained {
    pub(crate) seq: u64,
    /// No record in it ends beyond this.
    pub(crate) end: Lsn,
}

/// A segment that groups go to.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) seq: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
    /// Where the next group goes.
    pub(crate) offset: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) retained: VecDeque<Retained>,
    pub(crate) current: Open,
    pub(crate) ready: VecDeque<Open>,
    /// Behind the last durable group.
    pub(crate) end: WalPosition,
    pub(crate) marks: Marks,
    /// The number of file bytes written at which pressure is due next.
    pressure_at: u64,
    /// Whether who waits in [`Segments::wait_for_want`] is to come back though nothing is wanted.
    nudged: bool,
}

/// The place a group was given.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) at: WalPosition,
}

#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    options: WalOptions,
    admin: Mutex<()>,
    state: Mutex<State>,
    /// Told when the last ready segment is taken into use.
    taken: Condvar,
}

/// What came of asking for one more segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    /// One was made.
    Added,
    /// The log has as many as it may.
    Full,
}

impl State {
    pub(crate) fn new(retained: VecDeque<Retained>, current: Open, end: WalPosition, marks: Marks) -> State {
        State { retained, current, ready: VecDeque::new(), end, marks, pressure_at: 0, nudged: false }
    }

    pub(crate) fn total(&self) -> u64 {
        self.retained.len() as u64 + 1 + self.ready.len() as u64
    }

    /// Whether one more segment is to stand ready, rather than be removed: up to half of the log, and no more than
    /// [`READY_MAX`]. One rule for those that are
    /// recycled and those that an opening finds; else each opening would remove what the closing had kept.
    pub(crate) fn keeps_ready(&self, options: &WalOptions) -> bool {
        (self.ready.len() as u64) < (options.max_segments() / 2).clamp(2, READY_MAX)
    }

    /// The number the next new segment gets.
    pub(crate) fn next_seq(&self) -> u64 {
        self.ready.back().map_or(self.current.seq, |last| last.seq) + 1
    }

    /// File bytes that hold the log, unusable segment tails included.
    fn used(&self, segment: u64) -> u64 {
        self.retained.len() as u64 * segment + self.current.offset
    }
}

impl Segments {
    /// Takes over `state` and tells `space` what it offers.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, options: WalOptions, state: State, space: &Space) -> Segments {
        let segments =
            Segments { disk, dir, options, admin: Mutex::new(()), state: Mutex::new(state), taken: Condvar::new() };
        let mut state = segments.state.lock();
        // A flush moves segments from the one to the other, and is to allocate nothing.
        let most = usize::try_from(segments.options.max_segments()).unwrap_or(usize::MAX).min(4096);
        state.retained.reserve(most);
        state.ready.reserve(most);
        space.grow(segments.capacity(&state));
        segments.update_floor(&state, space);
        drop(state);
        segments
    }

    pub(crate) fn options(&self) -> &WalOptions {
        &self.options
    }

    fn buffer(&self) -> u64 {
        self.options.buffer_bytes as u64
    }

    /// What a ready segment adds to the capacity: a group that does not fit behind the last one leaves less than a
    /// buffer's length unused.
    fn segment_capacity(&self) -> u64 {
        self.options.segment_bytes - self.buffer()
    }

    /// File bytes that groups can take whatever their sizes.
    fn capacity(&self, state: &State) -> u64 {
        let rest = state.current.len.saturating_sub(state.current.offset).saturating_sub(self.buffer());
        rest + state.ready.len() as u64 * self.segment_capacity()
    }

    /// Keeps the last segment the log may have for the checkpoint.
    fn update_floor(&self, state: &State, space: &Space) {
        let all = state.total() >= self.options.max_segments();
        let floor = match (all, state.ready.is_empty()) {
            (false, _) => 0,
            (true, false) => self.segment_capacity(),
            (true, true) => u64::MAX >> 1,
        };
        space.set_floor(floor);
    }

    /// Gives the group of `bytes` that starts at `start` its place: behind the last one, or at the start of the next
    /// segment. Called only by the one flush that runs; nothing is taken before [`Segments::written`].
    pub(crate) fn place(&self, bytes: u64, start: Lsn, space: &Space) -> Result<Slot> {
        let mut state = self.state.lock();
        if state.current.offset.saturating_add(bytes) > state.current.len {
            let Some(next) = state.ready.pop_front() else {
                // Reservations make this impossible; if they are broken, the caller poisons the log.
                return Err(Error::NoSpace { what: "place a log group", needed: bytes });
            };
            let full = std::mem::replace(&mut state.current, next);
            state.retained.push_back(Retained { seq: full.seq, end: start });
            self.update_floor(&state, space);
            if self.wants(&state) {
                self.taken.notify_all();
            }
        }
        let current = &state.current;
        let at = WalPosition { lsn: start, segment: current.seq, offset: current.offset, prev_crc: state.end.prev_crc };
        Ok(Slot { file: Arc::clone(&current.file), at })
    }

    /// Records that the group at `at` is durable: `bytes` of file, up to `end`, with checksum `crc`; it had `account`
    /// bytes reserved. Says whether the log asks for a checkpoint now.
    pub(crate) fn written(&self, at: WalPosition, bytes: u64, end: Lsn, crc: u32, account: u64, space: &Space) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let before = self.capacity(state);
        state.marks.offer(at);
        state.current.offset = at.offset + bytes;
        state.end = WalPosition { lsn: end, segment: at.segment, offset: at.offset + bytes, prev_crc: crc };
        // A group never takes more than its records reserved, so this never shrinks what is free.
        let taken = before - self.capacity(state);
        debug_assert!(taken <= account, "a group took more than was reserved for it");
        space.give_back(account.saturating_sub(taken));

        let segment = self.options.segment_bytes;
        let written = state.current.seq.saturating_mul(segment) + state.current.offset;
        let due = self.is_half(state) && written >= state.pressure_at;
        if due {
            state.pressure_at = written + segment / 2;
        }
        due
    }

    fn is_half(&self, state: &State) -> bool {
        state.used(self.options.segment_bytes) >= self.options.max_log_bytes / 2
    }

    /// Whether the log is half full, or fuller: when it asks for a checkpoint.
    pub(crate) fn is_half_full(&self) -> bool {
        self.is_half(&self.state.lock())
    }

    /// Makes one more segment ready if the log may have it: for anyone, or the very last for the checkpoint. Costs the
    /// zero-filling and syncing of a whole segment. `enough` is asked again under the lock.
    pub(crate) fn grow(&self, checkpoint: bool, space: &Space, enough: impl Fn() -> bool) -> Result<Grown> {
        let _admin = self.admin.lock();
        if enough() {
            return Ok(Grown::Added);
        }
        let seq = {
            let state = self.state.lock();
            let limit = self.options.max_segments() - u64::from(!checkpoint);
            if state.total() >= limit {
                return Ok(Grown::Full);
            }
            state.next_seq()
        };
        let open = create_segment(&*self.disk, &self.dir, seq, &self.options)?;
        self.add_ready(open, space);
        Ok(Grown::Added)
    }

    /// Whether no segment stands ready although the log may have one more.
    pub(crate) fn wants_more(&self) -> bool {
        self.wants(&self.state.lock())
    }

    fn wants(&self, state: &State) -> bool {
        state.ready.is_empty() && state.total() < self.options.max_segments() - 1
    }

    /// Waits until a segment is wanted, [`Segments::nudge`] is called, or `timeout` has passed.
    pub(crate) fn wait_for_want(&self, timeout: Duration) {
        let mut state = self.state.lock();
        if !state.nudged && !self.wants(&state) {
            self.taken.wait_for(&mut state, timeout);
        }
        state.nudged = false;
    }

    /// Ends one wait for a want, present or next.
    pub(crate) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.taken.notify_all();
    }

    fn add_ready(&self, open: Open, space: &Space) {
        let mut state = self.state.lock();
        let before = self.capacity(&state);
        state.ready.push_back(open);
        // The floor first: the last segment is never open to everyone, not even for a moment.
        self.update_floor(&state, space);
        space.grow(self.capacity(&state) - before);
    }

    /// Recycles or removes every segment whose records all end at or below `lsn`. Returns how many.
    ///
    /// `held` is asked under the lock under which readers look up their start: who holds before it looks is never
    /// overtaken.
    pub(crate) fn release_below(&self, lsn: Lsn, space: &Space, held: impl Fn() -> Option<Lsn>) -> Result<usize> {
        let _admin = self.admin.lock();
        let mut released = 0;
        loop {
            let (seq, recycle_to) = {
                let mut state = self.state.lock();
                let durable_segment = state.end.segment;
                let Some(oldest) = state.retained.front() else { break };
                let limit = held().map_or(lsn, |held| held.min(lsn));
                if oldest.end > limit || oldest.seq >= durable_segment {
                    break;
                }
                let seq = oldest.seq;
                let recycle_to = state.keeps_ready(&self.options).then(|| state.next_seq());
                // Nobody is to be led to it from here on; readers hold back what they need.
                state.marks.forget_below(seq + 1);
                (seq, recycle_to)
            };
            let ready = self.retire(seq, recycle_to)?;
            self.state.lock().retained.pop_front();
            released += 1;
            match ready {
                Some(open) => self.add_ready(open, space),
                None => {
                    let state = self.state.lock();
                    self.update_floor(&state, space);
                    if self.wants(&state) {
                        self.taken.notify_all();
                    }
                }
            }
        }
        Ok(released)
    }

    /// Renames segment `seq` to `recycle_to` and returns it ready, or removes it.
    fn retire(&self, seq: u64, recycle_to: Option<u64>) -> Result<Option<Open>> {
        let path = segment_path(&self.dir, seq);
        if let Some(to) = recycle_to {
            let target = segment_path(&self.dir, to);
            let file = match self.disk.open(&path, OpenMode::ReadWrite) {
                Ok(file) => file,
                // Renamed by an attempt that failed only after that. Its new name was never counted as ready: the next
                // segment of that number replaces it.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io("open log segment", Some(&path), e)),
            };
            let len = file.len().map_err(|e| Error::io("read log segment length", Some(&path), e))?;
            drop(file);
            if len == self.options.segment_bytes {
                self.disk.rename(&path, &target).map_err(|e| Error::io("recycle log segment", Some(&path), e))?;
                let sync = self.disk.sync_dir(&self.dir);
                sync.map_err(|e| Error::io("sync log directory", Some(&self.dir), e))?;
                let file = open_for_groups(&*self.disk, &target, OpenMode::ReadWrite, &self.options)
                    .map_err(|e| Error::io("open log segment", Some(&target), e))?;
                return Ok(Some(Open { seq: to, file, len, offset: 0 }));
            }
        }
        match self.disk.remove(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove log segment", Some(&path), e)),
            _ => Ok(None),
        }
    }

    /// The greatest remembered group start at or below `lsn`; the end of the log from there on.
    pub(crate) fn locate(&self, lsn: Lsn) -> Option<WalPosition> {
        let state = self.state.lock();
        if lsn >= state.end.lsn { Some(state.end) } else { state.marks.locate(lsn) }
    }

    /// The oldest remembered group start, or the end if there is none.
    pub(crate) fn oldest(&self) -> WalPosition {
        let state = self.state.lock();
        state.marks.first().unwrap_or(state.end)
    }

    /// File bytes that hold the log, unusable segment tails included.
    pub(crate) fn used(&self) -> u64 {
        self.state.lock().used(self.options.segment_bytes)
    }

    /// Segment files: behind the current one, and ready ahead of it.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.retained.len(), state.ready.len())
    }
}

/// Makes segment `seq`: zero-filled and synced under another name, then renamed, then the directory is synced. What
/// fails leaves nothing behind that could be taken for a segment.
pub(crate) fn create_segment(disk: &dyn Disk, dir: &std::path::Path, seq: u64, options: &WalOptions) -> Result<Open> {
    let len = options.segment_bytes;
    debug_assert!(len.is_multiple_of(BLOCK));
    let unfinished = dir.join(UNFINISHED);
    let made = fill_segment(disk, &unfinished, options).and_then(|()| {
        let path = segment_path(dir, seq);
        disk.rename(&unfinished, &path).map_err(|e| Error::io("name log segment", Some(&path), e))?;
        disk.sync_dir(dir).map_err(|e| Error::io("sync log directory", Some(dir), e))?;
        open_for_groups(disk, &path, OpenMode::ReadWrite, options)
            .map_err(|e| Error::io("open log segment", Some(&path), e))
    });
    match made {
        Ok(file) => Ok(Open { seq, file, len, offset: 0 }),
        Err(error) => {
            // Best effort: a leftover is overwritten by the next try, or removed at the next open.
            let _ = disk.remove(&unfinished);
            let needed = len;
            Err(match error {
                Error::NoSpace { what, .. } => Error::NoSpace { what, needed },
                other => other,
            })
        }
    }
}

/// Opens a file that groups are to go to, past the system's cache if the options have that or leave it open: hardly anybody reads a
/// group before the store is opened again, and each is whole blocks.
pub(crate) fn open_for_groups(
    disk: &dyn Disk,
    path: &std::path::Path,
    mode: OpenMode,
    options: &WalOptions,
) -> std::io::Result<Arc<dyn DiskFile>> {
    match options.sync_method {
        SyncMethod::Auto | SyncMethod::DirectDsync => disk.open_direct(path, mode),
        _ => disk.open(path, mode),
    }
}

fn fill_segment(disk: &dyn Disk, path: &std::path::Path, options: &WalOptions) -> Result<()> {
    let len = options.segment_bytes;
    let failed = |op| move |e| Error::io(op, Some(path), e);
    if disk.kind(path).map_err(failed("look for unfinished log segment"))?.is_some() {
        disk.remove(path).map_err(failed("remove unfinished log segment"))?;
    }
    let file = open_for_groups(disk, path, OpenMode::CreateNew, options).map_err(failed("create log segment"))?;
    file.allocate(0, len).map_err(failed("allocate log segment"))?;
    let zeros = AlignedBuf::zeroed(FILL_BYTES.min(len as usize));
    let mut at = 0;
    while at < len {
        let n = zeros.len().min((len - at) as usize);
        file.write_at(&zeros[..n], at).map_err(failed("fill log segment"))?;
        at += n as u64;
    }
    file.sync_all().map_err(failed("sync log segment"))
}
