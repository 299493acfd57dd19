//! What it means to hold a latch, and the ways from one mode to another.

use super::{HybridLatch, Restart};
#[cfg(not(any(loom, shuttle)))]
use crate::sync::RawLatchDowngrade;
use crate::sync::{Ordering, RawLatch, RawLatchOps, fence};

/// The raw lock's own proof of being held; not `Send`, and so are the guards.
pub(crate) type HeldShared = <RawLatch as RawLatchOps>::SharedGuard;
pub(crate) type HeldExclusive = <RawLatch as RawLatchOps>::ExclusiveGuard;

/// An optimistic read under way: nothing is held, and nothing counts before [`OptimisticGuard::validate`].
#[derive(Clone, Copy, Debug)]
#[must_use = "what was read counts only once the guard was validated"]
pub struct OptimisticGuard<'a> {
    pub(super) latch: &'a HybridLatch,
    pub(super) version: u64,
}

/// The latch held shared. Not `Send`: it is released by the thread that took it.
///
/// ```compile_fail,E0277
/// let latch = pagebox::latch::HybridLatch::new();
/// let guard = latch.shared();
/// std::thread::scope(|s| { s.spawn(move || drop(guard)); });
/// ```
#[must_use = "the latch is released when the guard is dropped"]
pub struct SharedGuard<'a> {
    pub(super) latch: &'a HybridLatch,
    /// `None` only after the guard was turned into another.
    pub(super) held: Option<HeldShared>,
}

/// The latch held exclusively. Not `Send`: it is released by the thread that took it.
///
/// ```compile_fail,E0277
/// let latch = pagebox::latch::HybridLatch::new();
/// let guard = latch.exclusive();
/// std::thread::scope(|s| { s.spawn(move || drop(guard)); });
/// ```
#[must_use = "the latch is released when the guard is dropped"]
pub struct ExclusiveGuard<'a> {
    pub(super) latch: &'a HybridLatch,
    /// `None` only after the guard was turned into another.
    pub(super) held: Option<HeldExclusive>,
}

impl<'a> OptimisticGuard<'a> {
    /// Whether no writer was there since the guard was made: what was read in between counts (L4).
    ///
    /// # Errors
    /// [`Restart`] if one was.
    #[inline(always)]
    pub fn validate(&self) -> Result<(), Restart> {
        // Acquire: pairs with the Release fence in `HybridLatch::enter`; it orders the data loads before the load below.
        fence(Ordering::Acquire);
        if self.latch.version() == self.version { Ok(()) } else { Err(Restart) }
    }

    /// The even version the read started from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Takes the latch exclusively, without waiting, if no writer was there since the guard was made.
    ///
    /// # Errors
    /// [`Restart`] if one was, or if anybody holds the latch.
    #[inline]
    pub fn try_upgrade(self) -> Result<ExclusiveGuard<'a>, Restart> {
        // No fence, unlike in `validate`: a writer that the data loads could have seen either released the raw lock before
        // it was taken here, and then its version is seen by this acquire, or takes it after us, and then its stores
        // happen after our loads. The same holds for `try_upgrade_shared`.
        let held = self.latch.raw.try_lock_exclusive().ok_or(Restart)?;
        if self.latch.version() != self.version {
            // SAFETY: `held` proves that this thread holds the raw lock exclusively; the version stays even (L2).
            unsafe { self.latch.raw.unlock_exclusive(held) };
            return Err(Restart);
        }
        Ok(self.latch.enter(held))
    }

    /// Takes the latch shared, without waiting, if no writer was there since the guard was made.
    ///
    /// # Errors
    /// [`Restart`] if one was, or if one is there.
    #[inline]
    pub fn try_upgrade_shared(self) -> Result<SharedGuard<'a>, Restart> {
        let guard = self.latch.try_shared().ok_or(Restart)?;
        if guard.version() != self.version {
            return Err(Restart);
        }
        Ok(guard)
    }
}

impl<'a> SharedGuard<'a> {
    /// The version, which stays the same (and even) while the guard lives.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u64 {
        self.latch.version()
    }

    /// Turns the shared hold into an exclusive one, without waiting; for a moment nothing is held, and if a writer came in
    /// then, or other readers hold the latch, it is given up altogether.
    ///
    /// # Errors
    /// [`Restart`]; nothing is held any more then.
    pub fn try_upgrade(self) -> Result<ExclusiveGuard<'a>, Restart> {
        let optimistic = OptimisticGuard { latch: self.latch, version: self.version() };
        drop(self);
        optimistic.try_upgrade()
    }
}

impl<'a> ExclusiveGuard<'a> {
    /// The odd version while the guard lives.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.latch.version()
    }

    /// The even version that the latch will have once this guard is gone, until the next writer. What compares equal to it
    /// later did not change since.
    #[must_use]
    #[inline]
    pub fn version_at_unlock(&self) -> u64 {
        self.version().wrapping_add(1)
    }

    /// Turns the exclusive hold into a shared one; no writer comes in between. Never waits.
    #[inline]
    pub fn downgrade(mut self) -> SharedGuard<'a> {
        let latch = self.latch;
        let held = self.held.take().map(|held| {
            self.publish();
            // SAFETY: `held` proves that this thread holds the raw lock exclusively; the version is even already, as it
            // has to be once others may share the latch (L2).
            unsafe { latch.raw.downgrade(held) }
        });
        SharedGuard { latch, held }
    }

    /// The version becomes even: what was written counts from here on. Before the raw lock is released.
    #[inline(always)]
    fn publish(&self) {
        // Release: pairs with the Acquire load in `HybridLatch::try_optimistic`; the data is written before (L1, L2).
        self.latch.version.store(self.version_at_unlock(), Ordering::Release);
    }

    /// Gives the exclusive hold up and leaves an optimistic guard behind that is valid until the next writer.
    pub fn release(self) -> OptimisticGuard<'a> {
        let latch = self.latch;
        let version = self.version_at_unlock();
        drop(self);
        OptimisticGuard { latch, version }
    }
}

impl Drop for SharedGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // SAFETY: `held` proves that this thread holds the raw lock shared (the guard is not `Send`) (L3).
            unsafe { self.latch.raw.unlock_shared(held) };
        }
    }
}

impl Drop for ExclusiveGuard<'_> {
    /// Also on unwinding: the version becomes even again, so that nobody waits for ever.
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.publish();
            // SAFETY: `held` proves that this thread holds the raw lock exclusively (the guard is not `Send`) (L3).
            unsafe { self.latch.raw.unlock_exclusive(held) };
        }
    }
}

impl std::fmt::Debug for SharedGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedGuard").field("version", &self.version()).finish()
    }
}

impl std::fmt::Debug for ExclusiveGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExclusiveGuard").field("version", &self.version()).finish()
    }
}
