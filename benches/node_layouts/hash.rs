//! Leaves with hashes in front of their slots: fingerprints in slot order, and a directory from hash to slot.

use crate::heads::Task;
use crate::vector::{bytes_equal, words_equal};
use crate::{Found, Layout};
use pagebox::page::slotted::SlottedPage;

/// A hash of the whole key: it does not depend on the leaf, so it can be had before the leaf is reached.
#[inline(always)]
pub fn hash(key: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    };
    let mut state = mix(0x2545_f491_4f6c_dd1d, key.len() as u64);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let last = match key.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        state = mix(state, last);
    }
    state
}

fn fingerprint8(hash: u64) -> u8 {
    (hash >> 56) as u8
}

fn fingerprint16(hash: u64) -> u16 {
    (hash >> 48) as u16
}

fn each_hash(node: &SlottedPage<'_>, mut visit: impl FnMut(usize, u64)) {
    let mut key = Vec::new();
    for i in 0..node.count() {
        key.clear();
        node.key(i, &mut key).expect("a key");
        visit(i, hash(&key));
    }
}

/// Looks at the candidates among sixteen slots from `from` on.
#[inline(always)]
fn candidates(task: &Task<'_>, from: usize, end: usize, mut mask: u32) -> Found {
    if from + 16 > end {
        mask &= (1 << (end - from)) - 1;
    }
    while mask != 0 {
        let i = from + mask.trailing_zeros() as usize;
        if task.is(i)? {
            return Ok(Some(i));
        }
        mask &= mask - 1;
    }
    Ok(None)
}

/// Moves what lies behind `at` back by `width` bytes, then writes there.
fn shift_in(page: &mut [u8], at: usize, count: usize, bytes: &[u8]) {
    let width = bytes.len();
    page.copy_within(at * width..count * width, (at + 1) * width);
    page[at * width..(at + 1) * width].copy_from_slice(bytes);
}

fn fill8(aux: &mut [u8], node: &SlottedPage<'_>) {
    each_hash(node, |i, hash| aux[i] = fingerprint8(hash));
}

/// One byte a slot, all of them searched.
pub struct Bytes;

impl Layout for Bytes {
    const NAME: &'static str = "fingerprints, 8 bits";
    const STORE: &'static str = "bytes";

    fn aux(capacity: usize) -> usize {
        (capacity + 16).next_multiple_of(64)
    }

    fn fill(aux: &mut [u8], node: &SlottedPage<'_>) {
        fill8(aux, node);
    }

    #[inline(never)]
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found {
        let task = Task::new(&page[aux..], key)?;
        let byte = fingerprint8(hash(key));
        for from in (0..task.count).step_by(16) {
            if let Some(i) = candidates(&task, from, task.count, bytes_equal(page, from, byte))? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    #[inline(never)]
    fn added(page: &mut [u8], _aux: usize, at: usize, count: usize, key: &[u8]) {
        shift_in(page, at, count, &[fingerprint8(hash(key))]);
    }
}

/// One byte a slot; the hints say which are searched.
pub struct HintsBytes;

impl Layout for HintsBytes {
    const NAME: &'static str = "hints + fingerprints, 8 bits";
    const STORE: &'static str = "bytes";

    fn aux(capacity: usize) -> usize {
        Bytes::aux(capacity)
    }

    fn fill(aux: &mut [u8], node: &SlottedPage<'_>) {
        fill8(aux, node);
    }

    #[inline(never)]
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found {
        let task = Task::new(&page[aux..], key)?;
        let byte = fingerprint8(hash(key));
        let (low, high) = task.narrow()?;
        for from in (low..high).step_by(16) {
            if let Some(i) = candidates(&task, from, high, bytes_equal(page, from, byte))? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    #[inline(never)]
    fn added(page: &mut [u8], aux: usize, at: usize, count: usize, key: &[u8]) {
        Bytes::added(page, aux, at, count, key);
    }
}

/// Two bytes a slot, all of them searched.
pub struct Words;

impl Layout for Words {
    const NAME: &'static str = "fingerprints, 16 bits";
    const STORE: &'static str = "words";

    fn aux(capacity: usize) -> usize {
        (2 * capacity + 32).next_multiple_of(64)
    }

    fn fill(aux: &mut [u8], node: &SlottedPage<'_>) {
        each_hash(node, |i, hash| aux[2 * i..2 * i + 2].copy_from_slice(&fingerprint16(hash).to_le_bytes()));
    }

    #[inline(never)]
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found {
        let task = Task::new(&page[aux..], key)?;
        let word = fingerprint16(hash(key));
        for from in (0..task.count).step_by(16) {
            if let Some(i) = candidates(&task, from, task.count, words_equal(page, 2 * from, word))? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    #[inline(never)]
    fn added(page: &mut [u8], _aux: usize, at: usize, count: usize, key: &[u8]) {
        shift_in(page, at, count, &fingerprint16(hash(key)).to_le_bytes());
    }
}

/// A hash table of slot numbers (12 bits, from 1) and fingerprints (4 bits): open addressing, two thirds full at most.
pub struct Directory;

const SLOT_BITS: u32 = 12;

fn place(hash: u64, places: usize) -> usize {
    (((hash as u32 as u64) * places as u64) >> 32) as usize
}

fn entry_at(aux: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([aux[2 * i], aux[2 * i + 1]])
}

fn put(aux: &mut [u8], hash: u64, slot: usize) {
    assert!(slot + 1 < 1 << SLOT_BITS, "too many slots for the directory");
    let (tag, places) = ((hash >> 60) as u16, aux.len() / 2);
    let mut i = place(hash, places);
    while entry_at(aux, i) != 0 {
        i = if i + 1 == places { 0 } else { i + 1 };
    }
    aux[2 * i..2 * i + 2].copy_from_slice(&(tag << SLOT_BITS | (slot + 1) as u16).to_le_bytes());
}

impl Layout for Directory {
    const NAME: &'static str = "hash directory";
    const STORE: &'static str = "directory";

    fn aux(capacity: usize) -> usize {
        (capacity * 3).next_multiple_of(64)
    }

    fn fill(aux: &mut [u8], node: &SlottedPage<'_>) {
        each_hash(node, |i, hash| put(aux, hash, i));
    }

    #[inline(never)]
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found {
        let (hash, places) = (hash(key), aux / 2);
        let mut i = place(hash, places);
        crate::vector::prefetch(page, 2 * i);
        let task = Task::new(&page[aux..], key)?;
        loop {
            let entry = entry_at(page, i);
            if entry == 0 {
                return Ok(None);
            }
            let slot = usize::from(entry & ((1 << SLOT_BITS) - 1)) - 1;
            if entry >> SLOT_BITS == (hash >> 60) as u16 && task.is(slot)? {
                return Ok(Some(slot));
            }
            i = if i + 1 == places { 0 } else { i + 1 };
        }
    }

    #[inline(never)]
    fn added(page: &mut [u8], aux: usize, at: usize, _count: usize, key: &[u8]) {
        for entry in page[..aux].as_chunks_mut::<2>().0 {
            let was = u16::from_le_bytes(*entry);
            let later = usize::from(was & ((1 << SLOT_BITS) - 1)) > at;
            *entry = (was + u16::from(later)).to_le_bytes();
        }
        put(&mut page[..aux], hash(key), at);
    }
}
