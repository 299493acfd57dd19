//! The only import of atomics, locks and threads: std and parking_lot, or loom or shuttle under their cfg.
//!
//! Every other module takes its primitives from here, so that the same code runs under a model checker. A checker cannot
//! see inside parking_lot: where the latch needs a raw reader-writer lock it gets [`RawLatch`], which is parking_lot's in a
//! build and a small lock of checked atomics in a model. Under loom only the `latch` and `swip` features build.

#![allow(unused_imports)]

#[cfg(not(any(loom, shuttle)))]
mod real {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::thread;

    #[cfg(any(feature = "latch", feature = "wal"))]
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

    /// How often a waiter looks again before it parks: some hundred nanoseconds, longer than a short change of a page.
    pub(crate) const SPINS: u32 = 100;
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use loom::thread;

    /// A model explores every interleaving: looking twice shows it nothing new.
    pub(crate) const SPINS: u32 = 1;
}

#[cfg(all(shuttle, not(loom)))]
mod real {
    pub(crate) use shuttle::hint::spin_loop;
    pub(crate) use shuttle::sync::Arc;
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use shuttle::thread;

    #[cfg(any(feature = "latch", feature = "wal"))]
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

    /// See the real one.
    pub(crate) const SPINS: u32 = 1;
}

pub(crate) use real::*;

/// For what is locked outside of any checked protocol: process-wide tables, and the simulated disk, which builds without
/// parking_lot.
pub(crate) use std::sync::Mutex as StdMutex;

#[cfg(all(feature = "latch", not(any(loom, shuttle))))]
pub(crate) use parking_lot::RawRwLock as RawLatch;

#[cfg(all(feature = "latch", not(any(loom, shuttle))))]
pub(crate) use parking_lot::lock_api::{RawRwLock as RawLatchOps, RawRwLockDowngrade as RawLatchDowngrade};

#[cfg(all(feature = "latch", any(loom, shuttle)))]
pub(crate) use model::{RawLatch, RawLatchOps};

/// The stand-in for parking_lot's raw lock in a model: the same operations and orderings on the state word; whoever has to
/// wait does so on a condition variable, since a checker has no use for a lock that spins.
#[cfg(all(feature = "latch", any(loom, shuttle)))]
mod model {
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
}
