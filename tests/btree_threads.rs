//! The tree under several threads and eviction: per-key histories, cursors beside splits and merges, batches, and
//! progress when there are as many threads as frames.

mod btree_support;
#[path = "support/over.rs"]
mod over;

use btree_support::Bed;
use over::Over;
use pagebox::btree::{BTree, BatchAction, BatchOp};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn key(i: u64) -> Vec<u8> {
    format!("k{:09}", i).into_bytes()
}

/// A small generator, so that a failure can be run again.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn disjoint_keys_keep_their_values() {
    let bed = Bed::new(4096, 32);
    let models: Vec<BTreeMap<Vec<u8>, Vec<u8>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|t| {
                let tree = bed.tree.clone();
                scope.spawn(move || {
                    let (mut rng, mut model) = (Rng(77 + t), BTreeMap::new());
                    for round in 0..6_000u64 {
                        // Neighbouring keys belong to different threads: they share leaves.
                        let key = key(rng.next(1_500) * 4 + t);
                        let value = vec![round as u8; 20 + rng.next(200) as usize];
                        // First it grows, then it shrinks.
                        let insert = rng.next(10) < if round < 3_000 { 8 } else { 3 };
                        if insert {
                            let existed = tree.insert(&key, &value).unwrap().existed;
                            assert_eq!(existed, model.insert(key.clone(), value).is_some());
                        } else {
                            assert_eq!(tree.remove(&key).unwrap().existed, model.remove(&key).is_some());
                        }
                        assert_eq!(tree.get(&key).unwrap().as_ref(), model.get(&key));
                    }
                    model
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let expected: BTreeMap<_, _> = models.into_iter().flatten().collect();
    let all: BTreeMap<_, _> = bed.tree.iter().map(Result::unwrap).collect();
    assert!(all == expected);
    bed.check(&[&bed.tree]);
    bed.check_redo(&[&bed.tree]);
}

/// Shared counters, raised by compare-and-swap: no update is lost, and no reader sees one fall.
#[test]
fn shared_counters_never_lose_or_fall() {
    let bed = Bed::new(4096, 32);
    let (keys, rounds) = (40u64, 1_500u64);
    let number = |value: Option<Vec<u8>>| value.map_or(0, |value| u64::from_le_bytes(value[..8].try_into().unwrap()));
    thread::scope(|scope| {
        for t in 0..4u64 {
            let tree = bed.tree.clone();
            scope.spawn(move || {
                let mut rng = Rng(1 + t);
                let mut seen = vec![0u64; keys as usize];
                for round in 0..rounds {
                    let i = rng.next(keys);
                    loop {
                        let before = tree.get(&key(i * 31)).unwrap();
                        let value = number(before.clone());
                        assert!(value >= seen[i as usize], "a counter fell");
                        // Its length changes, so that leaves split and records move.
                        let mut next = (value + 1).to_le_bytes().to_vec();
                        next.resize(8 + rng.next(300) as usize, 0);
                        let outcome = tree.compare_and_swap(&key(i * 31), before.as_deref(), Some(&next)).unwrap();
                        seen[i as usize] = number(outcome.current).max(seen[i as usize]);
                        if outcome.swapped {
                            break;
                        }
                    }
                    // Noise that comes and goes beside them.
                    let noise = key(rng.next(2_000) + 10_000);
                    if round.is_multiple_of(2) { tree.insert(&noise, &[7; 200]) } else { tree.remove(&noise) }.unwrap();
                }
            });
        }
    });
    let total: u64 = (0..keys).map(|i| number(bed.tree.get(&key(i * 31)).unwrap())).sum();
    assert_eq!(total, 4 * rounds);
    bed.check(&[&bed.tree]);
    bed.check_redo(&[&bed.tree]);
}

/// Keys that are there throughout are met exactly once by every cursor, in both directions, while others come and go and
/// leaves split and merge.
#[test]
fn cursors_neither_skip_nor_repeat() {
    let bed = Bed::new(4096, 32);
    let n = 3_000u64;
    let stays = |i: u64| i % 10 == 3;
    for i in (0..n).filter(|&i| stays(i)) {
        bed.tree.insert(&key(i), b"stays").unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&done);
        for t in 0..2u64 {
            let (tree, done) = (bed.tree.clone(), &done);
            scope.spawn(move || {
                let mut rng = Rng(5 + t);
                while !done.load(Ordering::Relaxed) {
                    // Waves: runs of neighbours are inserted, later removed.
                    let (from, insert) = (rng.next(n), rng.next(2) == 0);
                    for i in (from..from + 150).filter(|&i| !stays(i)) {
                        if insert { tree.insert(&key(i), &[1; 150]) } else { tree.remove(&key(i)) }.unwrap();
                    }
                }
            });
        }
        let expected: Vec<Vec<u8>> = (0..n).filter(|&i| stays(i)).map(key).collect();
        for round in 0..24 {
            let mut met: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            match round % 4 {
                0 => met.extend(bed.tree.iter().map(Result::unwrap)),
                1 => met.extend(bed.tree.iter().rev().map(Result::unwrap)),
                2 => bed
                    .tree
                    .scan(b"", None, |key, value| {
                        met.push((key.to_vec(), value.to_vec()));
                        ControlFlow::Continue(())
                    })
                    .unwrap(),
                _ => bed
                    .tree
                    .scan_rev(b"", None, |key, value| {
                        met.push((key.to_vec(), value.to_vec()));
                        ControlFlow::Continue(())
                    })
                    .unwrap(),
            }
            if round % 2 == 1 {
                met.reverse();
            }
            assert!(met.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order or twice");
            met.retain(|(_, value)| value == b"stays");
            assert!(met.into_iter().map(|(key, _)| key).eq(expected.iter().cloned()), "round {round}");
        }
        drop(over);
    });
    bed.check(&[&bed.tree]);
    bed.check_redo(&[&bed.tree]);
}

/// Money moves between accounts in two trees; an auditor's batch of requirements sees the sum unchanged.
#[test]
fn batches_are_isolated() {
    let bed = Bed::new(4096, 64);
    let other = bed.second_tree(8);
    let (accounts, start) = (24u64, 1_000u64);
    let value = |n: u64| {
        let mut value = n.to_le_bytes().to_vec();
        value.resize(150 + (n % 100) as usize, 0);
        value
    };
    let number = |value: &[u8]| u64::from_le_bytes(value[..8].try_into().unwrap());
    let place = |i: u64| (if i.is_multiple_of(2) { &bed.tree } else { &other }, key(i * 13));
    for i in 0..accounts {
        let (tree, key) = place(i);
        tree.insert(&key, &value(start)).unwrap();
    }
    let (done, place) = (AtomicBool::new(false), &place);
    thread::scope(|scope| {
        let over = Over(&done);
        let movers: Vec<_> = (0..3u64)
            .map(|t| {
                scope.spawn(move || {
                    let mut rng = Rng(9 + t);
                    let mut moved = 0;
                    while moved < 500 {
                        let (a, b, n) = (rng.next(accounts), rng.next(accounts), rng.next(20));
                        if a == b {
                            continue;
                        }
                        let ((tree_a, key_a), (tree_b, key_b)) = (place(a), place(b));
                        let (old_a, old_b) =
                            (tree_a.get(&key_a).unwrap().unwrap(), tree_b.get(&key_b).unwrap().unwrap());
                        let Some(left) = number(&old_a).checked_sub(n) else { continue };
                        let (new_a, new_b) = (value(left), value(number(&old_b) + n));
                        let batch = [
                            BatchOp { tree: tree_a, key: &key_a, action: BatchAction::Require(Some(&old_a)) },
                            BatchOp { tree: tree_b, key: &key_b, action: BatchAction::Require(Some(&old_b)) },
                            BatchOp { tree: tree_a, key: &key_a, action: BatchAction::Insert(&new_a) },
                            BatchOp { tree: tree_b, key: &key_b, action: BatchAction::Insert(&new_b) },
                        ];
                        moved += u64::from(BTree::apply(&batch).unwrap().conflict.is_none());
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            let (mut audits, mut tries) = (0, 0);
            while !done.load(Ordering::Relaxed) || audits == 0 {
                let read: Vec<_> = (0..accounts)
                    .map(|i| {
                        let (tree, key) = place(i);
                        let value = tree.get(&key).unwrap().unwrap();
                        (tree, key, value)
                    })
                    .collect();
                let batch: Vec<_> = read
                    .iter()
                    .map(|(tree, key, value)| BatchOp { tree, key, action: BatchAction::Require(Some(value)) })
                    .collect();
                if BTree::apply(&batch).unwrap().conflict.is_none() {
                    let sum: u64 = read.iter().map(|(_, _, value)| number(value)).sum();
                    assert_eq!(sum, accounts * start, "a batch was seen half done");
                    audits += 1;
                }
                tries += 1;
            }
            assert!(tries > 0);
        });
        movers.into_iter().for_each(|mover| mover.join().unwrap());
        drop(over);
    });
    let sum: u64 = (0..accounts).map(|i| number(&place(i).0.get(&place(i).1).unwrap().unwrap())).sum();
    assert_eq!(sum, accounts * start);
    bed.check(&[&bed.tree, &other]);
    bed.check_redo(&[&bed.tree, &other]);
}

/// As many threads as frames: everything goes on, nothing fails.
#[test]
fn sixty_four_threads_on_sixty_four_frames_make_progress() {
    let bed = Bed::new(4096, 64);
    assert!(bed.pool.capacity_pages() < 70);
    thread::scope(|scope| {
        for t in 0..64u64 {
            let tree = bed.tree.clone();
            scope.spawn(move || {
                let mut rng = Rng(3 + t);
                for _ in 0..60 {
                    let k = key(rng.next(20_000));
                    tree.insert(&k, &[t as u8; 300]).unwrap();
                    tree.get(&key(rng.next(20_000))).unwrap();
                    if rng.next(3) == 0 {
                        tree.remove(&k).unwrap();
                    }
                }
            });
        }
    });
    bed.check(&[&bed.tree]);
    bed.check_redo(&[&bed.tree]);
}

/// Callbacks run under no latch: they may write to the very leaf they were called with.
#[test]
fn callbacks_may_use_the_tree() {
    let bed = Bed::new(4096, 32);
    for i in 0..300 {
        bed.tree.insert(&key(i), b"old").unwrap();
    }
    bed.tree
        .scan(b"", None, |key, _| {
            bed.tree.insert(key, b"new").unwrap();
            bed.tree.get_with(key, |value| assert_eq!(value, b"new")).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    let nested = bed.tree.get_with(&key(5), |outer| {
        bed.tree.get_with(&key(6), |inner| assert_eq!(outer, inner)).unwrap();
        bed.tree.remove(&key(5)).unwrap().existed
    });
    assert_eq!(nested.unwrap(), Some(true));
    assert_eq!(bed.tree.len().unwrap(), 299);
}

/// L4: what a reader passes on was there at one moment. Twelve records of one leaf always change together.
#[test]
fn reads_are_never_torn() {
    let bed = Bed::new(4096, 32);
    let keys: Vec<Vec<u8>> = (0..12).map(key).collect();
    let write = |round: u8| {
        // Lengths change, so that the leaf is compacted and records move.
        let value = vec![round; 100 + usize::from(round) % 140];
        let batch: Vec<_> =
            keys.iter().map(|key| BatchOp { tree: &bed.tree, key, action: BatchAction::Insert(&value) }).collect();
        BTree::apply(&batch).unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&done);
            for round in 0..12_000u32 {
                write(round as u8);
            }
        });
        let mut value = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let mut met: Vec<Vec<u8>> = Vec::new();
            bed.tree
                .scan(b"", None, |_, value| {
                    met.push(value.to_vec());
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(met.len(), keys.len());
            assert!(met.iter().all(|value| *value == met[0]), "a scan saw a leaf in two states");
            for key in &keys {
                assert!(bed.tree.get_into(key, &mut value).unwrap());
                assert_eq!(value.len(), 100 + usize::from(value[0]) % 140);
                assert!(value.iter().all(|byte| *byte == value[0]), "a torn value");
            }
        }
    });
}
