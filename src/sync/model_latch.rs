//! The stand-in for parking_lot's raw lock in a model: the same operations and orderings on the state word; whoever has to
//! wait does so on a condition variable, since a checker has no use for a lock that spins.

use super::{AtomicUsize, Ordering};
use core::marker::PhantomData;
#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
#[cfg(all(shuttle, not(loom)))]
use shuttle::sync::{Condvar, Mutex};

/// Proof of a held lock; not `Send`, as parking_lot's.
pub(crate) struct Held(PhantomData<*mut ()>);

const WRITER: usize = usize::MAX;

pub(crate) struct RawLatch {
    /// The number of readers, or `WRITER`.
    state: AtomicUsize,
    waiting: Mutex<()>,
    free: Condvar,
}

/// The part of lock_api's trait that the latch uses.
pub(crate) trait RawLatchOps {
    type SharedGuard;
    type ExclusiveGuard;
}

impl RawLatchOps for RawLatch {
    type SharedGuard = Held;
    type ExclusiveGuard = Held;
}

impl RawLatch {
    pub(crate) fn new() -> RawLatch {
        RawLatch { state: AtomicUsize::new(0), waiting: Mutex::new(()), free: Condvar::new() }
    }

    /// Tries, then waits for an unlock between tries.
    fn wait_for(&self, try_lock: impl Fn() -> Option<Held>) -> Held {
        if let Some(held) = try_lock() {
            return held;
        }
        let mut turn = self.waiting.lock().unwrap();
        loop {
            if let Some(held) = try_lock() {
                return held;
            }
            turn = self.free.wait(turn).unwrap();
        }
    }

    fn wake(&self) {
        drop(self.waiting.lock().unwrap());
        self.free.notify_all();
    }

    pub(crate) fn lock_shared(&self) -> Held {
        self.wait_for(|| self.try_lock_shared())
    }

    pub(crate) fn try_lock_shared(&self) -> Option<Held> {
        let mut seen = self.state.load(Ordering::Relaxed);
        while seen != WRITER {
            // Acquire: pairs with the Release in `unlock_exclusive`.
            match self.state.compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Held(PhantomData)),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// The caller passes the proof that it holds the lock shared.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn unlock_shared(&self, _held: Held) {
        // Release: pairs with the Acquire of the next exclusive lock.
        self.state.fetch_sub(1, Ordering::Release);
        self.wake();
    }

    pub(crate) fn lock_exclusive(&self) -> Held {
        self.wait_for(|| self.try_lock_exclusive())
    }

    pub(crate) fn try_lock_exclusive(&self) -> Option<Held> {
        // Acquire: pairs with the Release of the unlocks.
        let won = self.state.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed);
        won.ok().map(|_| Held(PhantomData))
    }

    /// The caller passes the proof that it holds the lock exclusively.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn unlock_exclusive(&self, _held: Held) {
        // Release: pairs with the Acquire of the next lock.
        self.state.store(0, Ordering::Release);
        self.wake();
    }

    /// The caller passes the proof that it holds the lock exclusively, and gets the proof that it shares it.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn downgrade(&self, held: Held) -> Held {
        // Release: pairs with the Acquire of the next lock.
        self.state.store(1, Ordering::Release);
        self.wake();
        held
    }
}
