//! Linearizability: the short run of `examples/histories.rs`, and the checker's own tests.

mod support;

use std::time::{Duration, Instant};
use support::histories::{Counts, THREADS, floor, run};
use support::linear::{Left, Op, Saw, Touch, check};
use support::watchdog::Watchdog;

/// The time of the campaign in `cargo test`, if so many stores are enough for it.
const TIME: Duration = Duration::from_secs(6);
const STORES: u64 = 4;

#[test]
fn histories_are_linearizable() {
    let (floor, began) = (floor(), Instant::now());
    let watchdog = Watchdog::new("histories", Duration::from_secs(120));
    let mut counts = Counts::default();
    for store in 0.. {
        if began.elapsed() > TIME && store >= STORES {
            break;
        }
        match run(1, store, 40, floor, &watchdog) {
            Ok(more) => counts.add(&more),
            Err(error) => panic!(
                "VIOLATION, look for it with: cargo run --release --features sim --example histories -- --seed 1 \
                 --store {store}\n{error}"
            ),
        }
    }
    println!("{counts:#?}");
    assert!(counts.overlapping > 100, "too little to mean anything: {counts:?}");
    assert!(counts.pages_allocated > 0 && counts.pages_freed > 0 && counts.evictions > 0, "{counts:?}");
}

// ---- the checker ---------------------------------------------------------------------------------------------------

fn op(thread: usize, began: u64, ended: u64, touches: &[(usize, Saw, Left)]) -> Op {
    let touches = touches.iter().map(|&(key, saw, left)| Touch { key, saw, left }).collect();
    Op { name: "op", thread, began, ended, touches }
}

fn put(thread: usize, began: u64, ended: u64, key: usize, value: u32) -> Op {
    op(thread, began, ended, &[(key, Saw::Any, Left::Now(Some(value)))])
}

fn get(thread: usize, began: u64, ended: u64, key: usize, value: Option<u32>) -> Op {
    op(thread, began, ended, &[(key, Saw::Is(value), Left::Same)])
}

fn is_good(initial: &[Option<u32>], ops: &[Op]) -> bool {
    // The order in which the record lists them says nothing.
    let backwards: Vec<Op> = ops.iter().rev().cloned().collect();
    let verdict = check(initial, ops).is_ok();
    assert_eq!(verdict, check(initial, &backwards).is_ok());
    verdict
}

#[test]
fn overlapping_operations_may_be_in_any_order() {
    assert!(is_good(&[None], &[]));
    assert!(is_good(&[Some(7)], &[get(0, 0, 1, 0, Some(7))]));
    // Two writes overlap; a reader behind them sees either, and all readers the same.
    for last in [1, 2] {
        let ops =
            [put(0, 0, 10, 0, 1), put(1, 1, 9, 0, 2), get(2, 11, 12, 0, Some(last)), get(3, 13, 14, 0, Some(last))];
        assert!(is_good(&[None], &ops));
    }
    // A read beside a write sees either, too.
    for seen in [None, Some(1)] {
        assert!(is_good(&[None], &[put(0, 0, 10, 0, 1), get(1, 1, 2, 0, seen)]));
    }
    // The order of two keys' operations binds nobody: they are objects of their own.
    let ops = [put(0, 0, 10, 0, 1), put(0, 11, 12, 1, 2), get(1, 2, 3, 0, Some(1)), get(1, 4, 5, 1, None)];
    assert!(is_good(&[None, None], &ops));
}

#[test]
fn what_no_order_explains_is_found() {
    // A value that is old, lost, or of nobody.
    assert!(!is_good(&[None], &[put(0, 0, 1, 0, 1), get(1, 2, 3, 0, None)]));
    assert!(!is_good(&[Some(1)], &[get(1, 2, 3, 0, None)]));
    assert!(!is_good(&[None], &[put(0, 0, 1, 0, 1), get(1, 2, 3, 0, Some(9))]));
    // A value from the future: read before its write began.
    assert!(!is_good(&[None], &[get(1, 0, 1, 0, Some(1)), put(0, 2, 3, 0, 1)]));
    // Two readers, one after the other, see a write beside them come and go.
    let ops = [put(0, 0, 10, 0, 1), get(1, 1, 2, 0, Some(1)), get(1, 3, 4, 0, None)];
    assert!(!is_good(&[None], &ops));
    // Two overlapping writes, and two readers who disagree which was last.
    let ops = [put(0, 0, 10, 0, 1), put(1, 1, 9, 0, 2), get(2, 11, 12, 0, Some(1)), get(3, 13, 14, 0, Some(2))];
    assert!(!is_good(&[None], &ops));
}

#[test]
fn answers_of_changes_count() {
    let take = |began, saw| op(1, began, began + 3, &[(0, saw, Left::Now(None))]);
    // Two overlapping takes of one value: one gets it.
    assert!(is_good(&[Some(1)], &[take(0, Saw::Is(Some(1))), take(1, Saw::Is(None))]));
    assert!(!is_good(&[Some(1)], &[take(0, Saw::Is(Some(1))), take(1, Saw::Is(Some(1)))]));
    assert!(is_good(&[Some(1)], &[take(0, Saw::There), take(1, Saw::Absent)]));
    assert!(!is_good(&[Some(1)], &[take(0, Saw::Absent), take(1, Saw::Absent)]));
    // Two compare-and-swaps from the same value: a lost update.
    let swap = |thread, to| op(thread, thread as u64, 10, &[(0, Saw::Is(Some(1)), Left::Now(Some(to)))]);
    assert!(is_good(&[Some(1)], &[swap(0, 2)]));
    assert!(!is_good(&[Some(1)], &[swap(0, 2), swap(1, 3)]));
    // A refusal, when what was expected was there throughout.
    assert!(!is_good(&[Some(1)], &[op(0, 0, 1, &[(0, Saw::IsNot(Some(1)), Left::Same)])]));
    assert!(is_good(&[Some(1)], &[op(0, 0, 4, &[(0, Saw::IsNot(Some(1)), Left::Same)]), put(1, 1, 2, 0, 3)]));
}

#[test]
fn batches_happen_at_one_moment() {
    let both = |thread, began, ended, value| {
        let now = Left::Now(Some(value));
        op(thread, began, ended, &[(0, Saw::Any, now), (2, Saw::Any, now)])
    };
    let initial = [Some(1), Some(5), Some(1)];
    // One reader, in the middle of a batch, sees one key of it changed: then it sees the other changed as well.
    let seen = |a, b| [both(0, 0, 10, 2), get(1, 1, 2, 0, Some(a)), get(1, 3, 4, 2, Some(b))];
    assert!(is_good(&initial, &seen(1, 1)));
    assert!(is_good(&initial, &seen(1, 2)));
    assert!(is_good(&initial, &seen(2, 2)));
    assert!(!is_good(&initial, &seen(2, 1)));
    // Key by key each of these is fine; only together they are not.
    let half: Vec<Op> = seen(2, 1)
        .into_iter()
        .map(|mut op| {
            op.touches.truncate(1);
            op
        })
        .collect();
    assert!(is_good(&initial, &half));
    // Two batches in one order for one key and in the other for the other.
    let ops = [both(0, 0, 10, 2), both(1, 1, 9, 3), get(2, 11, 12, 0, Some(2)), get(2, 13, 14, 2, Some(3))];
    assert!(!is_good(&initial, &ops));
    // Write skew: both batches require what the other one changes.
    let skew = |thread, at: usize, other: usize| {
        op(thread, thread as u64, 10, &[(at, Saw::Is(Some(1)), Left::Same), (other, Saw::Any, Left::Now(Some(2)))])
    };
    assert!(is_good(&initial, &[skew(0, 0, 2)]));
    assert!(!is_good(&initial, &[skew(0, 0, 2), skew(1, 2, 0)]));
}

/// Many more operations than a search without memory would get through.
#[test]
fn long_histories_are_checked_in_time() {
    let mut ops = Vec::new();
    for round in 0..300u64 {
        let at = round * 10;
        let value = |thread: u64| (round * 4 + thread) as u32 + 1;
        (0..THREADS as u64).for_each(|t| ops.push(put(t as usize, at + t, at + 8 + t % 2, 0, value(t))));
    }
    let last = get(0, 5000, 5001, 0, Some(299 * 4 + 2));
    assert!(check(&[None], &[&ops[..], std::slice::from_ref(&last)].concat()).is_ok());
    let wrong = get(0, 5000, 5001, 0, Some(1));
    assert!(check(&[None], &[&ops[..], &[wrong]].concat()).is_err());
}
