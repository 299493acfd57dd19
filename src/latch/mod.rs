//! `HybridLatch`: one latch, three ways to hold it.
//!
//! | mode | who may be there at the same time | cost without contention |
//! |---|---|---|
//! | optimistic | everybody; the reader finds out afterwards whether a writer was there | two loads and a fence, nothing written |
//! | shared | optimistic and shared | two atomic read-modify-writes |
//! | exclusive | optimistic, who will fail their validation | two read-modify-writes and two stores |
//!
//! A 64-bit **version** stands beside parking_lot's raw reader-writer lock. It is odd exactly while the latch is held
//! exclusively (L2) and never goes backwards (L1). An optimistic reader remembers the even version it started from, reads,
//! and validates that the version is still the same. This is the hybrid latch of LeanStore (Böttcher, Leis, Giceva,
//! Neumann: "Scalable and Robust Latches for Database Systems", DaMoN 2020), a seqlock with a way to wait.
//!
//! **Orderings.** The writer, which owns the raw lock: version odd (Relaxed), `fence(Release)`, data stores, version even
//! (Release). The reader: version (Acquire), data loads, `fence(Acquire)`, version again (Relaxed).
//! - The Acquire load pairs with the Release store of the even version: data written before is seen.
//! - The two fences pair through the data: if a data load saw a store of a writer, then the reader's fence synchronises with
//!   the writer's, so the second load of the version sees at least the odd value and the validation fails. An Acquire on
//!   the second load alone would not do: it does not order the data loads *before* it.
//!
//! A validated read may act on what it saw (L4). Data that is read optimistically must be read with atomic or otherwise
//! tear-tolerant loads; the latch guards no data of its own.
//!
//! ```
//! use pagebox::latch::HybridLatch;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! let (latch, a, b) = (HybridLatch::new(), AtomicU64::new(1), AtomicU64::new(1));
//! {
//!     let _writing = latch.exclusive();
//!     a.store(2, Relaxed);
//!     b.store(2, Relaxed);
//! }
//! let pair = latch.read(3, || (a.load(Relaxed), b.load(Relaxed)));
//! assert_eq!(pair, (2, 2));
//! ```

#![allow(unsafe_code)]

mod guards;
#[cfg(all(test, not(loom)))]
mod tests;

pub use guards::{ExclusiveGuard, OptimisticGuard, SharedGuard};

#[cfg(not(any(loom, shuttle)))]
use crate::sync::RawLatchOps;
use crate::sync::{AtomicU64, Ordering, RawLatch, SPINS, fence, spin_loop};
use core::fmt;

/// What was read optimistically does not count: start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart;

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a writer was there meanwhile: start again")
    }
}

impl std::error::Error for Restart {}

/// A latch with optimistic, shared and exclusive modes. It guards no data of its own. 16 bytes.
pub struct HybridLatch {
    /// Odd exactly while held exclusively (L2); never goes backwards (L1).
    pub(crate) version: AtomicU64,
    pub(crate) raw: RawLatch,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<HybridLatch>() <= 24);

impl HybridLatch {
    /// Whether a new latch is nothing but zeros: the version is, this asks the raw lock.
    #[cfg(all(feature = "pool", not(any(loom, shuttle))))]
    pub(crate) const NEW_IS_ZEROS: bool = {
        // SAFETY: a raw lock is one word without padding, or this does not compile; it is only looked at (U1).
        let word = unsafe { core::mem::transmute::<RawLatch, usize>(RawLatch::INIT) };
        word == 0
    };

    /// A free latch at version 0.
    #[must_use]
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> HybridLatch {
        HybridLatch { version: AtomicU64::new(0), raw: RawLatch::INIT }
    }

    /// A free latch at version 0.
    #[must_use]
    #[cfg(any(loom, shuttle))]
    pub fn new() -> HybridLatch {
        HybridLatch { version: AtomicU64::new(0), raw: RawLatch::new() }
    }

    /// Starts an optimistic read. If a writer is there, spins for a bounded time, then parks until it is gone.
    #[inline(always)]
    pub fn optimistic(&self) -> OptimisticGuard<'_> {
        match self.try_optimistic() {
            Ok(guard) => guard,
            Err(Restart) => self.optimistic_slow(),
        }
    }

    /// Starts an optimistic read unless a writer is there.
    ///
    /// # Errors
    /// [`Restart`] while the latch is held exclusively.
    #[inline(always)]
    pub fn try_optimistic(&self) -> Result<OptimisticGuard<'_>, Restart> {
        // Acquire: pairs with the Release store of the even version in `ExclusiveGuard::publish`.
        let version = self.version.load(Ordering::Acquire);
        if version & 1 == 1 {
            return Err(Restart);
        }
        Ok(OptimisticGuard { latch: self, version })
    }

    /// The optimistic guard that began at `version`, as [`OptimisticGuard::version`] gave it: for whoever keeps the number
    /// and finds the latch otherwise.
    #[inline(always)]
    #[allow(dead_code)]
    pub(crate) fn resume(&self, version: u64) -> OptimisticGuard<'_> {
        debug_assert!(version.is_multiple_of(2), "L2: no guard begins while a writer is there");
        OptimisticGuard { latch: self, version }
    }

    /// Takes the latch shared; spins, then parks, while a writer is there.
    #[inline]
    pub fn shared(&self) -> SharedGuard<'_> {
        SharedGuard { latch: self, held: Some(self.raw.lock_shared()) }
    }

    /// Takes the latch shared, or not at all if that would mean to wait.
    #[inline]
    pub fn try_shared(&self) -> Option<SharedGuard<'_>> {
        Some(SharedGuard { latch: self, held: Some(self.raw.try_lock_shared()?) })
    }

    /// Takes the latch exclusively; spins, then parks, while anybody holds it.
    #[inline]
    pub fn exclusive(&self) -> ExclusiveGuard<'_> {
        let held = self.raw.lock_exclusive();
        self.enter(held)
    }

    /// Takes the latch exclusively, or not at all if that would mean to wait.
    #[inline]
    pub fn try_exclusive(&self) -> Option<ExclusiveGuard<'_>> {
        let held = self.raw.try_lock_exclusive()?;
        Some(self.enter(held))
    }

    /// Runs `f` optimistically, at most `attempts` times, and if a writer was there each time, once more under the shared
    /// latch. So `f` may run several times, and its result counts once: it must not act on what it sees.
    pub fn read<R>(&self, attempts: u32, mut f: impl FnMut() -> R) -> R {
        for _ in 0..attempts {
            let guard = self.optimistic();
            let result = f();
            if guard.validate().is_ok() {
                return result;
            }
        }
        let _shared = self.shared();
        f()
    }

    /// The version at this moment: odd while held exclusively. Exact only for who holds the latch.
    #[must_use]
    #[inline(always)]
    pub fn version(&self) -> u64 {
        // Relaxed: under the shared or exclusive latch the raw lock orders it; otherwise it is a hint.
        self.version.load(Ordering::Relaxed)
    }

    /// From raw lock to exclusive guard: the version becomes odd before any data is written (L2).
    #[inline(always)]
    pub(crate) fn enter(&self, held: guards::HeldExclusive) -> ExclusiveGuard<'_> {
        let version = self.version.load(Ordering::Relaxed);
        // Relaxed: nobody else writes the version while the raw lock is held; the fence orders it before the data.
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Release: pairs with the Acquire fence in `OptimisticGuard::validate`.
        fence(Ordering::Release);
        ExclusiveGuard { latch: self, held: Some(held) }
    }

    #[cold]
    fn optimistic_slow(&self) -> OptimisticGuard<'_> {
        loop {
            for _ in 0..SPINS {
                if let Ok(guard) = self.try_optimistic() {
                    return guard;
                }
                spin_loop();
            }
            // Whoever waits for the shared latch sleeps until the writer is gone.
            drop(self.shared());
        }
    }
}

impl Default for HybridLatch {
    fn default() -> HybridLatch {
        HybridLatch::new()
    }
}

impl fmt::Debug for HybridLatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridLatch").field("version", &self.version()).finish()
    }
}
