//! Many keys at once: each index once, each value right, whatever is in memory and whatever writers do meanwhile.

mod btree_support;
#[path = "support/over.rs"]
mod over;

use btree_support::Bed;
use over::Over;
use pagebox::Result;
use std::sync::atomic::{AtomicBool, Ordering};

const PAGE_SIZE: usize = 4096;

fn key(n: u64) -> Vec<u8> {
    let mut key = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes().to_vec();
    key.extend(std::iter::repeat_n(b'k', (n % 40) as usize));
    key
}

/// Short ones, and now and then a large one.
fn value(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(if n % 97 == 5 { 700 } else { 1 + (n % 30) as usize })
}

/// Asks for `wanted`, and checks every answer against `expected`.
fn ask(bed: &Bed, wanted: &[u64], expected: impl Fn(u64) -> Option<Vec<u8>>) -> Result<()> {
    let keys: Vec<Vec<u8>> = wanted.iter().map(|&n| key(n)).collect();
    let mut answers = vec![0; keys.len()];
    bed.tree.get_many(&keys, |i, found| {
        answers[i] += 1;
        assert_eq!(found.map(<[u8]>::to_vec), expected(wanted[i]), "key {}", wanted[i]);
    })?;
    assert!(answers.iter().all(|&n| n == 1), "each index once: {answers:?}");
    Ok(())
}

#[test]
fn answers_are_those_of_single_lookups_in_any_memory() {
    // In 32 frames most of the tree is elsewhere; in 4,096 all of it is resident.
    for frames in [32, 4096] {
        let bed = Bed::new(PAGE_SIZE, frames);
        let mut there = 0;
        for size in [0, 1, 40, 3000] {
            for n in there..size {
                bed.tree.insert(&key(n), &value(n)).unwrap();
            }
            there = size;
            let expected = |n: u64| (n < size).then(|| value(n));
            for count in [0, 1, 2, 31, 32, 33, 64, 65, 500] {
                // Some are not there, some are asked for twice.
                let wanted: Vec<u64> = (0..count).map(|i| i * 7919 % (size + size / 4 + 2) / (1 + i % 2)).collect();
                ask(&bed, &wanted, expected).unwrap();
            }
        }
        let mut seen = Vec::new();
        let odd = [b"".to_vec(), vec![0xff; PAGE_SIZE], key(1), vec![0; bed.tree.max_key()]];
        bed.tree.get_many(&odd, |i, found| seen.push((i, found.is_some()))).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [(0, false), (1, false), (2, true), (3, false)]);
    }
}

#[test]
fn the_callback_may_use_the_tree() {
    let bed = Bed::new(PAGE_SIZE, 32);
    for n in 0..500 {
        bed.tree.insert(&key(n), &value(n)).unwrap();
    }
    let keys: Vec<Vec<u8>> = (0..100).map(key).collect();
    let mut told = 0;
    bed.tree
        .get_many(&keys, |i, found| {
            assert_eq!(found, Some(value(i as u64).as_slice()));
            let n = i as u64;
            bed.tree.insert(&key(10_000 + n), &value(n)).unwrap();
            bed.tree.remove(&key(n)).unwrap();
            ask(&bed, &[n, 400 + n % 100, 10_000 + n], |m| (m != n).then(|| value(m % 10_000))).unwrap();
            told += 1;
        })
        .unwrap();
    assert_eq!(told, 100);
    ask(&bed, &[0, 99, 100, 10_099], |n| (n >= 100).then(|| value(n % 10_000))).unwrap();
}

#[test]
fn a_key_that_is_there_throughout_is_found_while_writers_split_and_merge() {
    let bed = Bed::new(PAGE_SIZE, 48);
    let fixed = |n: u64| n.is_multiple_of(3);
    for n in (0..1500).filter(|&n| fixed(n)) {
        bed.tree.insert(&key(n), &value(n)).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&stop);
        for writer in 0..2 {
            let (bed, stop) = (&bed, &stop);
            scope.spawn(move || {
                let mut n = writer;
                while !stop.load(Ordering::Relaxed) {
                    n = (n * 5 + 7 + writer) % 1500;
                    match (fixed(n), n % 2 == 0) {
                        (true, _) => bed.tree.insert(&key(n), &value(n)).map(|_| ()),
                        (false, true) => bed.tree.insert(&key(n), &value(n)).map(|_| ()),
                        (false, false) => bed.tree.remove(&key(n)).map(|_| ()),
                    }
                    .unwrap();
                }
            });
        }
        for round in 0..150u64 {
            let wanted: Vec<u64> = (0..64).map(|i| (i * 131 + round * 17) % 1500).collect();
            let keys: Vec<Vec<u8>> = wanted.iter().map(|&n| key(n)).collect();
            bed.tree
                .get_many(&keys, |i, found| match found {
                    Some(found) => assert_eq!(found, value(wanted[i])),
                    None => assert!(!fixed(wanted[i]), "key {} was there throughout", wanted[i]),
                })
                .unwrap();
        }
        drop(over);
    });
}
