//! The tree by kind of key and page size, everything resident, no log: integers, random keys, file paths, words. A node
//! searches fast because of what keys have in common, so each kind is measured for itself.
//!
//! ```text
//! cargo bench --bench keys
//! cargo bench --bench keys -- paths
//! ```

use divan::{Bencher, counter::ItemsCount};
use pagebox::TreeId;
use pagebox::btree::BTree;
use pagebox::pool::{BufferPool, MemPageStore, NoLog, PoolOptions};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

#[path = "../tests/support/rng.rs"]
#[allow(dead_code)]
mod rng;

const RECORDS: u64 = 200_000;
const VALUE: [u8; 32] = [7; 32];
const SIZES: [usize; 3] = [4096, 16384, 65536];

fn main() {
    divan::main();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Eight bytes, big-endian, dense.
    Integers,
    /// 24 bytes that have nothing in common.
    Random,
    /// As in a source tree: long common prefixes, differences in the middle and at the end.
    Paths,
    /// Short, of few letters, as in a dictionary.
    Words,
}

const KINDS: [Kind; 4] = [Kind::Integers, Kind::Random, Kind::Paths, Kind::Words];

/// A kind and a page size; its name chooses it on the command line.
#[derive(Clone, Copy)]
struct Case(Kind, usize);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Kind::Integers => "integers",
            Kind::Random => "random 24",
            Kind::Paths => "paths",
            Kind::Words => "words",
        };
        write!(f, "{kind}, {:>2} KiB", self.1 >> 10)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    KINDS.into_iter().flat_map(|kind| SIZES.into_iter().map(move |size| Case(kind, size)))
}

/// Names that a source tree repeats.
const NAMES: [&str; 16] = [
    "src",
    "tests",
    "include",
    "library",
    "compiler",
    "core",
    "alloc",
    "collections",
    "btree",
    "map",
    "node",
    "iter",
    "support",
    "fixtures",
    "benches",
    "examples",
];

/// The key of record `n`: no two alike.
fn key(kind: Kind, n: u64) -> Vec<u8> {
    let word = rng::mix(n);
    match kind {
        Kind::Integers => n.to_be_bytes().to_vec(),
        Kind::Random => [word, rng::mix(!n), n].iter().flat_map(|word| word.to_be_bytes()).collect(),
        Kind::Paths => {
            let name = |i: u32| NAMES[(word >> (i * 4)) as usize % NAMES.len()];
            format!("/usr/src/project-{:02}/{}/{}/{}/{}_{n}.rs", word >> 59, name(0), name(1), name(2), name(3))
                .into_bytes()
        }
        Kind::Words => {
            // Syllables of a consonant and a vowel, as many as it takes to tell the numbers apart.
            let mut rest = n.wrapping_mul(0x9e37_79b9) % (1 << 32);
            let mut word = Vec::with_capacity(12);
            loop {
                word.push(b"bcdfghjklmnprstv"[(rest % 16) as usize]);
                word.push(b"aeio"[(rest / 16 % 4) as usize]);
                rest /= 64;
                if rest == 0 {
                    return word;
                }
            }
        }
    }
}

fn empty(page_size: usize) -> BTree {
    let store = Arc::new(MemPageStore::new(page_size));
    let pool = BufferPool::new(store, Arc::new(NoLog), PoolOptions::default().memory(96 << 20)).expect("a pool");
    BTree::create(Arc::new(pool), None, TreeId::new(1)).expect("a tree").0
}

/// Numbers in an order that is random for every kind.
fn shuffled(n: u64) -> u64 {
    // Odd, so a bijection below a power of two; what lies beyond the records is passed over.
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7) & ((1 << 18) - 1)
}

struct Loaded {
    tree: BTree,
    /// Keys in random order, so that making them is not measured.
    keys: Vec<Vec<u8>>,
}

fn loaded(case: Case) -> &'static Loaded {
    static TREES: [[OnceLock<Loaded>; 3]; 4] = [const { [const { OnceLock::new() }; 3] }; 4];
    let size = SIZES.iter().position(|&size| size == case.1).expect("a size of the list");
    TREES[case.0 as usize][size].get_or_init(|| {
        let tree = empty(case.1);
        let numbers = (0..1 << 18).map(shuffled).filter(|&n| n < RECORDS);
        let keys: Vec<_> = numbers.map(|n| key(case.0, n)).collect();
        for key in &keys {
            tree.insert(key, &VALUE).expect("insert");
        }
        Loaded { tree, keys }
    })
}

fn index(next: &AtomicU64, len: usize) -> usize {
    (rng::mix(next.fetch_add(1, Relaxed)) % len as u64) as usize
}

#[divan::bench(args = cases(), sample_size = 1000)]
fn get(bencher: Bencher, case: Case) {
    let Loaded { tree, keys } = loaded(case);
    let (next, mut out) = (AtomicU64::new(0), Vec::new());
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| &keys[index(&next, keys.len())])
        .bench_local_values(|key| assert!(tree.get_into(key, &mut out).expect("get")));
}

/// The keys are close to others, but not there.
#[divan::bench(args = cases(), sample_size = 1000)]
fn get_absent(bencher: Bencher, case: Case) {
    let Loaded { tree, keys } = loaded(case);
    let next = AtomicU64::new(0);
    let absent = || {
        let mut key = keys[index(&next, keys.len())].clone();
        key.push(0);
        key
    };
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(absent)
        .bench_local_values(|key| assert!(!tree.contains_key(&key).expect("get")));
}

#[divan::bench(args = cases(), sample_size = 1000)]
fn update(bencher: Bencher, case: Case) {
    let Loaded { tree, keys } = loaded(case);
    let next = AtomicU64::new(0);
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| &keys[index(&next, keys.len())])
        .bench_local_values(|key| tree.insert(key, &[8; 32]).expect("insert"));
}

/// Out and in again: the tree stays as it was.
#[divan::bench(args = cases(), sample_size = 1000)]
fn remove_and_insert(bencher: Bencher, case: Case) {
    let Loaded { tree, keys } = loaded(case);
    let next = AtomicU64::new(0);
    bencher.counter(ItemsCount::new(2u32)).with_inputs(|| &keys[index(&next, keys.len())]).bench_local_values(|key| {
        tree.remove(key).expect("remove");
        tree.insert(key, &VALUE).expect("insert");
    });
}

/// A seek to a random key and ten records from there.
#[divan::bench(args = cases(), sample_size = 200)]
fn seek_10(bencher: Bencher, case: Case) {
    let Loaded { tree, keys } = loaded(case);
    let next = AtomicU64::new(0);
    bencher.counter(ItemsCount::new(1u32)).with_inputs(|| &keys[index(&next, keys.len())]).bench_local_values(|key| {
        let mut left = 10;
        let visit = |_: &[u8], _: &[u8]| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        tree.scan(key, None, visit).expect("scan");
        left
    });
}

/// Twenty thousand keys in random order into an empty tree.
#[divan::bench(args = cases(), sample_count = 3)]
fn load_20k(bencher: Bencher, case: Case) {
    const COUNT: usize = 20_000;
    let keys = &loaded(case).keys[..COUNT];
    bencher.counter(ItemsCount::new(COUNT)).with_inputs(|| empty(case.1)).bench_local_values(|tree| {
        for key in keys {
            tree.insert(key, &VALUE).expect("insert");
        }
        tree
    });
}
