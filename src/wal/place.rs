//! Places in the log's files, and the names of those files.

use crate::types::Lsn;
use std::path::{Path, PathBuf};

/// The place of a group start: what a superblock keeps for its redo LSN and for the accepted end of the log.
///
/// It carries what chains the group that starts there to the one before, so that reading can begin anywhere. At the end
/// of the log no group is there yet: the next one goes to this place, or to offset 0 of the next segment if it does not
/// fit behind it; readers look at both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPosition {
    /// The group's start in the stream.
    pub lsn: Lsn,
    /// The sequence number of its segment.
    pub segment: u64,
    /// The byte offset in the segment.
    pub offset: u64,
    /// The CRC of the group before it, 0 for the first.
    pub prev_crc: u32,
}

impl WalPosition {
    /// Where the first group of a new log goes.
    pub const FIRST: WalPosition = WalPosition { lsn: Lsn::FIRST, segment: 1, offset: 0, prev_crc: 0 };
}

/// The file under construction: zero-filled and synced before it gets a segment's name.
pub(crate) const UNFINISHED: &str = "new.tmp";

/// The path of segment `seq`.
pub(crate) fn segment_path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:016x}.log"))
}

/// The sequence number in a segment's name, if it is one: 16 lower-case hex digits and `.log`.
pub(crate) fn segment_number(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// A sparse index of group starts, ascending: one entry for every so many file bytes, the oldest dropped as their
/// segments go, every second one dropped when it grows too long.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Has room for all it may hold: an append that leads a flush, perhaps under latches, is to allocate nothing.
    list: std::collections::VecDeque<WalPosition>,
    spacing: u64,
}

/// The most entries a [`Marks`] holds, 160 KiB, unless there are more segments.
const MARKS_MAX: usize = 5_000;

/// With the room that a copy of a `VecDeque` does not keep: an opening copies what it found.
impl Clone for Marks {
    fn clone(&self) -> Marks {
        let mut marks = Marks { spacing: self.spacing, ..Marks::new() };
        marks.list.extend(&self.list);
        marks
    }
}

impl Marks {
    pub(crate) fn new() -> Marks {
        Marks { list: std::collections::VecDeque::with_capacity(MARKS_MAX), spacing: 64 << 10 }
    }

    /// Offers the start of a group, greater than all before.
    pub(crate) fn offer(&mut self, at: WalPosition) {
        let far =
            |last: &WalPosition| last.segment != at.segment || at.offset.saturating_sub(last.offset) >= self.spacing;
        if !self.list.back().is_none_or(far) {
            return;
        }
        if self.list.len() >= MARKS_MAX {
            let (mut keep, mut segment) = (false, None);
            // The first of each segment stays: when those before it are forgotten, the log still starts somewhere.
            self.list.retain(|mark| {
                keep = !keep;
                let first = segment.replace(mark.segment) != Some(mark.segment);
                keep || first
            });
            self.spacing = self.spacing.saturating_mul(2);
        }
        self.list.push_back(at);
    }

    /// The greatest remembered group start at or below `lsn`.
    pub(crate) fn locate(&self, lsn: Lsn) -> Option<WalPosition> {
        let above = self.list.partition_point(|mark| mark.lsn <= lsn);
        above.checked_sub(1).and_then(|i| self.list.get(i)).copied()
    }

    /// Forgets the places in segments below `segment`.
    pub(crate) fn forget_below(&mut self, segment: u64) {
        while self.list.front().is_some_and(|mark| mark.segment < segment) {
            self.list.pop_front();
        }
    }

    /// How many more it takes before it allocates.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.list.capacity() - self.list.len()
    }

    pub(crate) fn first(&self) -> Option<WalPosition> {
        self.list.front().copied()
    }
}
