//! Trees that lose what they had: queues, removed ranges, and the pages that come back.

#![cfg(all(feature = "btree", feature = "sim"))]

mod btree_support;
#[path = "support/over.rs"]
mod over;

use btree_support::Bed;
use over::Over;
use pagebox::btree::BTree;
use pagebox::{Durability, Store, StoreOptions, Tree};
use quickcheck::{Gen, QuickCheck};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

fn small() -> StoreOptions {
    Store::options().page_size(4096).memory(1 << 20).max_log_bytes(4 << 20).durability(Durability::Manual)
}

fn key(n: u64) -> Vec<u8> {
    format!("queue/{n:012}").into_bytes()
}

/// Inserts at one end and removes at the other, a hundred times the store's size: the file does not grow, and the log holds
/// little beside what was inserted and removed.
#[test]
fn queues_do_not_grow_the_file() {
    for down in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let store = small().open(temp.path()).unwrap();
        let tree = store.tree("queue").unwrap();
        let key = |n: u64| if down { key(1_000_000_000 - n) } else { key(n) };
        let (depth, rounds) = (1500u64, 100u64);
        (0..depth).for_each(|n| assert!(tree.insert(key(n), [n as u8; 100]).unwrap()));
        let (start, mut pages) = (store.stats().end_lsn.get(), 0);
        for n in 0..depth * rounds {
            tree.insert(key(n + depth), [n as u8; 100]).unwrap();
            if n % 3 == 0 {
                let end = if down { tree.pop_last() } else { tree.pop_first() };
                assert_eq!(end.unwrap().unwrap().0, key(n));
            } else {
                assert!(tree.remove(key(n)).unwrap());
            }
            if n % 4000 == 0 {
                store.checkpoint().unwrap();
            }
            if n == depth * 5 {
                pages = store.stats().file_pages;
            }
        }
        assert!(store.stats().file_pages <= pages, "{} pages, {pages} at first", store.stats().file_pages);
        let report = store.check().unwrap();
        assert_eq!(report.records, depth);
        assert!(report.tree_pages < 90, "{} pages for {depth} records", report.tree_pages);
        let logged = (store.stats().end_lsn.get() - start) as f64 / (depth * rounds) as f64;
        // An insertion and a removal, each with its frame.
        let least = (16 + 2 + 18 + 100 + 16 + 18) as f64;
        println!("down: {down}: {logged:.0} bytes of log an item, {least} at least; {} pages", report.tree_pages);
        assert!(logged < least * 1.35, "{logged:.0} bytes of log an item, {least} at least");
    }
}

/// Every second leaf emptied, then all: what could not be merged at once comes back with the next checkpoint.
#[test]
fn emptied_pages_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    (0..20_000).for_each(|n| assert!(tree.insert(key(n), [n as u8; 100]).unwrap()));
    let full = store.check().unwrap().tree_pages;
    thread::scope(|scope| {
        // Threads that get in each other's way.
        for t in 0..4 {
            let tree = &tree;
            scope.spawn(move || (0..20_000).filter(|n| n % 4 == t).for_each(|n| assert!(tree.remove(key(n)).unwrap())));
        }
    });
    store.checkpoint().unwrap();
    let report = store.check().unwrap();
    assert_eq!(report.records, 0);
    // The catalog, and what is left of the tree.
    assert!(report.tree_pages <= 6, "{} of {full} pages are left", report.tree_pages);
}

/// A removed range costs its leaves' references in the log, not their content.
#[test]
fn ranges_are_removed_leaf_by_leaf() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let n = 50_000u64;
    assert_eq!(tree.bulk_load((0..n).map(|n| (key(n), [n as u8; 100]))).unwrap(), n);
    let full = store.check().unwrap().tree_pages;
    let before = store.stats().end_lsn.get();
    assert_eq!(tree.remove_range(key(1000)..key(n - 1000)).unwrap(), n - 2000);
    let logged = store.stats().end_lsn.get() - before;
    let report = store.check().unwrap();
    println!("{logged} bytes of log for {} of {full} pages", full - report.tree_pages);
    assert!(logged < full * 64, "{logged} bytes of log for {full} pages");
    assert!(report.records == 2000 && report.tree_pages < full / 12, "{} of {full} pages", report.tree_pages);
    assert_eq!(tree.remove_range(..).unwrap(), 2000);
    assert_eq!(tree.remove_range(..).unwrap(), 0);
    store.checkpoint().unwrap();
    assert!(store.check().unwrap().tree_pages <= 3);
}

fn remove_range(tree: &BTree, low: &[u8], high: Option<&[u8]>) -> u64 {
    let (mut removed, mut next) = (0, Some(low.to_vec()));
    while let Some(low) = next {
        let step = tree.remove_range_step(&low, high).unwrap();
        removed += step.removed;
        assert!(step.next.as_ref().is_none_or(|next| *next > low), "a step goes on");
        next = step.next;
    }
    removed
}

/// Ranges of every kind against a map: removed, refilled in sorted runs and at random.
#[test]
fn removed_ranges_agree_with_a_map() {
    fn property(ops: Vec<(u16, u16, u8)>) -> bool {
        let bed = Bed::new(4096, 48);
        let mut model = BTreeMap::new();
        for (a, b, what) in ops {
            let (a, b) = (u64::from(a) % 6000, u64::from(b) % 6000);
            match what % 4 {
                0 | 1 => {
                    for n in a..(a + b / 3).min(6000) {
                        let value = vec![what; usize::from(what) * 3 % 200];
                        bed.tree.insert(&key(n), &value).unwrap();
                        model.insert(key(n), value);
                    }
                }
                2 => {
                    let (low, high) = (key(a.min(b)), key(a.max(b)));
                    let gone: Vec<_> = model.range(low.clone()..high.clone()).map(|(key, _)| key.clone()).collect();
                    assert_eq!(remove_range(&bed.tree, &low, Some(&high)), gone.len() as u64);
                    gone.iter().for_each(|key| drop(model.remove(key)));
                }
                _ => {
                    let gone = model.split_off(&key(a));
                    assert_eq!(remove_range(&bed.tree, &key(a), None), gone.len() as u64);
                }
            }
        }
        let all: Vec<_> = bed.tree.iter().map(Result::unwrap).collect();
        assert!(all.into_iter().eq(model));
        bed.check(&[&bed.tree]);
        bed.check_redo(&[&bed.tree]);
        true
    }
    QuickCheck::new().rng(Gen::new(25)).tests(60).quickcheck(property as fn(Vec<(u16, u16, u8)>) -> bool);
}

/// Ranges removed beside readers and writers of other ranges, and writers of the same.
#[test]
fn ranges_are_removed_beside_others() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree: Tree = store.tree("t").unwrap();
    let n = 12_000u64;
    (0..n).for_each(|i| assert!(tree.insert(key(i), [1; 60]).unwrap()));
    let (done, added) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let over = Over(&done);
        for t in 0..2u64 {
            let (tree, done, added) = (&tree, &done, &added);
            scope.spawn(move || {
                for i in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    // What lies outside of the removed range is there throughout.
                    let outside = if i % 2 == 0 { i % 2000 } else { n - 1 - i % 2000 };
                    assert_eq!(tree.get(key(outside)).unwrap().as_deref(), Some(&[1; 60][..]));
                    let low = [key(outside), i.to_be_bytes().to_vec(), vec![t as u8]].concat();
                    assert!(tree.insert(low, [2; 30]).unwrap());
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let ends = tree
                    .iter()
                    .map(Result::unwrap)
                    .filter(|(k, _)| k.len() == 18 && (*k < key(2000) || *k >= key(n - 2000)));
                assert_eq!(ends.count(), 4000);
            }
        });
        for round in 0..8u8 {
            let removed = tree.remove_range(key(2000)..key(n - 2000)).unwrap();
            assert_eq!(removed, n - 4000, "round {round}");
            (2000..n - 2000).for_each(|i| assert!(tree.insert(key(i), [round; 60]).unwrap()));
        }
        drop(over);
    });
    assert_eq!(store.check().unwrap().records, n + added.load(Ordering::Relaxed));
}

/// Random inserts leave leaves fuller than halves that were split: neighbours take records before.
#[test]
fn random_loads_fill_pages_well() {
    let temp = tempfile::tempdir().unwrap();
    let options = Store::options().page_size(16384).memory(64 << 20).durability(Durability::Manual);
    let store = options.open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let n = 120_000u64;
    let key = |n: u64| {
        let word = |i: u64| {
            (n * 3 + i)
                .wrapping_add(1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        [word(0).to_be_bytes(), word(1).to_be_bytes(), word(2).to_be_bytes()].concat()
    };
    (0..n).for_each(|i| assert!(tree.insert(key(i), [i as u8; 150]).unwrap()));
    let report = store.check().unwrap();
    let ratio = report.tree_pages as f64 * 16384.0 / (n as f64 * 174.0);
    println!("pages of {ratio:.3} times the raw bytes");
    assert!(ratio < 1.44, "{ratio:.3}");
}
