//! Dropping a tree of which some pages are damaged: everything else comes back, what is left is known, and goes once it can
//! be read again.

#![cfg(all(feature = "btree", feature = "sim"))]

mod support;

use pagebox::io::{Disk, OpenMode};
use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, PageKind, Store, StoreOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::unsteady::unsteady;

const PAGE: usize = 4096;
const RECORDS: u64 = 20_000;

fn options() -> StoreOptions {
    Store::options().page_size(PAGE).memory(1 << 20).durability(Durability::Manual)
}

fn fill(store: &Store) {
    let (tree, other) = (store.tree("t").unwrap(), store.tree("other").unwrap());
    for n in 0..RECORDS {
        // One in a few hundred is a large value.
        let len = if n % 400 == 399 { 9000 } else { 100 };
        tree.insert(n.to_be_bytes(), vec![1; len]).unwrap();
    }
    (0..100u64).for_each(|n| assert!(other.insert(n.to_be_bytes(), [2; 50]).unwrap()));
}

/// The pages of tree 2 of that level in a page file, in the order of their places.
fn nodes(pages: &[u8], level: u8) -> Vec<usize> {
    let of = |page: &[u8]| page[4] == PageKind::BTREE.get() && page[24..28] == 2u32.to_le_bytes() && page[32] == level;
    (64..pages.len() / PAGE).filter(|n| of(&pages[n * PAGE..(n + 1) * PAGE])).collect()
}

fn write(disk: &SimDisk, page: usize, bytes: &[u8]) {
    let file = disk.open(Path::new("/s/pages"), OpenMode::ReadWrite).unwrap();
    file.write_at_sync(bytes, (page * PAGE) as u64).unwrap();
}

/// Of a dropped tree nothing is left but `damaged` and what leads there, `most` nodes.
fn is_all_freed_but(store: &Store, damaged: &[usize], most: u64) {
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    let stats = store.stats();
    assert_eq!((stats.dropped_damaged, stats.pending_pages), (1, 0));
    let in_use = stats.file_pages - stats.free_pages - (136 << 10) / PAGE as u64 - (1 << 20) / PAGE as u64;
    // The other tree, the catalog, two snapshots; a few pages for what large values the damaged ones lead to.
    assert!(in_use <= damaged.len() as u64 + most + 12, "{in_use} pages are in use");
    let found = format!("{:?}", store.check_all().unwrap());
    for page in damaged {
        assert!(found.contains(&format!("{page}")), "page {page} is not in {found}");
    }
    assert_eq!(store.tree_names().unwrap(), ["other"]);
}

#[test]
fn all_but_the_damaged_pages_comes_back() {
    for (seed, level) in [(1, 0), (2, 0), (3, 1)] {
        let disk = SimDisk::new(seed);
        disk.set_history(false);
        let open = |disk: &SimDisk| options().disk(Arc::new(disk.clone())).open("/s").unwrap();
        let store = open(&disk);
        fill(&store);
        store.close().unwrap();
        let image = disk.contents()[Path::new("/s/pages")].clone();
        let (all, leaves) = (nodes(&image, level), nodes(&image, 0));
        let damaged = match (seed, level) {
            (1, _) => vec![leaves[leaves.len() - 3]],
            (_, 0) => vec![all[0], all[300], all[301], all[305], all[all.len() - 1]],
            _ => vec![all[1], leaves[0]],
        };
        let bytes = |page: usize| image[page * PAGE..(page + 1) * PAGE].to_vec();
        for &page in &damaged {
            let mut bytes = bytes(page);
            bytes[2000] ^= 4;
            write(&disk, page, &bytes);
        }
        let store = open(&disk);
        assert!(store.drop_tree("t").unwrap());
        let below = if level == 1 { 250 } else { 0 };
        is_all_freed_but(&store, &damaged, 8 + below);
        store.sync().unwrap();
        // What the steps did is in the log, too.
        let disk = disk.crash(seed);
        drop(store);
        let store = open(&disk);
        is_all_freed_but(&store, &damaged, 8 + below);
        for &page in &damaged {
            write(&disk, page, &bytes(page));
        }
        store.checkpoint().unwrap();
        let report = store.check().unwrap();
        assert_eq!((report.dropped_pages, report.trees, store.stats().dropped_damaged), (0, 2, 0));
        store.close().unwrap();
    }
}

/// The steps after a crash in their midst: redone over pages that do not hold them yet.
#[test]
fn steps_past_damage_are_redone() {
    for seed in 0..3 {
        let disk = SimDisk::new(seed);
        disk.set_history(false);
        let open = |disk: &SimDisk| options().disk(Arc::new(disk.clone())).open("/s").unwrap();
        let store = open(&disk);
        fill(&store);
        store.close().unwrap();
        let leaves = nodes(&disk.contents()[Path::new("/s/pages")], 0);
        write(&disk, leaves[100], &[7; PAGE]);
        write(&disk, leaves[leaves.len() - 20], &[7; PAGE]);
        let store = open(&disk);
        assert!(store.drop_tree("t").unwrap());
        store.sync().unwrap();
        let disk = disk.crash(seed);
        drop(store);
        let store = open(&disk);
        assert!(store.stats().recovered_records > 0);
        is_all_freed_but(&store, &[leaves[100], leaves[leaves.len() - 20]], 8);
    }
}

#[test]
fn what_is_damaged_is_not_looked_at_all_the_time() {
    let disk = unsteady(5);
    let open = || options().disk(Arc::new(disk.clone())).open("/s").unwrap();
    let store = open();
    fill(&store);
    store.close().unwrap();
    let file = disk.open(Path::new("/s/pages"), OpenMode::ReadWrite).unwrap();
    let mut image = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut image, 0).unwrap();
    file.write_at_sync(&[7; PAGE], (nodes(&image, 0)[5] * PAGE) as u64).unwrap();
    let store = open();
    assert!(store.drop_tree("t").unwrap());
    let reads = || {
        let before = disk.hook().reads();
        std::thread::sleep(Duration::from_secs(3));
        disk.hook().reads() - before
    };
    let first = reads();
    assert!(first <= 6, "{first} reads in three seconds");
    let then = reads();
    assert!(then <= 2, "{then} reads in the next three");
    assert!(matches!(store.check(), Err(Error::Corrupted { .. })));
}
