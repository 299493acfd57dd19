//! Finding the end of the log after a crash, and telling a torn tail from damage.
//!
//! Groups are read in the order of their chain. Where no group continues it, either the log ends, because a crash cut
//! off what nobody had been promised, or acknowledged data is damaged. **The judgement**: a group is written only when
//! all before it is durable, and says so in its header. If any later group, the superblock's accepted end, or what the
//! caller knows otherwise (`proven`) says that an LSN beyond the hole was durable, the answer is
//! [`Error::Corrupted`]; otherwise the log ends at the hole. Later groups are looked for unless the log's end is known
//! ([`RecoveryPoint::end_known`]). A flip in the very last acknowledged group, with no such
//! witness, cannot be told from a torn tail; the store narrows that gap by what its pages prove.
//!
//! A lost timeline (groups behind a hole at which an earlier recovery ended the log) passes neither for the present nor
//! for a witness: it is of an incarnation below the superblock's and does not lie below the accepted end (W4). The bytes
//! of recycled segments were written before anything beyond a present hole was durable, and say so.
//!
//! Then [`Wal::open_at`] rewrites what is accepted but not proven durable, byte for byte, and syncs it: what a read
//! returned after a failed sync, in this or an earlier process, is no proof of being on disk.

use super::group::GroupHeader;
use super::log::{Wal, list_segments, remove_unfinished};
use super::options::WalOptions;
use super::place::{Marks, WalPosition, segment_path};
use super::record::Record;
use super::scan::Scanner;
use super::segments::{Open, Retained, State, open_for_groups};
use crate::error::{Error, Result, Site};
use crate::io::{Disk, OpenMode};
use crate::sync::Arc;
use crate::types::Lsn;
use std::collections::VecDeque;
use std::path::Path;

/// How many groups not proven durable are told apart; this crate's own logs end in one at most.
const UNPROVEN_MAX: usize = 1_000;

/// What is known of a log before it is read: mostly from the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// The id of the store, as given to [`Wal::create`].
    pub store_id: u64,
    /// Where to start: the place kept for the redo LSN.
    pub from: WalPosition,
    /// The incarnation in the superblock: that of the last session which could write groups.
    pub incarnation: u64,
    /// The end of the log that session accepted at its open: groups of older incarnations are valid only below it, and
    /// the log cannot end before it.
    pub accepted_end: Lsn,
    /// The greatest LSN known durable from elsewhere; the redo LSN at least, or [`Lsn::NONE`].
    pub proven: Lsn,
    /// The log is known to end where nothing continues it: nothing was written behind it, or it was scanned before. Otherwise
    /// all that lies behind its end, as far as there are segments, is searched for a witness that it ought to go on.
    pub end_known: bool,
}

/// The end of the log, as [`scan`] found it: what [`Wal::open_at`] continues from.
#[derive(Clone, Debug)]
pub struct LogTail {
    end: WalPosition,
    highest_incarnation: u64,
    proven_durable: Lsn,
    /// The first group not proven durable, with its place.
    rewrite_from: Option<WalPosition>,
    keep_from: u64,
    marks: Marks,
    /// The segments read, with the start of the first group in each.
    segments: Vec<(u64, Lsn)>,
    records: u64,
}

impl LogTail {
    /// Where the log ends and the next group goes: what the superblock keeps as the accepted end.
    #[must_use]
    pub fn end(&self) -> WalPosition {
        self.end
    }

    /// The greatest incarnation seen, the superblock's included; the next session takes a greater one.
    #[must_use]
    pub fn highest_incarnation(&self) -> u64 {
        self.highest_incarnation
    }

    /// The greatest LSN that something on disk proves to have been durable before this recovery.
    #[must_use]
    pub fn proven_durable(&self) -> Lsn {
        self.proven_durable
    }

    /// How many records were accepted.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Keeps the segments from `segment` on, besides those read: what the older superblock copy needs (C1).
    #[must_use]
    pub fn keep_from(mut self, segment: u64) -> LogTail {
        self.keep_from = self.keep_from.min(segment);
        self
    }
}

/// Reads the log in `dir` from `point` on, calls `on_record` with start, LSN and content of every record of every
/// accepted group, in order, and returns where the log ends. `progress` gets the file bytes of each group as it is
/// accepted. Changes nothing on disk; keeps one group in memory.
///
/// A group is validated as a whole before the first of its records is handed out. If damage shows only behind it, the
/// error comes after `on_record` has seen what lies before: drop what was built from it. To see records only of a log
/// known to be whole, scan twice, the first time with a closure that does nothing.
///
/// # Errors
/// [`Error::Corrupted`] naming the LSN or the file, if acknowledged data is damaged or missing (see the module's text);
/// [`Error::Io`]; whatever `on_record` answers. Whatever the bytes: no panic, and no more memory than the greatest group.
pub fn scan(
    disk: &dyn Disk,
    dir: &Path,
    point: &RecoveryPoint,
    mut on_record: impl FnMut(Lsn, Lsn, &Record<'_>) -> Result<()>,
    mut progress: impl FnMut(u64),
) -> Result<LogTail> {
    let mut scanner = Scanner::new(disk, dir);
    let mut tail = LogTail {
        end: point.from,
        highest_incarnation: point.incarnation,
        proven_durable: point.proven.max(point.accepted_end),
        rewrite_from: None,
        keep_from: point.from.segment,
        marks: Marks::new(),
        segments: Vec::new(),
        records: 0,
    };
    let missing = !scanner.exists(point.from.segment)?;
    let mut incarnation = 0;
    let mut unproven = VecDeque::new();
    loop {
        let (seen, at) = (incarnation, tail.end);
        let found = scanner.next(&at, |group| of_the_present(group, point, seen))?;
        let Some((header, place, behind)) = found else { break };
        accept(&mut tail, &header, place, behind, &mut unproven);
        incarnation = header.incarnation;
        hand_out(scanner.records(&header), header.start, &mut tail.records, &mut on_record)?;
        progress(header.file_bytes());
    }
    if missing && tail.segments.is_empty() {
        let path = segment_path(dir, point.from.segment);
        return Err(Error::corrupted(Site::File(path), "a log segment that is needed is missing"));
    }
    judge(&tail)?;
    if !point.end_known {
        search(&mut scanner, point, &tail, incarnation, list_segments(disk, dir)?)?;
    }
    tail.rewrite_from = unproven.front().copied();
    Ok(tail)
}

/// Whether a group that continues the chain may be of the present: incarnations never fall along the chain, and older
/// ones than the superblock's are valid only below the accepted end (W4).
fn of_the_present(group: &GroupHeader, point: &RecoveryPoint, seen: u64) -> bool {
    group.store_id == point.store_id
        && group.incarnation >= seen
        && (group.incarnation >= point.incarnation || group.end() <= point.accepted_end)
}

/// Takes the group at `place` into the log.
fn accept(
    tail: &mut LogTail,
    header: &GroupHeader,
    place: WalPosition,
    behind: WalPosition,
    unproven: &mut VecDeque<WalPosition>,
) {
    if tail.segments.last().is_none_or(|(segment, _)| *segment != place.segment) {
        tail.segments.push((place.segment, place.lsn));
    }
    tail.marks.offer(place);
    tail.highest_incarnation = tail.highest_incarnation.max(header.incarnation);
    tail.proven_durable = tail.proven_durable.max(header.durable.min(header.start));
    tail.end = behind;
    unproven.push_back(place);
    if unproven.len() > UNPROVEN_MAX {
        // More is rewritten than need be, but memory stays bounded.
        unproven.remove(1);
    }
    // A group starts where the one before it ends: it is proven once the next one's start is at or below what is proven.
    while unproven.get(1).map_or(tail.end.lsn, |next| next.lsn) <= tail.proven_durable {
        if unproven.pop_front().is_none() {
            break;
        }
    }
}

/// Hands out the records of one group; all are checked before the first is.
fn hand_out(
    bytes: &[u8],
    start: Lsn,
    count: &mut u64,
    on_record: &mut impl FnMut(Lsn, Lsn, &Record<'_>) -> Result<()>,
) -> Result<()> {
    let after = |at: Lsn, record: &Record<'_>| Lsn::new(at.get().saturating_add(record.as_bytes().len() as u64));
    let (mut rest, mut at) = (bytes, start);
    while !rest.is_empty() {
        let (record, more) = Record::decode(rest, at)?;
        (rest, at) = (more, after(at, &record));
    }
    let (mut rest, mut at) = (bytes, start);
    while !rest.is_empty() {
        let (record, more) = Record::decode(rest, at)?;
        let end = after(at, &record);
        on_record(at, end, &record)?;
        *count += 1;
        (rest, at) = (more, end);
    }
    Ok(())
}

/// Nothing continues the log at its end: is that a torn tail, or is something known to have been durable behind it?
fn judge(tail: &LogTail) -> Result<()> {
    let (hole, known) = (tail.end, tail.proven_durable);
    if hole.lsn < known {
        let detail = format!("no valid group is there, but the log was durable up to {known}");
        return Err(Error::corrupted(Site::Log(hole.lsn), detail));
    }
    Ok(())
}

/// Searches all that lies behind the log's end for a group that says that more was durable. Cost: reads what stands
/// ready, up to half of what the log may be.
fn search(
    scanner: &mut Scanner<'_>,
    point: &RecoveryPoint,
    tail: &LogTail,
    seen: u64,
    segments: Vec<u64>,
) -> Result<()> {
    let hole = tail.end;
    let witness = |group: &GroupHeader| of_the_present(group, point, seen) && group.durable > hole.lsn;
    for segment in segments.into_iter().filter(|segment| *segment >= hole.segment) {
        let offset = if segment == hole.segment { hole.offset } else { 0 };
        if let Some(group) = scanner.find(segment, offset, witness)? {
            let (start, durable) = (group.start, group.durable);
            let detail = format!("no valid group is there, but the one at {start} says that {durable} was durable");
            return Err(Error::corrupted(Site::Log(hole.lsn), detail));
        }
    }
    Ok(())
}

impl Wal {
    /// Continues the log in `dir` at `tail`. First rewrites, byte for byte, and syncs what `tail` holds beyond the last
    /// LSN proven durable, so that on return [`durable_lsn`](Wal::durable_lsn) is the tail's end. Segments below what is
    /// kept and stale ones beyond the end are recycled or removed. Writes no new group.
    ///
    /// **Order (W4)**: call this; then write a superblock with `incarnation` and [`LogTail::end`] durably; only then
    /// append. A crash in between finds the same log again.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], also for an `incarnation` not above [`LogTail::highest_incarnation`];
    /// [`Error::Corrupted`] if the log is no longer what was scanned; [`Error::NoSpace`] and [`Error::Io`]. Nothing is
    /// lost then: try again.
    pub fn open_at(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_id: u64,
        tail: LogTail,
        incarnation: u64,
        options: WalOptions,
    ) -> Result<Wal> {
        options.validate()?;
        if incarnation <= tail.highest_incarnation {
            let reason = format!("{incarnation} is not above {}, which the log has seen", tail.highest_incarnation);
            return Err(Error::InvalidOption { option: "incarnation", reason });
        }
        rewrite(&*disk, dir, &tail)?;
        remove_unfinished(&*disk, dir)?;
        disk.sync_dir(dir).map_err(|e| Error::io("sync log directory", Some(dir), e))?;
        let end = tail.end;
        let current = open_segment(&*disk, dir, end.segment, end.offset, &options)?;
        options.sync_method.check(&*current.file)?;
        let found = list_segments(&*disk, dir)?;
        let retained = retained(&found, &tail);
        let mut state = State::new(retained, current, end, tail.marks);
        adopt(&*disk, dir, &found, tail.keep_from, &options, &mut state)?;
        Ok(Wal::start(disk, dir, store_id, incarnation, options, state))
    }
}

/// Writes the unproven groups of `tail` again as they are, and syncs them.
fn rewrite(disk: &dyn Disk, dir: &Path, tail: &LogTail) -> Result<()> {
    let Some(mut at) = tail.rewrite_from else { return Ok(()) };
    let mut scanner = Scanner::new(disk, dir);
    while at.lsn < tail.end.lsn {
        let Some((header, place, behind)) = scanner.next(&at, |_| true)? else {
            return Err(Error::corrupted(Site::Log(at.lsn), "the log changed while it was being recovered"));
        };
        let path = segment_path(dir, place.segment);
        let failed = |e| Error::io("rewrite the end of the log", Some(&path), e);
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        file.write_at(scanner.whole(&header), place.offset).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        at = behind;
    }
    Ok(())
}

fn open_segment(disk: &dyn Disk, dir: &Path, seq: u64, offset: u64, options: &WalOptions) -> Result<Open> {
    let path = segment_path(dir, seq);
    let failed = |e| Error::io("open log segment", Some(&path), e);
    let file = open_for_groups(disk, &path, OpenMode::ReadWrite, options).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    Ok(Open { seq, file, len, offset })
}

/// The segments behind the end's that are kept, with the greatest LSN each can hold.
fn retained(found: &[u64], tail: &LogTail) -> VecDeque<Retained> {
    let kept = found.iter().filter(|seq| (tail.keep_from..tail.end.segment).contains(*seq));
    let end_of = |seq: u64| {
        let later = tail.segments.iter().find(|(segment, _)| *segment > seq);
        later.map_or(tail.end.lsn, |(_, first)| *first)
    };
    kept.map(|seq| Retained { seq: *seq, end: end_of(*seq) }).collect()
}

/// Takes the segments that follow the end without a gap as ready, as many as are of use, and removes all others that
/// are not kept. What they hold cannot pass for the present: see the module's text.
fn adopt(
    disk: &dyn Disk,
    dir: &Path,
    found: &[u64],
    keep_from: u64,
    options: &WalOptions,
    state: &mut State,
) -> Result<()> {
    if state.current.len != options.segment_bytes {
        // Made under another option, or not whole: the next group goes to the next segment.
        state.current.offset = state.current.len;
    }
    let end = state.current.seq;
    for &seq in found.iter().filter(|seq| **seq < keep_from || **seq > end) {
        if seq == state.next_seq() && state.keeps_ready(options) && state.total() < options.max_segments() {
            // One that cannot be opened (the process may have no descriptors left) is of no use, but no reason not to go on.
            if let Ok(open) = open_segment(disk, dir, seq, 0, options)
                && open.len == options.segment_bytes
            {
                state.ready.push_back(open);
                continue;
            }
        }
        let path = segment_path(dir, seq);
        disk.remove(&path).map_err(|e| Error::io("remove log segment", Some(&path), e))?;
    }
    Ok(())
}
