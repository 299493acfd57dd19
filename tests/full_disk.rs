//! A disk that is full: removing things must always be possible, and must give the space back. Whatever pieces free space
//! is in, and however much of it is pending, a checkpoint finds room for its record of it.

#![cfg(all(feature = "btree", feature = "sim"))]

mod support;

use pagebox::io::Disk;
use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Store, StoreOptions, Tree};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::unsteady::unsteady;

fn options(disk: &SimDisk) -> StoreOptions {
    Store::options()
        .page_size(4096)
        .memory(2 << 20)
        .durability(Durability::Manual)
        .log_segment_bytes(256 << 10)
        .max_log_bytes(2 << 20)
        .disk(Arc::new(disk.clone()))
}

fn spread(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// Inserts until the disk is full, with values of `len` bytes; how many records there are.
fn fill(tree: &Tree, len: usize) -> u64 {
    for n in 0.. {
        match tree.insert(spread(n), vec![7; len]) {
            Ok(_) => {}
            Err(Error::NoSpace { .. }) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    0
}

/// A store on a full disk: tree `t` fills it, and `other` is there too.
fn full(disk: &SimDisk, len: usize) -> (Store, u64) {
    disk.set_history(false);
    let store = options(disk).open("/s").unwrap();
    // The log takes its full length first.
    let other = store.tree("other").unwrap();
    for n in 0..20_000u64 {
        other.insert((n % 500).to_be_bytes(), [n as u8; 200]).unwrap();
    }
    disk.set_space_limit(Some(disk.used_bytes() + (24 << 20)));
    let records = fill(&store.tree("t").unwrap(), len);
    store.checkpoint().unwrap();
    (store, records)
}

/// `least` pages come free by a checkpoint, others can write, and the store can be closed and opened again.
fn gives_space_back(disk: &SimDisk, store: Store, least: u64) {
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    let stats = store.stats();
    assert_eq!(stats.pending_pages, 0);
    assert!(stats.free_pages >= least, "{} pages are free, of {}", stats.free_pages, stats.file_pages);
    let other = store.tree("other").unwrap();
    (0..3000u64).for_each(|n| assert!(other.insert((1000 + n).to_be_bytes(), [1; 200]).unwrap()));
    drop(other);
    store.check().unwrap();
    store.close().unwrap();
    let store = options(disk).open("/s").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.tree("other").unwrap().len().unwrap(), 3500);
    store.check().unwrap();
    store.close().unwrap();
}

/// Slots for copies of pages are longer with more memory, or there are none: a store on a full disk opens and works all the same.
#[test]
fn opened_with_another_budget() {
    for left in ["all of it", "a piece of a slot", "nothing"] {
        let disk = SimDisk::new(7);
        let (store, _) = full(&disk, 300);
        store.close().unwrap();
        // Behind a directory sync it takes no space any more.
        match left {
            "nothing" => {
                disk.remove("/s/double-write".as_ref()).unwrap();
                disk.sync_dir("/s".as_ref()).unwrap();
            }
            "a piece of a slot" => disk.truncate("/s/double-write", 5000).unwrap(),
            _ => {}
        }
        disk.set_space_limit(Some(disk.used_bytes()));
        let store = options(&disk).memory(8 << 20).open("/s").unwrap();
        let copies = disk.read_file("/s/double-write").unwrap().len();
        assert!(copies <= 5000 || left == "all of it", "{copies} bytes, with {left} left");
        store.tree("t").unwrap().remove_range(..).unwrap();
        gives_space_back(&disk, store, 4500);
    }
}

#[test]
fn a_tree_is_dropped() {
    let disk = SimDisk::new(7);
    let (store, _) = full(&disk, 150);
    assert!(store.drop_tree("t").unwrap());
    gives_space_back(&disk, store, 5000);
}

#[test]
fn a_range_is_removed() {
    let disk = SimDisk::new(8);
    let (store, records) = full(&disk, 150);
    assert_eq!(store.tree("t").unwrap().remove_range(..).unwrap(), records);
    gives_space_back(&disk, store, 5000);
}

#[test]
fn free_space_is_in_as_many_pieces_as_there_can_be() {
    let disk = SimDisk::new(9);
    let (store, records) = full(&disk, 3000);
    let tree = store.tree("t").unwrap();
    // Each value has a page of its own, and they lie in the order of their arrival: every other goes.
    (0..records).filter(|n| n % 2 == 1).for_each(|n| assert!(tree.remove(spread(n)).unwrap()));
    assert!(records > 5000);
    drop(tree);
    gives_space_back(&disk, store, records / 2 - 200);
}

/// The drop is on disk, and no checkpoint after it.
#[test]
fn a_crash_before_the_checkpoint() {
    for seed in 0..4 {
        let disk = SimDisk::new(10 + seed);
        let (store, _) = full(&disk, if seed % 2 == 0 { 150 } else { 3000 });
        let limit = disk.used_bytes();
        assert!(store.drop_tree("t").unwrap());
        store.sync().unwrap();
        let disk = disk.crash(seed);
        disk.set_history(false);
        disk.set_space_limit(Some(limit.max(disk.used_bytes())));
        drop(store);
        let store = options(&disk).open("/s").unwrap();
        assert_eq!(store.tree_names().unwrap(), ["other"]);
        gives_space_back(&disk, store, 5000);
    }
}

/// On a disk with room enough no checkpoint fails for lack of it, whatever is freed while its record of free space grows.
#[test]
fn checkpoints_beside_removals() {
    for seed in 0..4 {
        let disk = unsteady(seed);
        let options = Store::options().page_size(4096).memory(64 << 20).durability(Durability::Manual);
        let store = options.disk(Arc::new(disk.clone())).open("/s").unwrap();
        let trees: Vec<Tree> = (0..8).map(|n| store.tree(&format!("t{n}")).unwrap()).collect();
        let mut n = 0u64;
        while n < 80_000 || store.stats().free_pages > 0 {
            if n == 80_000 {
                store.checkpoint().unwrap();
            }
            trees[n as usize % 8].insert(n.to_be_bytes(), [1; 200]).unwrap();
            n += 1;
        }
        disk.hook().slow_growth(50);
        // So much that the record takes two pages; and there is no free one.
        while store.stats().pending_pages < 130 {
            trees[0].pop_first().unwrap();
        }
        let (before, done) = (disk.hook().growths(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for tree in &trees {
                scope.spawn(|| {
                    while disk.hook().growths() == before && !done.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                    tree.remove_range(..).unwrap()
                });
            }
            let checkpoint = store.checkpoint();
            done.store(true, Ordering::Relaxed);
            checkpoint.unwrap();
        });
        disk.hook().slow_growth(0);
        store.check().unwrap();
    }
}
