//! In steady state a read into the caller's buffer and an update allocate nothing. A binary of its own: the allocator counts.

#![cfg(feature = "btree")]
#![allow(unsafe_code)]

use pagebox::{Durability, Store, Tree};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread: what the store's own threads do is another matter.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending counts no more.
    let _ = COUNT.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocated during `f`.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

const KEYS: u32 = 10_000;

fn key(n: u32) -> [u8; 24] {
    let mut key = [b'k'; 24];
    key[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_be_bytes());
    key
}

/// Every key once, in an order that jumps between leaves.
fn all(mut f: impl FnMut(u32)) {
    (0..KEYS).for_each(|n| f(n.wrapping_mul(7919) % KEYS));
}

fn store() -> (tempfile::TempDir, Store, Tree) {
    let dir = tempfile::tempdir().expect("a directory");
    // The log has room for all of it: a new segment is another matter.
    let options = Store::options().memory(32 << 20).durability(Durability::Manual);
    let options = options.log_segment_bytes(16 << 20).max_log_bytes(128 << 20);
    let store = options.open(dir.path()).expect("a store");
    let tree = store.tree("t").expect("a tree");
    let mut value = [0; 150];
    all(|n| {
        value[..4].copy_from_slice(&n.to_le_bytes());
        assert!(tree.insert(key(n), value).expect("insert"));
    });
    (dir, store, tree)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| ()), 0);
    assert!(allocations(|| drop(std::hint::black_box(vec![1, 2, 3]))) >= 1);
    let mut text = std::hint::black_box(String::from("a"));
    assert!(allocations(|| text.push_str(std::hint::black_box(&"b".repeat(100)))) >= 2);
}

#[test]
fn reads_and_updates_allocate_nothing() {
    let (_dir, _store, tree) = store();
    let mut out = Vec::with_capacity(256);
    let read = |out: &mut Vec<u8>| {
        all(|n| {
            assert!(tree.get_into(key(n), out).expect("get_into"));
            assert_eq!(out.len(), 150);
        });
        assert!(!tree.get_into(b"no such key", out).expect("get_into"));
    };
    read(&mut out);
    assert_eq!(allocations(|| read(&mut out)), 0, "get_into");
    assert_eq!(allocations(|| all(|n| assert!(tree.contains_key(key(n)).expect("contains_key")))), 0, "contains_key");
    let with = || all(|n| assert_eq!(tree.get_with(key(n), <[u8]>::len).expect("get_with"), Some(150)));
    with();
    assert_eq!(allocations(with), 0, "get_with");
    let mut value = [1; 150];
    let mut update = |by: u8| {
        value[0] = by;
        all(|n| assert!(!tree.insert(key(n), value).expect("insert")));
    };
    update(1);
    // The first time in its life that a thread waits for a lock, the locks' library makes a place for it to sleep: on a busy
    // machine that may be during one of these, but not of each.
    let counts = [2, 3, 4].map(|by| allocations(|| update(by)));
    assert!(counts.contains(&0) && counts.iter().sum::<u64>() <= 4, "insert of an existing size: {counts:?}");
}

/// Reads of other threads, and their log flushes, share nothing that has to grow.
#[test]
fn several_threads_allocate_nothing_either() {
    let (_dir, _store, tree) = store();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let tree = &tree;
            scope.spawn(move || {
                let mut out = Vec::with_capacity(256);
                let mut round = |by: u8| {
                    all(|n| {
                        if n % 4 == thread {
                            assert!(!tree.insert(key(n), [by; 150]).expect("insert"));
                        } else {
                            assert!(tree.get_into(key(n), &mut out).expect("get_into"));
                        }
                    });
                };
                round(1);
                // A thread's first wait for a lock sets up what it waits with; that may come late.
                let counts: Vec<u64> = (2..8).map(|by| allocations(|| round(by))).collect();
                assert!(counts.contains(&0), "thread {thread}: {counts:?}");
            });
        }
    });
}
