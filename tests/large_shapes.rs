//! Large values where whole parts of a tree come and go: bulk loads, removed ranges, dropped trees.

#![cfg(all(feature = "btree", feature = "sim"))]

use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Store, StoreOptions};
use std::sync::Arc;

fn options(disk: &SimDisk) -> StoreOptions {
    let small = Store::options().page_size(4096).memory(2 << 20).durability(Durability::Manual);
    small.disk(Arc::new(disk.clone()))
}

fn key(n: u64) -> Vec<u8> {
    format!("key {n:08}").into_bytes()
}

/// Mostly short ones; every seventh is large, every hundredth very.
fn value(n: u64) -> Vec<u8> {
    let len = match n {
        n if n % 100 == 50 => 300_000,
        n if n % 7 == 3 => 5000 + (n % 9000) as usize,
        n => (n % 200) as usize,
    };
    (0..len).map(|i| (n as usize + i) as u8).collect()
}

fn records(range: std::ops::Range<u64>) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    range.map(|n| (key(n), value(n)))
}

fn holds(tree: &pagebox::Tree, range: std::ops::Range<u64>) {
    let there: Vec<_> = tree.iter().collect::<Result<_, _>>().unwrap();
    assert!(there == records(range).collect::<Vec<_>>(), "what is there is not what was put in");
}

#[test]
fn a_bulk_load_takes_large_values() {
    let disk = SimDisk::new(7);
    let store = options(&disk).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    assert_eq!(tree.bulk_load(records(0..700)).unwrap(), 700);
    holds(&tree, 0..700);
    assert!(store.check().unwrap().value_pages > 0);
    // Behind what is there, a few and many.
    for end in [701, 704, 711, 1500] {
        let start = tree.len().unwrap();
        assert_eq!(tree.bulk_load(records(start..end)).unwrap(), end - start);
    }
    holds(&tree, 0..1500);
    store.check().unwrap();
    // Without a checkpoint, as a crash leaves it.
    store.sync().unwrap();
    let after = disk.crash(11);
    drop((tree, store));
    let store = options(&after).open("/store").unwrap();
    holds(&store.tree("t").unwrap(), 0..1500);
    store.check().unwrap();
}

#[test]
fn a_bulk_load_that_ends_early_gives_back_what_it_wrote() {
    let disk = SimDisk::new(8);
    let store = options(&disk).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    let unsorted = records(0..900).chain([(key(5), vec![1; 100_000])]).chain(records(900..1000));
    assert!(matches!(tree.bulk_load(unsorted), Err(Error::Unsorted { .. })));
    let there = tree.len().unwrap();
    assert!(there <= 900);
    holds(&tree, 0..there);
    store.check().unwrap();
    // A key that a load would pass over again is refused before its value is written.
    let before = store.stats().file_pages;
    for _ in 0..50 {
        assert!(matches!(tree.bulk_load([(key(1), vec![2; 900_000])]), Err(Error::Unsorted { .. })));
    }
    assert_eq!(store.stats().file_pages, before);
    holds(&tree, 0..there);
    store.check().unwrap();
}

#[test]
fn removed_ranges_take_their_large_values_with_them() {
    let disk = SimDisk::new(9);
    let store = options(&disk).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    tree.bulk_load(records(0..1500)).unwrap();
    assert_eq!(tree.remove_range(key(100)..key(1400)).unwrap(), 1300);
    let rest: Vec<_> = tree.iter().collect::<Result<_, _>>().unwrap();
    assert!(rest == records(0..100).chain(records(1400..1500)).collect::<Vec<_>>());
    store.check().unwrap();
    store.sync().unwrap();
    let after = disk.crash(3);
    drop((tree, store));
    let store = options(&after).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    assert_eq!(tree.len().unwrap(), 200);
    store.check().unwrap();
    assert_eq!(tree.remove_range(..).unwrap(), 200);
    let report = store.check().unwrap();
    assert_eq!((report.records, report.value_pages), (0, 0), "nothing is left, and nothing leaks");
}

#[test]
fn a_dropped_tree_gives_back_its_large_values() {
    let disk = SimDisk::new(10);
    let store = options(&disk).open("/store").unwrap();
    let mut sizes = Vec::new();
    for round in 0..6 {
        let tree = store.tree("t").unwrap();
        tree.bulk_load(records(0..800)).unwrap();
        holds(&tree, 0..800);
        drop(tree);
        assert!(store.drop_tree("t").unwrap());
        // In the middle of it, and as a crash leaves it.
        store.check().unwrap();
        if round == 3 {
            store.sync().unwrap();
            let again = options(&disk.crash(5)).open("/store").unwrap();
            again.check().unwrap();
            assert!(again.existing_tree("t").unwrap().is_none());
        }
        store.checkpoint().unwrap();
        store.checkpoint().unwrap();
        sizes.push(store.stats().file_pages);
    }
    assert!(sizes[5] <= sizes[1] + sizes[1] / 4, "the file grows: {sizes:?}");
    let report = store.check().unwrap();
    assert_eq!((report.records, report.value_pages), (0, 0));
}

/// A tree that never was more than its root.
#[test]
fn a_dropped_leaf_gives_back_its_large_values() {
    let disk = SimDisk::new(12);
    let store = options(&disk).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    (0..10).for_each(|n| assert!(tree.insert(key(n), vec![n as u8; 20_000]).unwrap()));
    assert!(store.drop_tree("t").unwrap());
    assert!(store.check().unwrap().dropped_pages > 40, "a handle is left: the root is, and its values are");
    drop(tree);
    store.checkpoint().unwrap();
    let report = store.check().unwrap();
    assert_eq!((report.value_pages, report.dropped_pages), (0, 0));
}
