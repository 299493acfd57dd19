//! The modes one by one; their interplay is enumerated in `tests/loom_latch.rs`.

use super::*;

#[test]
fn the_version_counts_exclusive_holds() {
    let latch = HybridLatch::new();
    assert_eq!(latch.version(), 0);
    let guard = latch.exclusive();
    assert_eq!(latch.version(), 1);
    assert!(latch.try_optimistic().is_err());
    assert!(latch.try_shared().is_none());
    assert!(latch.try_exclusive().is_none());
    drop(guard);
    assert_eq!(latch.version(), 2);
    drop(latch.shared());
    assert_eq!(latch.version(), 2);
}

#[test]
fn readers_share_and_keep_writers_out() {
    let latch = HybridLatch::new();
    let a = latch.shared();
    let b = latch.try_shared().unwrap();
    assert!(latch.try_exclusive().is_none());
    assert!(latch.optimistic().validate().is_ok());
    drop(a);
    assert!(b.try_upgrade().is_ok());
}

#[test]
fn upgrades_fail_after_a_writer() {
    let latch = HybridLatch::new();
    let old = latch.optimistic();
    drop(latch.exclusive());
    assert_eq!(old.validate(), Err(Restart));
    assert!(old.try_upgrade().is_err());
    assert!(old.try_upgrade_shared().is_err());
    assert_eq!(latch.version(), 2, "a failed upgrade leaves no trace");
    let new = latch.optimistic();
    drop(new.try_upgrade_shared().unwrap());
    let exclusive = new.try_upgrade().unwrap();
    let after = exclusive.release();
    assert!(after.validate().is_ok());
    assert!(latch.try_exclusive().is_some());
}

#[test]
fn a_downgraded_writer_shares_with_readers_only() {
    let latch = HybridLatch::new();
    let exclusive = latch.exclusive();
    assert_eq!((exclusive.version(), exclusive.version_at_unlock()), (1, 2));
    let shared = exclusive.downgrade();
    assert_eq!(shared.version(), 2);
    assert!(latch.try_exclusive().is_none());
    assert!(latch.try_shared().is_some());
    assert!(latch.optimistic().validate().is_ok());
    drop(shared);
    assert!(latch.try_exclusive().is_some());
}

#[test]
fn an_unwinding_writer_leaves_an_even_version() {
    let latch = HybridLatch::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = latch.exclusive();
        panic!("in the middle");
    }));
    assert!(caught.is_err());
    assert_eq!(latch.version(), 2);
    assert!(latch.try_exclusive().is_some());
}

#[test]
fn a_reader_that_always_meets_writers_falls_back_to_the_shared_latch() {
    let latch = HybridLatch::new();
    let mut runs = 0;
    let result = latch.read(3, || {
        runs += 1;
        if runs <= 3 {
            drop(latch.exclusive());
        }
        runs
    });
    assert_eq!(result, 4);
}

#[test]
fn a_waiting_optimistic_reader_wakes_when_the_writer_leaves() {
    let latch = HybridLatch::new();
    std::thread::scope(|scope| {
        let guard = latch.exclusive();
        let reader = scope.spawn(|| latch.optimistic().version());
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(guard);
        assert_eq!(reader.join().unwrap(), 2);
    });
}

#[test]
fn pairs_are_never_torn_under_load() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let (latch, a, b) = (HybridLatch::new(), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let _guard = latch.exclusive();
                    a.store(a.load(Relaxed) + 1, Relaxed);
                    b.store(b.load(Relaxed) + 1, Relaxed);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let (x, y) = latch.read(10, || (a.load(Relaxed), b.load(Relaxed)));
                    assert_eq!(x, y);
                }
            });
        }
    });
    assert_eq!(a.load(Relaxed), 40_000);
}
