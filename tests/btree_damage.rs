//! Damage that a checksum does not show (a bug's, or an attacker's): typed errors, no panic, no endless search.

mod btree_support;

use btree_support::Bed;
use pagebox::btree::{BTree, BatchAction, BatchOp};
use pagebox::page::slotted::SlottedPage;
use pagebox::wal::Record;
use pagebox::{Error, Lsn, PageId, PageKind, SizeClass, TreeId};
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

/// Exchanges two references of an inner node.
fn exchange(bed: &Bed, inner: PageId, a: usize, b: usize) {
    let words = {
        let page = bed.pool.shared(inner, SizeClass::ZERO).unwrap();
        let node = SlottedPage::open(page.reader()).unwrap();
        [a, b].map(|i| (node.child_at(i).unwrap(), node.child(i).unwrap()))
    };
    for (at, to) in [(words[0].0, words[1].1), (words[1].0, words[0].1)] {
        let word = pagebox::swip::Swip::evicted(to, SizeClass::ZERO).to_bits();
        overwrite(bed, inner, at, &word.to_le_bytes());
    }
}

/// The least key of child `i` of an inner node.
fn first_key(bed: &Bed, inner: PageId, i: usize) -> Vec<u8> {
    let child = SlottedPage::open(bed.pool.shared(inner, SizeClass::ZERO).unwrap().reader()).unwrap().child(i).unwrap();
    let mut key = Vec::new();
    SlottedPage::open(bed.pool.shared(child, SizeClass::ZERO).unwrap().reader()).unwrap().key(0, &mut key).unwrap();
    key
}

/// Nothing that redo refuses was logged, and the pool is sound.
fn assert_nothing_logged(bed: &Bed, before: usize) {
    bed.pool.check_poison().unwrap();
    assert_eq!(bed.log.records().len(), before);
}

#[test]
fn nothing_is_logged_for_a_leaf_that_a_damaged_reference_led_to() {
    let (bed, [_, inner, _]) = grown();
    let keys = [1, 2].map(|i| first_key(&bed, inner, i));
    exchange(&bed, inner, 1, 2);
    let before = bed.log.records().len();
    for key in &keys {
        // A key of the leaf that is now where the other should be.
        let key = [&key[..], b"+"].concat();
        let corrupted = |error: Option<Error>| assert!(matches!(error, Some(Error::Corrupted { .. })), "{error:?}");
        corrupted(bed.tree.insert(&key, b"v").err());
        corrupted(bed.tree.create_in(&key, TreeId::new(99), |_| vec![0; 12]).err());
        for action in [BatchAction::Insert(b"v"), BatchAction::Remove, BatchAction::Require(None)] {
            corrupted(BTree::apply(&[BatchOp { tree: &bed.tree, key: &key, action }]).err());
        }
    }
    assert_nothing_logged(&bed, before);
}

#[test]
fn a_merge_with_what_is_no_neighbour_is_not_logged() {
    let (bed, [_, inner, _]) = grown();
    let (from, to) = (first_key(&bed, inner, 0), first_key(&bed, inner, 1));
    let mut keys = Vec::new();
    bed.tree
        .scan(&from, Some(&to), |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    // The right neighbour, as the parent has it, is a leaf further on; no less empty, so that a merge would be tried.
    exchange(&bed, inner, 1, 2);
    let before = bed.log.records().len();
    for key in &keys {
        bed.tree.remove(key).unwrap();
    }
    assert_nothing_logged(&bed, before + keys.len());
}

#[test]
fn a_page_that_two_references_lead_to_is_not_freed_twice() {
    let (bed, [_, inner, _]) = grown();
    let gone = SlottedPage::open(bed.pool.shared(inner, SizeClass::ZERO).unwrap().reader()).unwrap().child(1).unwrap();
    let (low, mid, high) = (first_key(&bed, inner, 0), first_key(&bed, inner, 1), first_key(&bed, inner, 2));
    // The allocator has the second leaf as freed, as if another tree's reference had led to it too.
    let gate = bed.pool.allocator().enter();
    bed.pool.allocator().apply_free(&gate, gone, SizeClass::ZERO, Lsn::new(1));
    drop(gate);
    let mut keys = Vec::new();
    bed.tree
        .scan(&low, Some(&high), |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(keys.contains(&mid));
    let before = bed.log.records().len();
    for key in &keys {
        bed.tree.remove(key).unwrap();
    }
    bed.pool.check_poison().unwrap();
    let logged = bed.log.records();
    let frees = logged[before..].iter().flat_map(|(lsn, bytes)| {
        let (record, _) = Record::decode(bytes, *lsn).unwrap();
        record.parts().filter(|part| part.kind == PageKind::SPACE).map(|part| part.page).collect::<Vec<_>>()
    });
    let frees: Vec<PageId> = frees.collect();
    assert!(!frees.contains(&gone), "{gone:?} was freed twice: {frees:?}");
}

#[test]
fn a_root_of_another_tree_is_not_found() {
    let bed = Bed::new(4096, 32);
    let foreign = pagebox::btree::BTree::open(bed.pool.clone(), None, pagebox::TreeId::new(99), bed.tree.root());
    assert!(matches!(foreign.get(b"a"), Err(Error::NotFound { .. })));
    assert!(matches!(foreign.insert(b"a", b"b"), Err(Error::NotFound { .. })));
    assert!(matches!(foreign.iter().next(), Some(Err(Error::NotFound { .. }))));
}
