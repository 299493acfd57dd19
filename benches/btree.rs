//! The tree alone: no log, no disk, everything resident; by page size. Two million records of 24-byte keys and 150-byte
//! values would be the store's bench; half a million is beyond every cache too and loads in a second.
//!
//! ```text
//! cargo bench --bench btree
//! ```

use divan::{Bencher, black_box, counter::ItemsCount};
use pagebox::TreeId;
use pagebox::btree::BTree;
use pagebox::pool::{BufferPool, MemPageStore, NoLog, PoolOptions};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

const RECORDS: u64 = 500_000;
const SIZES: [usize; 3] = [4096, 16384, 65536];
const THREADS: [usize; 2] = [1, 2];

fn main() {
    divan::main();
}

/// Spreads numbers over all 64 bits (the finalizer of MurmurHash3).
fn mix(mut n: u64) -> u64 {
    n ^= n >> 33;
    n = n.wrapping_mul(0xff51_afd7_ed55_8ccd);
    n ^= n >> 33;
    n = n.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ n >> 33
}

fn key(n: u64) -> [u8; 24] {
    let mut key = *b"user0000................";
    key[8..16].copy_from_slice(&mix(n).to_be_bytes());
    key[16..].copy_from_slice(&n.to_be_bytes());
    key
}

fn empty(page_size: usize) -> BTree {
    let store = Arc::new(MemPageStore::new(page_size));
    let pool = BufferPool::new(store, Arc::new(NoLog), PoolOptions::default().memory(400 << 20));
    let pool = Arc::new(pool.expect("a pool of 400 MiB"));
    BTree::create(pool, None, TreeId::new(1)).expect("a tree").0
}

fn loaded(page_size: usize) -> &'static BTree {
    static TREES: [OnceLock<BTree>; 3] = [const { OnceLock::new() }; 3];
    let i = SIZES.iter().position(|&size| size == page_size).expect("a size of the list");
    TREES[i].get_or_init(|| {
        let tree = empty(page_size);
        for n in 0..RECORDS {
            tree.insert(&key(n), &[n as u8; 150]).expect("insert");
        }
        tree
    })
}

#[divan::bench(args = SIZES, threads = THREADS, sample_size = 1000)]
fn get(bencher: Bencher<'_, '_>, page_size: usize) {
    let tree = loaded(page_size);
    let next = AtomicU64::new(1);
    bencher
        .counter(ItemsCount::new(1u64))
        .with_inputs(|| mix(next.fetch_add(1, Ordering::Relaxed)) % RECORDS)
        .bench_values(|n| {
            let mut out = [0u8; 150];
            let found = tree.get_with(&key(n), |value| out.copy_from_slice(value)).expect("get");
            assert!(found.is_some());
            out
        });
}

#[divan::bench(args = SIZES, threads = THREADS, sample_size = 1000)]
fn update(bencher: Bencher<'_, '_>, page_size: usize) {
    let tree = loaded(page_size);
    let next = AtomicU64::new(1);
    bencher
        .counter(ItemsCount::new(1u64))
        .with_inputs(|| mix(next.fetch_add(1, Ordering::Relaxed)) % RECORDS)
        .bench_values(|n| tree.insert(&key(n), &[1; 150]).expect("insert"));
}

#[divan::bench(args = SIZES, sample_count = 3)]
fn insert_100k_sorted(bencher: Bencher<'_, '_>, page_size: usize) {
    bencher.counter(ItemsCount::new(100_000u64)).with_inputs(|| empty(page_size)).bench_values(|tree| {
        for n in 0..100_000u64 {
            tree.insert(format!("user{n:020}").as_bytes(), &[1; 150]).expect("insert");
        }
        tree
    });
}

#[divan::bench(args = SIZES, sample_count = 3)]
fn insert_100k_scattered(bencher: Bencher<'_, '_>, page_size: usize) {
    bencher.counter(ItemsCount::new(100_000u64)).with_inputs(|| empty(page_size)).bench_values(|tree| {
        for n in 0..100_000 {
            tree.insert(&key(n), &[1; 150]).expect("insert");
        }
        tree
    });
}

#[divan::bench(args = SIZES, sample_count = 5)]
fn scan(bencher: Bencher<'_, '_>, page_size: usize) {
    let tree = loaded(page_size);
    bencher.counter(ItemsCount::new(RECORDS)).bench(|| {
        let mut n = 0u64;
        tree.scan(b"", None, |key, value| {
            n += u64::from(black_box(key)[0]) + u64::from(black_box(value)[0]);
            ControlFlow::Continue(())
        })
        .expect("scan");
        n
    });
}
