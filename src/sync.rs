//! The only import of atomics, locks and threads: std and parking_lot, or loom or shuttle under their cfg.
//!
//! Every other module takes its primitives from here, so that the same code runs under a model checker.

#![allow(unused_imports)]

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(any(feature = "latch", feature = "wal"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// For what is locked outside of any checked protocol: process-wide tables, and the simulated disk, which builds without
/// parking_lot.
pub(crate) use std::sync::Mutex as StdMutex;
