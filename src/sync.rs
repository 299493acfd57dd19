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
    pub(crate) use super::model_atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence};
    pub(crate) use shuttle::hint::spin_loop;
    pub(crate) use shuttle::thread;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::Ordering;

    /// See the real one.
    pub(crate) const SPINS: u32 = 1;

    /// A moment at which the checker may let another thread go on.
    pub(crate) fn point() {
        // Shuttle's sleep takes no time and, unlike its `yield_now`, does not ask for another thread to be next.
        thread::sleep(std::time::Duration::ZERO);
    }
}

/// Where bytes of a page are reached that no atomic guards: in a model, the checker may let another thread go on there.
#[cfg(not(all(shuttle, not(loom))))]
#[inline(always)]
pub(crate) fn point() {}

pub(crate) use real::*;

#[cfg(any(loom, shuttle))]
pub(crate) use model_lock::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// For what is locked outside of any checked protocol: process-wide tables, and the simulated disk, which builds without
/// parking_lot.
pub(crate) use std::sync::Mutex as StdMutex;

#[cfg(all(feature = "latch", not(any(loom, shuttle))))]
pub(crate) use parking_lot::RawRwLock as RawLatch;

#[cfg(all(feature = "latch", not(any(loom, shuttle))))]
pub(crate) use parking_lot::lock_api::{RawRwLock as RawLatchOps, RawRwLockDowngrade as RawLatchDowngrade};

#[cfg(all(feature = "latch", any(loom, shuttle)))]
pub(crate) use model_latch::{RawLatch, RawLatchOps};

#[cfg(all(feature = "latch", any(loom, shuttle)))]
mod model_latch;

#[cfg(all(shuttle, not(loom)))]
mod model_atomic;

#[cfg(any(loom, shuttle))]
mod model_lock;

#[cfg(all(test, loom))]
mod model_tests;
