//! One file: what is visible, what is durable, and every step from the one to the other that a sync has not covered.

use std::path::PathBuf;
use std::sync::Arc;

use super::image::{Image, SECTOR};

/// What a write, or the zeroing that a truncation is, would leave in whole sectors.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Bytes(Arc<[u8]>),
    Zeros(u64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Zeros(len) => *len,
        }
    }
}

/// A write that may or may not survive, sector by sector.
#[derive(Clone, Debug)]
pub(super) struct PendingWrite {
    /// The operation it came from.
    pub(super) seq: u64,
    /// Where it starts, a multiple of the sector.
    pub(super) at: u64,
    content: Content,
    /// A sync that covered it failed: no later sync makes it durable.
    orphan: bool,
    /// One bit a sector that newer durable bytes made void; empty while there is none.
    void: Vec<u64>,
}

impl PendingWrite {
    fn new(seq: u64, at: u64, content: Content, orphan: bool) -> PendingWrite {
        debug_assert!(at.is_multiple_of(SECTOR as u64) && content.len().is_multiple_of(SECTOR as u64));
        PendingWrite { seq, at, content, orphan, void: Vec::new() }
    }

    /// How many sectors it has, void ones included.
    pub(super) fn sectors(&self) -> usize {
        (self.content.len() / SECTOR as u64) as usize
    }

    fn end(&self) -> u64 {
        self.at + self.content.len()
    }

    /// Whether the write still says something about its `i`-th sector.
    pub(super) fn counts(&self, i: usize) -> bool {
        self.void.get(i / 64).is_none_or(|word| word >> (i % 64) & 1 == 0)
    }

    /// Puts the `i`-th sector into `image`, as far as that is long.
    pub(super) fn put(&self, i: usize, image: &mut Image) {
        let at = self.at + (i * SECTOR) as u64;
        match &self.content {
            Content::Bytes(bytes) => image.overlay(&bytes[i * SECTOR..(i + 1) * SECTOR], at),
            Content::Zeros(_) => image.overlay_zeros(at, SECTOR as u64),
        }
    }

    /// Puts all that counts into `image`, as far as that is long.
    pub(super) fn put_all(&self, image: &mut Image) {
        if !self.void.is_empty() {
            (0..self.sectors()).filter(|i| self.counts(*i)).for_each(|i| self.put(i, image));
            return;
        }
        match &self.content {
            Content::Bytes(bytes) => image.overlay(bytes, self.at),
            Content::Zeros(len) => image.overlay_zeros(self.at, *len),
        }
    }

    /// Makes void what lies in `from..to`; returns whether anything is left.
    fn make_void(&mut self, from: u64, to: u64) -> bool {
        let (from, to) = (from.max(self.at), to.min(self.end()));
        if from >= to {
            return true;
        }
        self.void.resize(self.sectors().div_ceil(64), 0);
        for i in (from - self.at) / SECTOR as u64..(to - self.at) / SECTOR as u64 {
            self.void[i as usize / 64] |= 1 << (i % 64);
        }
        (0..self.sectors()).any(|i| self.counts(i))
    }
}

/// A length that may or may not survive.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingLen {
    pub(super) seq: u64,
    pub(super) len: u64,
    orphan: bool,
}

/// What is known about a write when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A later sync makes it durable.
    Pending,
    /// It is durable.
    Durable,
    /// It was to be durable, and that failed: it may survive, and no later sync makes sure of it.
    Orphaned,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What a process reads.
    pub(super) live: Image,
    /// What every crash leaves, where nothing pending replaces it.
    pub(super) durable: Image,
    /// In the order of their operations.
    pub(super) writes: Vec<PendingWrite>,
    /// In the order of their operations.
    pub(super) lens: Vec<PendingLen>,
    /// The name it had last.
    pub(super) path: PathBuf,
}

fn floor(at: u64) -> u64 {
    at - at % SECTOR as u64
}

fn ceil(at: u64) -> u64 {
    at.next_multiple_of(SECTOR as u64)
}

impl Inode {
    /// Writes `data` at `offset`.
    pub(super) fn write(&mut self, seq: u64, data: &Arc<[u8]>, offset: u64, fate: Fate) {
        let (old, end) = (self.live.len(), offset + data.len() as u64);
        self.live.write(data, offset);
        let (from, to) = (floor(offset), ceil(end));
        let content = if from == offset && to == end { Arc::clone(data) } else { self.visible(from, to) };
        let write = PendingWrite::new(seq, from, Content::Bytes(content), fate == Fate::Orphaned);
        if fate == Fate::Durable {
            self.settle(&write);
            // Noted even if it is durable: a later sync then rules out the lengths before it.
            if end > old && (self.durable.len() != end || !self.lens.is_empty()) {
                self.lens.push(PendingLen { seq, len: end, orphan: false });
            }
            return;
        }
        self.writes.push(write);
        if end > old {
            self.lens.push(PendingLen { seq, len: end, orphan: fate == Fate::Orphaned });
        }
    }

    /// Cuts or extends. What is cut off counts as zeroed: each sector of it shows old bytes or zeros if a later
    /// extension, or the old length, brings it back.
    pub(super) fn set_len(&mut self, seq: u64, len: u64) {
        let old = self.live.len();
        if len == old {
            return;
        }
        self.live.set_len(len);
        self.lens.push(PendingLen { seq, len, orphan: false });
        if len < old {
            let (part, whole, end) = (floor(len), ceil(len), ceil(old));
            if part < whole {
                let content = Content::Bytes(self.visible(part, whole));
                self.writes.push(PendingWrite::new(seq, part, content, false));
            }
            if whole < end {
                self.writes.push(PendingWrite::new(seq, whole, Content::Zeros(end - whole), false));
            }
        }
    }

    /// Takes space for `len` bytes at `offset`.
    pub(super) fn allocate(&mut self, seq: u64, offset: u64, len: u64) {
        let old = self.live.len();
        self.live.reserve(offset, len);
        if self.live.len() > old {
            self.lens.push(PendingLen { seq, len: self.live.len(), orphan: false });
        }
    }

    /// Carries out a sync, or its failure.
    pub(super) fn sync(&mut self, ok: bool) {
        if !ok {
            self.writes.iter_mut().for_each(|write| write.orphan = true);
            self.lens.iter_mut().for_each(|len| len.orphan = true);
            return;
        }
        if self.writes.iter().all(|write| !write.orphan) && self.lens.iter().all(|len| !len.orphan) {
            self.durable = self.live.clone();
            self.writes.clear();
            self.lens.clear();
            return;
        }
        self.sync_around_orphans();
    }

    /// A sync after a failed one: makes durable what came since, and leaves what the failed one covered in doubt.
    fn sync_around_orphans(&mut self) {
        let (orphans, fresh): (Vec<_>, Vec<_>) = std::mem::take(&mut self.writes).into_iter().partition(|w| w.orphan);
        let needed = fresh.iter().map(|write| write.end()).max().unwrap_or(0).min(self.live.len());
        let last = self.lens.iter().rfind(|len| !len.orphan).copied();
        self.durable.set_len(last.map_or(self.durable.len(), |last| last.len).max(needed));
        self.lens.retain(|len| len.orphan && len.len >= needed && last.is_none_or(|last| len.seq > last.seq));
        self.writes = orphans;
        for write in &fresh {
            write.put_all(&mut self.durable);
            self.void_before(write.seq, write.at, write.end());
        }
    }

    /// Makes one write durable, and the length needed to read it.
    fn settle(&mut self, write: &PendingWrite) {
        let needed = write.end().min(self.live.len());
        if self.durable.len() < needed {
            self.durable.set_len(needed);
        }
        write.put_all(&mut self.durable);
        self.lens.retain(|len| len.len >= needed);
        self.void_before(write.seq, write.at, write.end());
    }

    fn void_before(&mut self, seq: u64, from: u64, to: u64) {
        self.writes.retain_mut(|write| write.seq >= seq || write.make_void(from, to));
    }

    fn visible(&self, from: u64, to: u64) -> Arc<[u8]> {
        let mut bytes = vec![0; (to - from) as usize];
        self.live.peek(&mut bytes, from);
        bytes.into()
    }
}
