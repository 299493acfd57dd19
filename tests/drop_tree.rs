//! Dropping trees: names, handles, pages, and everything that may be under way.

#![cfg(all(feature = "btree", feature = "sim"))]

mod btree_support;
#[path = "support/over.rs"]
mod over;

use btree_support::Bed;
use over::Over;
use pagebox::btree::{BTree, BatchAction, BatchOp};
use pagebox::page::slotted::SlottedPage;
use pagebox::sim::SimDisk;
use pagebox::{Batch, Durability, Error, Lsn, SizeClass, Store, StoreOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

fn small() -> StoreOptions {
    Store::options().page_size(4096).memory(1 << 20).durability(Durability::Manual)
}

fn key(n: u64) -> Vec<u8> {
    format!("key {n:08}").into_bytes()
}

fn fill(tree: &pagebox::Tree, n: u64) {
    (0..n).for_each(|i| assert!(tree.insert(key(i), vec![b'v'; 100]).unwrap()));
}

fn is_gone<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    match result {
        Err(Error::NotFound { .. }) => true,
        other => panic!("a dropped tree answers {other:?}"),
    }
}

#[test]
fn a_dropped_tree_is_gone_for_names_and_handles() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    assert!(!store.drop_tree("a").unwrap());
    let (a, b) = (store.tree("a").unwrap(), store.tree("b").unwrap());
    fill(&a, 2000);
    fill(&b, 10);
    let mut range = a.iter();
    range.next().unwrap().unwrap();
    assert!(store.drop_tree("a").unwrap());
    assert!(!store.drop_tree("a").unwrap());
    assert_eq!(store.tree_names().unwrap(), ["b"]);
    assert!(store.existing_tree("a").unwrap().is_none());
    assert!(is_gone(a.get("x")) && is_gone(a.insert("x", "y")) && is_gone(a.remove("x")) && is_gone(a.first()));
    assert!(is_gone(a.len()) && is_gone(a.pop_first()) && is_gone(a.fetch_update("x", |_| None)));
    assert!(is_gone(a.remove_range(..)));
    // What a range has copied it may still give; then it ends.
    let rest: Vec<_> = range.collect();
    assert!(rest.len() < 1000 && is_gone(rest.into_iter().next_back().unwrap()));
    let mut batch = Batch::new();
    batch.insert(&b, "only with", "the other").insert(&a, "x", "y");
    assert!(is_gone(store.apply(&batch)));
    assert_eq!(b.len().unwrap(), 10, "a batch happens as a whole or not at all");
    for _ in 0..3 {
        // The name is free at once; the handle to the former tree goes on knowing nothing of the new one.
        let new = store.tree("a").unwrap();
        assert!(new.is_empty().unwrap() && new.insert("x", "new").unwrap());
        assert!(is_gone(a.get("x")));
        store.check().unwrap();
        assert!(store.drop_tree("a").unwrap());
    }
    assert!(store.check().unwrap().dropped_pages > 0, "the handles keep the roots");
    drop((a, batch));
    store.checkpoint().unwrap();
    let report = store.check().unwrap();
    assert_eq!((report.trees, report.dropped_pages), (2, 0));
}

#[test]
fn the_pages_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let mut most = 0;
    for round in 0..12 {
        let tree = store.tree(if round % 2 == 0 { "a" } else { "b" }).unwrap();
        fill(&tree, 5000);
        let name = tree.name().to_owned();
        drop(tree);
        assert!(store.drop_tree(&name).unwrap());
        store.checkpoint().unwrap();
        let pages = store.stats().file_pages;
        if round == 1 {
            most = pages;
        }
        assert!(round < 2 || pages <= most, "{pages} pages in round {round}, {most} at first");
    }
    let report = store.check().unwrap();
    assert_eq!((report.trees, report.tree_pages, report.dropped_pages), (1, 1, 0));
}

#[test]
fn a_drop_goes_on_after_the_store_was_closed_and_numbers_are_never_used_twice() {
    let disk = SimDisk::new(5);
    let open = || small().disk(Arc::new(disk.clone())).open("/s").unwrap();
    let store = open();
    let tree = store.tree("a").unwrap();
    fill(&tree, 3000);
    let other = store.tree("other").unwrap();
    assert!(store.drop_tree("a").unwrap());
    // Still a handle: the root stays, through the end of the store.
    store.clone().close().unwrap();
    drop((tree, other, store));
    let store = open();
    assert_eq!(store.check().unwrap().dropped_pages, 0);
    assert_eq!(store.tree_names().unwrap(), ["other"]);
    store.close().unwrap();
}

/// The tree behind a store's drop: at every step all pages are either reachable or free.
#[test]
fn every_step_frees_what_it_says_and_nothing_else() {
    for records in [0u64, 1, 30, 800, 6000] {
        let bed = Bed::new(4096, 64);
        let tree = bed.second_tree(9);
        bed.tree.insert(b"entry", b"there").unwrap();
        for i in 0..records {
            tree.insert(&key(i * 7919 % records), &[b'v'; 90]).unwrap();
        }
        let before = tree.check().unwrap().pages.len();
        assert!(matches!(tree.reclaim_step(), Err(Error::NotFound { .. })), "it is not dropped yet");
        bed.tree.drop_in(b"entry", b"gone!", &tree).unwrap();
        assert_eq!(bed.tree.get(b"entry").unwrap().as_deref(), Some(&b"gone!"[..]));
        let mut left = before;
        loop {
            let (pages, errors) = {
                let found = tree.check_dropped().unwrap();
                (found.pages, found.errors)
            };
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(pages.len(), left);
            let mut reachable: std::collections::BTreeSet<_> = pages.into_iter().collect();
            reachable.extend(bed.tree.check().unwrap().pages);
            assert_eq!(reachable, btree_support::allocated(&bed.log.records()));
            btree_support::redo(&bed.log.records(), &bed.pages.unlogged.lock().unwrap());
            match tree.reclaim_step().unwrap() {
                0 => break,
                freed => left -= freed,
            }
        }
        assert_eq!(left, 1, "the tombstone");
        bed.tree.forget_in(b"entry", &tree).unwrap();
        assert_eq!(bed.tree.get(b"entry").unwrap(), None);
        bed.check(&[&bed.tree]);
        assert!(matches!(tree.get(b"x"), Err(Error::NotFound { .. })));
    }
}

/// A leaf that two references lead to is freed once, and all others are, too.
#[test]
fn what_cannot_be_freed_is_gone_past() {
    let bed = Bed::new(4096, 512);
    let tree = bed.second_tree(9);
    bed.tree.insert(b"entry", b"there").unwrap();
    (0..12000).for_each(|i| assert!(!tree.insert(&key(i), &[b'v'; 150]).unwrap().existed));
    let inner = SlottedPage::open(bed.pool.shared(tree.root(), SizeClass::ZERO).unwrap().reader()).unwrap().child(0);
    let mut page = bed.pool.exclusive(inner.unwrap(), SizeClass::ZERO).unwrap();
    page.begin_change(Lsn::FIRST);
    let node = SlottedPage::open(page.reader()).unwrap();
    let (at, other) = (node.child_at(3).unwrap(), page.reader().u64(node.child_at(70).unwrap()).unwrap());
    page.writer().write(at, &other.to_le_bytes());
    page.finish_change(Lsn::NONE);
    drop(page);
    bed.tree.drop_in(b"entry", b"gone!", &tree).unwrap();
    let before = tree.check_dropped().unwrap().pages.len();
    let mut freed = 0;
    let error = loop {
        match tree.reclaim_step() {
            Ok(0) => panic!("only the tombstone is left after {freed} pages"),
            Ok(more) => freed += more,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Corrupted { .. }), "{error}");
    // The tombstone and the node with the bad reference stay.
    assert_eq!(freed, before - 2);
    assert!(matches!(tree.reclaim_step(), Err(Error::Corrupted { .. })), "it is tried again");
}

/// Four threads read, write, scan and apply batches while the tree is dropped and freed under them: nobody sees anything
/// but the tree or `NotFound`, and no page is lost or used twice.
#[test]
fn a_drop_under_readers_and_writers() {
    for round in 0..30u64 {
        let bed = Bed::new(4096, 48);
        let (tree, kept) = (bed.second_tree(9), bed.second_tree(11));
        bed.tree.insert(b"entry", b"there").unwrap();
        let n = 500 + round * 40;
        for i in 0..n {
            tree.insert(&key(i), &i.to_le_bytes()).unwrap();
        }
        let (over, pairs) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for t in 0..4u64 {
                let (tree, kept, over, pairs) = (tree.clone(), &kept, &over, &pairs);
                scope.spawn(move || {
                    for i in 0.. {
                        let late = over.load(Ordering::SeqCst);
                        let outcome = one_call(&tree, kept, t, i, n, pairs);
                        match outcome {
                            Ok(()) => assert!(!late, "a call that began after the drop found the tree"),
                            Err(Error::NotFound { .. }) if late => return,
                            Err(Error::NotFound { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            thread::sleep(std::time::Duration::from_millis(2));
            bed.tree.drop_in(b"entry", b"gone!", &tree).unwrap();
            over.store(true, Ordering::SeqCst);
            // A batch that takes effect does so before the drop, in all of its trees (D2).
            let before = kept.len().unwrap();
            while tree.reclaim_step().unwrap() > 0 {}
            thread::sleep(std::time::Duration::from_millis(1));
            assert_eq!(kept.len().unwrap(), before);
        });
        let pages = tree.check_dropped().unwrap().pages;
        assert_eq!(pages, [tree.root()]);
        bed.tree.forget_in(b"entry", &tree).unwrap();
        bed.check(&[&bed.tree, &kept]);
        bed.check_redo(&[&bed.tree, &kept]);
        assert_eq!(kept.len().unwrap(), pairs.load(Ordering::SeqCst), "what a batch did to the other tree stays");
    }
}

fn one_call(tree: &BTree, kept: &BTree, t: u64, i: u64, n: u64, pairs: &AtomicU64) -> Result<(), Error> {
    let at = i * 7919 % n;
    match t {
        0 => {
            let found = tree.get(&key(at))?;
            assert_eq!(found.as_deref(), Some(&at.to_le_bytes()[..]), "a key that is there throughout");
        }
        1 => {
            let name = [key(at), i.to_le_bytes().to_vec()].concat();
            tree.insert(&name, &vec![b'w'; (i % 900) as usize])?;
            if i.is_multiple_of(3) {
                tree.remove(&name)?;
            }
        }
        2 => {
            let mut next = at;
            let mut sound = true;
            tree.scan(&key(at), None, |k, v| {
                if k.len() == key(at).len() {
                    sound &= k == key(next) && v == next.to_le_bytes();
                    next += 1;
                }
                if next < at + 60 { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
            })?;
            assert!(sound && next >= (at + 60).min(n), "a scan that gave no error skipped keys");
        }
        _ => {
            let (name, value) = (i.to_be_bytes(), [b'x'; 40]);
            let op = |tree, key| BatchOp { tree, key, action: BatchAction::Insert(&value) };
            let far = [b"zz", &name[..]].concat();
            BTree::apply(&[op(kept, &name), op(tree, &far)])?;
            pairs.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// Through the store, with files, threads of its own, and other trees that go on.
#[test]
fn drops_and_new_trees_of_the_same_name_under_four_threads() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&stop);
        for t in 0..4u64 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let own = store.tree(&format!("own {t}")).unwrap();
                let mut i = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    i += 1;
                    own.insert(i.to_be_bytes(), [t as u8; 30]).unwrap();
                    let shared = store.tree("shared").unwrap();
                    for n in 0..20 {
                        match shared.insert(key(i * 20 + n), i.to_le_bytes()) {
                            Ok(_) | Err(Error::NotFound { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                assert_eq!(own.len().unwrap(), i);
            });
        }
        let mut dropped = 0;
        for _ in 0..60 {
            dropped += u32::from(store.drop_tree("shared").unwrap());
            thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(over);
        assert!(dropped > 20);
    });
    store.drop_tree("shared").unwrap();
    store.checkpoint().unwrap();
    let report = store.check().unwrap();
    assert_eq!((report.trees, report.dropped_pages), (5, 0));
}
