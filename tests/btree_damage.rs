//! Damage that a checksum does not show (a bug's, or an attacker's): typed errors, no panic, no endless search.

mod btree_support;

use btree_support::Bed;
use pagebox::page::slotted::SlottedPage;
use pagebox::{Error, Lsn, PageId, SizeClass};
use std::ops::ControlFlow;

fn key(i: u64) -> Vec<u8> {
    format!("k{:09}", i).into_bytes()
}

/// A tree of three levels, and the ids of its root, an inner node and a leaf.
fn grown() -> (Bed, [PageId; 3]) {
    let bed = Bed::new(4096, 512);
    for i in 0..6_000 {
        bed.tree.insert(&key(i * 7919 % 6_000), &[1; 150]).unwrap();
    }
    let child = |id: PageId| {
        let page = bed.pool.shared(id, SizeClass::ZERO).unwrap();
        SlottedPage::open(page.reader()).unwrap().child(1).unwrap()
    };
    let root = bed.tree.root();
    let inner = child(root);
    let leaf = child(inner);
    (bed, [root, inner, leaf])
}

fn overwrite(bed: &Bed, id: PageId, at: usize, bytes: &[u8]) {
    let mut page = bed.pool.exclusive(id, SizeClass::ZERO).unwrap();
    page.begin_change(Lsn::FIRST);
    page.writer().write(at, bytes);
    page.finish_change(Lsn::NONE);
}

/// Every operation on every part of the tree: each ends, with a result or with a typed error. Returns whether any failed.
fn use_it_all(bed: &Bed) -> bool {
    let mut failed = false;
    let mut see = |error: Option<Error>| match error {
        None => {}
        Some(Error::Corrupted { .. } | Error::NotFound { .. } | Error::Poisoned { .. }) => failed = true,
        Some(error) => panic!("{error}"),
    };
    for i in (0..6_000).step_by(37) {
        see(bed.tree.get(&key(i)).err());
        see(bed.tree.contains_key(&key(i)).err());
    }
    see(bed.tree.scan(b"", None, |_, _| ControlFlow::Continue(())).err());
    see(bed.tree.scan_rev(b"", None, |_, _| ControlFlow::Continue(())).err());
    // A damaged leaf may repeat itself in a cursor, but not without end: fences only go forward.
    see(bed.tree.iter().take(100_000).find_map(Result::err));
    see(bed.tree.iter().rev().take(100_000).find_map(Result::err));
    for i in (0..6_000).step_by(97) {
        see(bed.tree.insert(&key(i), &[2; 300]).err());
        see(bed.tree.remove(&key(i + 1)).err());
    }
    failed
}

#[test]
fn a_reference_to_nowhere_or_upwards_is_corruption() {
    for target in [0, 1, 3, u64::MAX >> 30, 1 << 33] {
        let (bed, [root, inner, _]) = grown();
        let at = {
            let page = bed.pool.shared(inner, SizeClass::ZERO).unwrap();
            SlottedPage::open(page.reader()).unwrap().child_at(1).unwrap()
        };
        let id = if target == 1 { root.get() } else { target };
        let word = pagebox::swip::Swip::evicted(PageId::new(id), SizeClass::ZERO).to_bits();
        overwrite(&bed, inner, at, &word.to_le_bytes());
        assert!(!bed.tree.check().unwrap().errors.is_empty());
        assert!(use_it_all(&bed), "a reference to {id} went unnoticed");
    }
}

#[test]
fn a_scribbled_node_never_panics_or_hangs_anybody() {
    let mut state = 99u64;
    let mut rng = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut noticed = 0;
    for round in 0..60 {
        let (bed, ids) = grown();
        let id = ids[round % 3];
        for _ in 0..4 {
            // Most of it where it hurts: node header, hints, first slots.
            let within = if rng(3) == 0 { 4064 } else { 200 };
            let at = 32 + rng(within) as usize;
            overwrite(&bed, id, at, &[rng(256) as u8]);
        }
        let seen = !bed.tree.check().unwrap().errors.is_empty();
        noticed += usize::from(seen);
        let _ = use_it_all(&bed);
    }
    assert!(noticed > 40, "{noticed} of 60");
}

#[test]
fn a_root_of_another_tree_is_not_found() {
    let bed = Bed::new(4096, 32);
    let foreign = pagebox::btree::BTree::open(bed.pool.clone(), None, pagebox::TreeId::new(99), bed.tree.root());
    assert!(matches!(foreign.get(b"a"), Err(Error::NotFound { .. })));
    assert!(matches!(foreign.insert(b"a", b"b"), Err(Error::NotFound { .. })));
    assert!(matches!(foreign.iter().next(), Some(Err(Error::NotFound { .. }))));
}
