//! The stand-ins behave as what they stand for: otherwise a model proves nothing about the real thing.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --features latch,swip --lib sync`

use super::*;

/// A lost wake-up would be a deadlock, which loom reports.
#[test]
fn a_waiter_is_woken_and_sees_what_was_done() {
    loom::model(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            *other.0.lock() = 7;
            other.1.notify_one();
        });
        let mut guard = shared.0.lock();
        while *guard == 0 {
            assert!(!shared.1.wait_for(&mut guard, std::time::Duration::ZERO).timed_out());
        }
        assert_eq!(*guard, 7);
        drop(guard);
        thread.join().unwrap();
    });
}

#[test]
fn readers_and_writers_of_a_lock_exclude_each_other() {
    loom::model(|| {
        let shared = Arc::new(RwLock::new((0, 0)));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            let mut pair = other.write();
            pair.0 += 1;
            pair.1 += 1;
        });
        let pair = shared.read();
        assert_eq!(pair.0, pair.1);
        drop(pair);
        thread.join().unwrap();
    });
}

/// The raw latch alone orders plain data: loom's cell panics on two accesses of which neither happens before the other.
#[cfg(feature = "latch")]
#[test]
#[allow(unsafe_code)]
fn the_raw_latch_orders_what_it_guards() {
    loom::model(|| {
        let shared = Arc::new((RawLatch::new(), loom::cell::UnsafeCell::new(0)));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            let held = other.0.lock_exclusive();
            // SAFETY: held exclusively (L3), which is what loom checks here.
            other.1.with_mut(|data| unsafe { *data += 1 });
            // SAFETY: `held` is the proof of this very hold (L3); the data is not touched afterwards.
            let held = unsafe { other.0.downgrade(held) };
            // SAFETY: `held` shares the lock (L3), so nobody writes.
            let seen = other.1.with(|data| unsafe { *data });
            // SAFETY: `held` is the proof of this very hold (L3).
            unsafe { other.0.unlock_shared(held) };
            seen
        });
        let held = shared.0.lock_shared();
        // SAFETY: `held` shares the lock (L3), so nobody writes.
        let before = shared.1.with(|data| unsafe { *data });
        // SAFETY: `held` is the proof of this very hold (L3).
        unsafe { shared.0.unlock_shared(held) };
        if let Some(held) = shared.0.try_lock_exclusive() {
            // SAFETY: held exclusively (L3).
            shared.1.with_mut(|data| unsafe { *data += 10 });
            // SAFETY: `held` is the proof of this very hold (L3).
            unsafe { shared.0.unlock_exclusive(held) };
        }
        let seen = thread.join().unwrap();
        assert!(before == 0 || before == 1);
        assert!(seen == 1 || seen == 11);
    });
}
