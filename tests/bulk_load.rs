//! Loading sorted records: how full it leaves the tree, what it does beside others, and what an error leaves.

#![cfg(all(feature = "btree", feature = "sim"))]

#[path = "support/over.rs"]
mod over;

use over::Over;
use pagebox::pool::FilePageStore;
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::{Durability, Error, Store, StoreOptions, Tree};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

fn options() -> StoreOptions {
    Store::options().page_size(16384).memory(16 << 20).durability(Durability::Manual)
}

fn small() -> StoreOptions {
    Store::options().page_size(4096).memory(1 << 20).max_log_bytes(4 << 20).durability(Durability::Manual)
}

/// 24 bytes, ascending with `n`, spread over the whole range.
fn key(n: u64) -> Vec<u8> {
    let spread = n.wrapping_mul(1 << 40);
    let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [spread.to_be_bytes(), noise.to_be_bytes(), (!noise).to_be_bytes()].concat()
}

fn counter(n: u64) -> Vec<u8> {
    format!("user/account/{n:011}").into_bytes()
}

fn records(range: std::ops::Range<u64>, key: fn(u64) -> Vec<u8>) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    range.map(move |n| (key(n), vec![n as u8; 150]))
}

/// The page file's length without its head of superblocks and double-write area, which is the same for all sizes.
fn file_bytes(store: &Store, dir: &std::path::Path) -> u64 {
    store.checkpoint().unwrap();
    std::fs::metadata(dir.join("pages")).unwrap().len() - FilePageStore::first_page_of(16384).get() * 16384
}

/// Leaves over 95% full, and a file at most a tenth larger than keys and values: loaded, and inserted one by one.
#[test]
fn sorted_loads_fill_pages() {
    let n = 300_000;
    for (kind, key) in [("spread", key as fn(u64) -> Vec<u8>), ("counters", counter)] {
        for bulk in [true, false] {
            let temp = tempfile::tempdir().unwrap();
            let store = options().open(temp.path()).unwrap();
            let tree = store.tree("t").unwrap();
            if bulk {
                assert_eq!(tree.bulk_load(records(0..n, key)).unwrap(), n);
            } else {
                records(0..n, key).for_each(|(key, value)| assert!(tree.insert(key, value).unwrap()));
            }
            let report = store.check().unwrap();
            assert_eq!(report.records, n);
            let raw = n as f64 * 174.0;
            let ratio = file_bytes(&store, temp.path()) as f64 / raw;
            // What a record takes in a leaf, with slot and lengths and without the prefix, which is at least 13 bytes of a
            // counter's key.
            let stored = n as f64 * if kind == "spread" { 184.0 } else { 171.0 };
            let fill = stored / (report.tree_pages as f64 * 16384.0);
            println!("{kind}, bulk: {bulk}: file {ratio:.3} of the raw bytes, leaves {fill:.3} full");
            assert!(ratio < 1.1, "{kind}, bulk: {bulk}: the file has {ratio:.3} of the raw bytes");
            assert!(fill > 0.95, "{kind}, bulk: {bulk}: leaves are {fill:.3} full");
        }
    }
}

/// Many loads of all lengths leave a tree as one large one does.
#[test]
fn small_loads_neither_deepen_nor_bloat_the_tree() {
    let temp = tempfile::tempdir().unwrap();
    let store = options().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let mut at = 0;
    for round in 0..600 {
        let n = [0, 1, 3, 50, 90, 120, 400, 1000][round % 8];
        assert_eq!(tree.bulk_load(records(at..at + n, key)).unwrap(), n);
        at += n;
    }
    let report = store.check().unwrap();
    assert_eq!(report.records, at);
    let fill = at as f64 * 184.0 / (report.tree_pages as f64 * 16384.0);
    assert!(fill > 0.93, "{fill:.3}");
    let all: Vec<_> = tree.iter().map(Result::unwrap).collect();
    assert!(all.into_iter().eq(records(0..at, key)));
}

#[test]
fn what_is_not_sorted_is_refused_and_what_came_before_stays() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    assert_eq!(tree.bulk_load(Vec::<(&str, &str)>::new()).unwrap(), 0);
    for bad in [1u64, 2, 40, 700, 20_000] {
        let first = tree.len().unwrap();
        let input = records(first..first + bad, counter)
            .chain([(counter(first + bad - 1), vec![])])
            .chain(records(first + bad..first + bad + 10, counter));
        match tree.bulk_load(input) {
            Err(Error::Unsorted { index, .. }) => assert_eq!(index, bad),
            other => panic!("{other:?}"),
        }
        assert_eq!(tree.len().unwrap(), first + bad);
        match tree.bulk_load([(counter(0), "behind all others?")]) {
            Err(Error::Unsorted { index: 0, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let huge = [(vec![0xff; 10], vec![0; 100]), (vec![0xff; 4000], vec![])];
    assert!(matches!(tree.bulk_load(huge), Err(Error::KeyTooLarge { .. })));
    assert!(tree.contains_key([0xff; 10]).unwrap());
    store.check().unwrap();
}

#[test]
fn the_iterator_may_use_the_store_but_not_close_it() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let (tree, seen) = (store.tree("t").unwrap(), store.tree("seen").unwrap());
    let mut most = None;
    let input = (0..5000u64).map(|n| {
        assert!(matches!(store.clone().close(), Err(Error::InvalidOption { .. })));
        // Whole portions show up behind the iterator.
        let last = tree.last().unwrap();
        assert!(last >= most, "what was loaded is gone");
        most = last;
        seen.insert(n.to_be_bytes(), b"").unwrap();
        (n.to_be_bytes(), [7u8; 200])
    });
    assert_eq!(tree.bulk_load(input).unwrap(), 5000);
    assert_eq!((tree.len().unwrap(), seen.len().unwrap()), (5000, 5000));
    let endless = (10_000u64..).map(|n| (n.to_be_bytes(), [7u8; 200])).take_while(|(key, _)| {
        if *key == 11_000u64.to_be_bytes() {
            store.drop_tree("t").unwrap();
        }
        true
    });
    assert!(matches!(tree.bulk_load(endless), Err(Error::NotFound { .. })));
    store.check().unwrap();
}

/// Readers, writers of smaller keys, scans and checkpoints beside a load: nobody misses anything.
#[test]
fn beside_readers_and_writers() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let (n, done) = (60_000u64, AtomicBool::new(false));
    let before = AtomicU64::new(0);
    thread::scope(|scope| {
        let over = Over(&done);
        for t in 0..2u64 {
            let (tree, done, before) = (&tree, &done, &before);
            scope.spawn(move || {
                let mut i = 0u64;
                while !done.load(Ordering::Relaxed) {
                    i += 1;
                    // Keys in front of all, and in between those that are there: what came before the first would be in the load's way.
                    let mut key = if t == 0 { b"a".to_vec() } else { counter(i % n) };
                    key.extend_from_slice(&[b"/"[..].to_vec(), i.to_be_bytes().to_vec(), vec![t as u8]].concat());
                    let last = tree.last().unwrap().map(|(key, _)| key);
                    if last.is_some_and(|last| last > key) && tree.insert(&key, b"between").unwrap() {
                        before.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut loaded = 0;
            while !done.load(Ordering::Relaxed) {
                // Each reading finds all that the one before found.
                let now = tree.range(counter(0)..).map(Result::unwrap).filter(|(key, _)| key.len() == 24).count();
                assert!(now >= loaded, "{now} records after {loaded}");
                loaded = now;
                store.checkpoint().unwrap();
            }
        });
        let mut at = 0;
        while at < n {
            match tree.bulk_load(records(at..n, counter)) {
                Ok(more) => at += more,
                Err(Error::Unsorted { index, .. }) => at += index,
                Err(error) => panic!("{error}"),
            }
        }
        drop(over);
    });
    let report = store.check().unwrap();
    assert_eq!(report.records, n + before.load(Ordering::Relaxed));
    for i in (0..n).step_by(97) {
        assert_eq!(tree.get(counter(i)).unwrap().as_deref(), Some(&vec![i as u8; 150][..]));
    }
}

/// Two loads of the same keys: together they load each key once, or say `Unsorted`.
#[test]
fn two_loads_at_once() {
    for round in 0..10u64 {
        let temp = tempfile::tempdir().unwrap();
        let store = small().open(temp.path()).unwrap();
        let tree: Tree = store.tree("t").unwrap();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let load = |from: u64| {
                let tree = &tree;
                move || tree.bulk_load(records(from..from + 8000, counter))
            };
            let (a, b) = (scope.spawn(load(0)), scope.spawn(load(round * 500)));
            [a, b].map(|thread| thread.join().unwrap()).into()
        });
        let there = tree.len().unwrap();
        let ok: u64 = outcomes.iter().map(|outcome| *outcome.as_ref().unwrap_or(&0)).sum();
        assert!(there >= ok && there <= 16_000, "{there} records after {outcomes:?}");
        for outcome in outcomes {
            assert!(matches!(outcome, Ok(8000) | Err(Error::Unsorted { .. })), "{outcome:?}");
        }
        assert_eq!(store.check().unwrap().records, there);
    }
}

/// A full disk and a failed sync, at each operation of a load in turn: nothing is lost or leaked.
#[test]
fn errors_half_way_leak_nothing() {
    let load = |tree: &Tree| tree.bulk_load(records(0..1500, counter));
    for at in 0..40u64 {
        let disk = SimDisk::new(at);
        let open = || small().disk(Arc::new(disk.clone())).open("/s");
        let store = open().unwrap();
        let tree = store.tree("t").unwrap();
        let op = if at % 2 == 0 { FaultOp::Write } else { FaultOp::Allocate };
        disk.set_faults(FaultPlan::new().fail_from(op, at / 2, ErrorKind::StorageFull).only_in("pages"));
        let outcome = load(&tree);
        disk.set_faults(FaultPlan::new());
        assert!(matches!(outcome, Ok(1500) | Err(Error::NoSpace { .. })), "{at}: {outcome:?}");
        let there = tree.len().unwrap();
        assert!(outcome.is_err() || there == 1500);
        store.check().unwrap();
        let rest = tree.bulk_load(records(there..1500, counter)).unwrap();
        assert_eq!(there + rest, 1500);
        store.check().unwrap();
        store.close().unwrap();
        assert_eq!(open().unwrap().check().unwrap().records, 1500);
    }
}

/// Large values belong to the portion that names them, and to no later one.
#[test]
fn several_portions_with_large_values() {
    let disk = SimDisk::new(7);
    let store = small().disk(Arc::new(disk.clone())).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    let value = |n: u64| vec![n as u8; if n % 7 == 3 { 5000 + (n % 9000) as usize } else { (n % 200) as usize }];
    let loaded = tree.bulk_load((0..6000).map(|n| (key(n), value(n)))).unwrap();
    assert_eq!(loaded, 6000);
    store.check().unwrap();
    store.sync().unwrap();
    drop((tree, store));
    let store = small().disk(Arc::new(disk.crash(1))).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    let mut pairs = tree.iter();
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = (0..6000).map(|n| (key(n), value(n))).collect();
    all.sort();
    for pair in all {
        assert_eq!(pairs.next().unwrap().unwrap(), pair);
    }
    assert!(pairs.next().is_none());
    store.check().unwrap();
}

/// To a chosen fill: as many leaves more as that says, with room in each, whatever the sizes of the records.
#[test]
fn leaves_are_filled_to_what_was_asked() {
    let n = 20_000;
    let pages = |percent| {
        let temp = tempfile::tempdir().unwrap();
        let store = options().open(temp.path()).unwrap();
        let tree = store.tree("t").unwrap();
        assert_eq!(tree.bulk_load_filled(percent, records(0..n, key)).unwrap(), n);
        let report = store.check().unwrap();
        assert_eq!(report.records, n);
        // What comes later finds room: hardly a split for one record more in twenty.
        let before = store.stats().pages_allocated;
        (0..n).step_by(20).for_each(|n| assert!(tree.insert([key(n), vec![0]].concat(), [7; 150]).unwrap()));
        (report.tree_pages as f64, store.stats().pages_allocated - before)
    };
    let (full, split) = pages(100);
    for percent in [50, 70, 90] {
        let (pages, splits) = pages(percent);
        let wanted = full * 100.0 / f64::from(percent);
        assert!((0.97..1.05).contains(&(pages / wanted)), "{pages} pages at {percent}%, {full} at 100");
        assert!(splits < split / 10, "{splits} splits at {percent}%, {split} at 100");
    }
    // Records of which one alone is more than the share: the longest that stay in a leaf, between small ones; and large values.
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let value = |n: u64| vec![n as u8; [1910, 10, 1910, 1910, 40, 1910, 3000, 3][n as usize % 8]];
    assert_eq!(tree.bulk_load_filled(50, (0..4000).map(|n| (key(n), value(n)))).unwrap(), 4000);
    let report = store.check().unwrap();
    // Four of eight have a leaf for themselves.
    assert!(report.records == 4000 && report.tree_pages > 2000 + 500 && report.tree_pages < 2000 + 1700, "{report:?}");
    for n in 0..4000 {
        assert!(tree.get(key(n)).unwrap() == Some(value(n)), "{n}");
    }
    for percent in [0, 49, 101, 255] {
        let refused = tree.bulk_load_filled(percent, records(0..1, key));
        assert!(matches!(refused, Err(Error::InvalidOption { option: "fill", .. })), "{refused:?}");
    }
}
