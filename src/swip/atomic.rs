//! The reference where it lives: one atomic word, changed by compare-exchange only.

use super::{Swip, SwipState};
use crate::sync::{AtomicU64, Ordering};
use crate::types::FrameId;

/// A [`Swip`] that several threads share. 8 bytes, aligned to 8.
///
/// No transition changes the page id (S1): only [`AtomicSwip::store`] does, for the owner of the reference.
#[repr(transparent)]
pub struct AtomicSwip(AtomicU64);

impl AtomicSwip {
    /// A shared reference.
    #[must_use]
    #[cfg(not(loom))]
    pub const fn new(swip: Swip) -> AtomicSwip {
        AtomicSwip(AtomicU64::new(swip.to_bits()))
    }

    /// A shared reference.
    #[must_use]
    #[cfg(loom)]
    pub fn new(swip: Swip) -> AtomicSwip {
        AtomicSwip(AtomicU64::new(swip.to_bits()))
    }

    /// The reference that lies at `word`, in memory of a page.
    ///
    /// # Safety
    /// `word` is aligned to 8 and valid for `'a`; while the result lives, nobody accesses the word but atomically, or
    /// optimistically by an aligned load whose result is validated (L3, U1).
    #[must_use]
    #[cfg(not(loom))]
    pub unsafe fn from_ptr<'a>(word: *mut u64) -> &'a AtomicSwip {
        // SAFETY: `AtomicSwip` is a transparent `AtomicU64`, whose size and alignment are those of an aligned u64; the rest
        // is what the caller promises (L3, U1).
        unsafe { &*word.cast::<AtomicSwip>() }
    }

    /// The reference now.
    #[must_use]
    #[inline]
    pub fn load(&self) -> Swip {
        // Acquire: pairs with the Release of `store` and of the transitions, so that a frame found through the hint was
        // filled before.
        Swip::from_bits(self.0.load(Ordering::Acquire))
    }

    /// Makes it another reference: for its owner, who lets nobody else write meanwhile (S1).
    pub fn store(&self, swip: Swip) {
        // Release: pairs with the Acquire of `load`.
        self.0.store(swip.to_bits(), Ordering::Release);
    }

    /// Where `seen` was found: replaces the hint if the word is still `seen`. Whether it was.
    pub fn repair(&self, seen: Swip, frame: FrameId) -> bool {
        self.exchange(seen, seen.found_in(frame))
    }

    /// Hot to cool: whether it was hot. Keeps page and hint.
    pub fn cool(&self, seen: Swip) -> bool {
        seen.state() == SwipState::Hot && self.exchange(seen, seen.in_state(SwipState::Cool))
    }

    /// Cool to hot: whether it was cool. Keeps page and hint.
    pub fn heat(&self, seen: Swip) -> bool {
        seen.state() == SwipState::Cool && self.exchange(seen, seen.in_state(SwipState::Hot))
    }

    /// Cool to evicted: whether it was cool; one that was heated meanwhile stays. Keeps the page, forgets the hint.
    pub fn evict(&self, seen: Swip) -> bool {
        seen.state() == SwipState::Cool && self.exchange(seen, seen.masked())
    }

    fn exchange(&self, seen: Swip, next: Swip) -> bool {
        debug_assert_eq!(seen.page(), next.page(), "S1");
        // AcqRel: pairs with `load` and `store`. The comparison covers the page, so a word that became another reference
        // is left alone.
        self.0.compare_exchange(seen.to_bits(), next.to_bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl core::fmt::Debug for AtomicSwip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.load().fmt(f)
    }
}
