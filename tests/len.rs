//! How many pairs there are: kept while they come and go, found out once in a tree that was there before.

#[path = "support/over.rs"]
mod over;

use over::Over;
use pagebox::{Batch, Durability, Store, StoreOptions, Tree};
use std::sync::atomic::{AtomicBool, Ordering};

fn options() -> StoreOptions {
    Store::options().page_size(4096).memory(2 << 20).max_log_bytes(16 << 20).durability(Durability::Manual)
}

fn rng(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    }
}

/// By what is there, whatever `len` says.
fn walked(tree: &Tree) -> u64 {
    tree.iter().fold(0, |n, pair| pair.map(|_| n + 1).unwrap())
}

/// One change or more of the kinds that add and take away.
fn change(store: &Store, tree: &Tree, rng: &mut impl FnMut(u64) -> u64, keys: u64) {
    let key = |rng: &mut dyn FnMut(u64) -> u64| u64::to_be_bytes(rng(keys)).to_vec();
    let value = vec![7; if rng(50) == 0 { 9000 } else { rng(300) as usize }];
    match rng(14) {
        0..5 => drop(tree.insert(key(rng), &value).unwrap()),
        5 => drop(tree.remove(key(rng)).unwrap()),
        6 => drop(tree.take(key(rng)).unwrap()),
        7 => drop(tree.replace(key(rng), &value).unwrap()),
        8 => drop(tree.compare_and_swap(key(rng), None::<&[u8]>, Some(&value[..])).unwrap()),
        9 => drop(tree.fetch_update(key(rng), |old| old.is_none().then(|| value.clone())).unwrap()),
        10 => drop(tree.pop_first().unwrap()),
        11 => drop(tree.pop_last().unwrap()),
        12 => {
            let from = rng(keys);
            tree.remove_range(u64::to_be_bytes(from)..u64::to_be_bytes(from + rng(keys / 8 + 1))).unwrap();
        }
        _ => {
            let mut batch = Batch::new();
            for _ in 0..rng(40) {
                if rng(3) == 0 {
                    batch.remove(tree, key(rng));
                } else {
                    batch.insert(tree, key(rng), &value);
                }
            }
            store.apply(&batch).unwrap();
        }
    }
}

#[test]
fn every_kind_of_change_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = rng(1);
    for round in 0..6 {
        let store = options().open(dir.path().join("s")).unwrap();
        let (tree, other) = (store.tree("t").unwrap(), store.tree("u").unwrap());
        assert_eq!((tree.len().unwrap(), other.len().unwrap()), (walked(&tree), walked(&other)), "round {round}");
        for i in 0..1500 {
            change(&store, if i % 5 == 0 { &other } else { &tree }, &mut rng, 2000);
            if i % 50 == 0 {
                assert_eq!(tree.len().unwrap(), walked(&tree), "round {round}, change {i}");
            }
        }
        let last = u64::MAX - 100_000 + round * 10_000;
        tree.bulk_load((last..last + 3000).map(|key| (u64::to_be_bytes(key), [1; 100]))).unwrap();
        assert_eq!((tree.len().unwrap(), other.len().unwrap()), (walked(&tree), walked(&other)), "round {round}");
        store.check().unwrap();
        store.drop_tree("u").unwrap();
        assert!(other.len().is_err());
        assert_eq!(store.tree("u").unwrap().len().unwrap(), 0);
    }
}

/// Whoever asks first in a tree that was there before must not take a moment for quiet in which a change was half counted.
#[test]
fn the_first_to_ask_may_ask_amid_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    for round in 0..40 {
        let store = options().open(dir.path().join("s")).unwrap();
        let tree = store.tree("t").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = Over(&done);
            let writers: Vec<_> = (0..2)
                .map(|thread| {
                    let (store, tree) = (&store, &tree);
                    scope.spawn(move || {
                        let mut rng = rng(round * 2 + thread + 99);
                        for _ in 0..200 {
                            change(store, tree, &mut rng, 300);
                            // Moments without a change, for whoever asks to find.
                            (0..rng(300)).for_each(|_| std::hint::spin_loop());
                        }
                    })
                })
                .collect();
            let asks = scope.spawn(|| {
                let mut n = 0u64;
                while !done.load(Ordering::Relaxed) {
                    // Nobody counts below none or beyond all keys.
                    assert!(tree.len().unwrap() <= 300);
                    n += 1;
                }
                n
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            drop(over);
            // A busy machine may leave out a round.
            asked += asks.join().unwrap();
        });
        assert_eq!(tree.len().unwrap(), walked(&tree), "round {round}");
    }
    assert!(asked > 40, "{asked}");
}

/// A batch that takes one pair and brings another is one change: there is always one.
#[test]
fn a_batch_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("s")).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("a", "x").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&done);
            for i in 0..20_000 {
                let (goes, comes) = if i % 2 == 0 { ("a", "b") } else { ("b", "a") };
                let mut batch = Batch::new();
                batch.remove(&tree, goes).insert(&tree, comes, "x");
                store.apply(&batch).unwrap();
            }
        });
        while !done.load(Ordering::Relaxed) {
            assert_eq!(tree.len().unwrap(), 1);
        }
    });
}
