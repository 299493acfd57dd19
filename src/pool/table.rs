//! The page table: which page is resident, and in which frame (P2).
//!
//! Sharded by page id. It is asked on a miss, an allocation, a free and an eviction, never on a hit. Its memory is part of
//! the budget: each shard is sized at the start for its share of the frames, with room to spare.

use crate::sync::Mutex;
use crate::types::{FrameId, PageId, SizeClass};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Where a resident page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) class: SizeClass,
    pub(crate) frame: FrameId,
}

/// Multiplicative hashing of a page number: page numbers are dense, so one multiplication spreads them enough.
#[derive(Default)]
pub(crate) struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
}

type Shard = HashMap<u64, Place, BuildHasherDefault<PageHasher>>;

const SHARDS: usize = 64;

pub(crate) struct PageTable {
    shards: Box<[Mutex<Shard>]>,
}

impl PageTable {
    pub(crate) fn new(frames: usize) -> PageTable {
        let each = frames / SHARDS + 8;
        PageTable {
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Shard::with_capacity_and_hasher(each, BuildHasherDefault::default())))
                .collect(),
        }
    }

    fn shard(&self, id: PageId) -> &Mutex<Shard> {
        let hash = id.get().wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 58;
        &self.shards[hash as usize % SHARDS]
    }

    pub(crate) fn get(&self, id: PageId) -> Option<Place> {
        self.shard(id).lock().get(&id.get()).copied()
    }

    /// Enters `place` for `id` unless the page is resident already; returns where it is then.
    pub(crate) fn insert(&self, id: PageId, place: Place) -> Option<Place> {
        let mut shard = self.shard(id).lock();
        if let Some(&there) = shard.get(&id.get()) {
            return Some(there);
        }
        shard.insert(id.get(), place);
        None
    }

    /// Removes the entry of `id` if it names `frame`.
    pub(crate) fn remove(&self, id: PageId, frame: FrameId) -> bool {
        let mut shard = self.shard(id).lock();
        match shard.get(&id.get()) {
            Some(place) if place.frame == frame => shard.remove(&id.get()).is_some(),
            _ => false,
        }
    }
}
