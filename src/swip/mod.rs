//! The verified reference: a page id that is always true, and a frame number that may be.
//!
//! LeanStore's *swip* holds either a pointer or a page id, so whoever evicts a page must first find the one reference to
//! it. This one holds both at once, in 64 bits:
//!
//! | bits | field | meaning |
//! |---|---|---|
//! | 62..64 | state | 0 evicted, 1 cool, 2 hot (3 reads as evicted) |
//! | 58..62 | class | the page's size class |
//! | 24..58 | page | the page id: always there, so a reference can never lose its page (S1) |
//! | 0..24 | frame | where the page was last seen: a hint, to be verified (S2); all ones if never |
//!
//! Verified hints match pure swizzling in speed (Predictive Translation, SIGMOD 2026; Calico, arXiv 2604.00423), and
//! evicting needs no parent. The transitions hot, cool and evicted are for whoever uses the word alone; the buffer pool keeps
//! its own warmth in the frame, since it never looks for the word.

#![allow(unsafe_code)]

mod atomic;
#[cfg(all(test, not(loom)))]
mod tests;

pub use atomic::AtomicSwip;

use crate::types::{FrameId, PageId, SizeClass};
use core::fmt;

/// How warm a reference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwipState {
    /// The page may be anywhere; the frame is a mere hint.
    Evicted,
    /// The page is about to be evicted unless it is used.
    Cool,
    /// The page is in use.
    Hot,
}

const FRAME_BITS: u32 = 24;
const PAGE_BITS: u32 = 34;
const CLASS_SHIFT: u32 = FRAME_BITS + PAGE_BITS;
const STATE_SHIFT: u32 = CLASS_SHIFT + 4;

/// One reference as a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Swip(u64);

impl Swip {
    /// A reference to `page` with no idea where it is. Page ids beyond [`PageId::MAX`] are cut to 34 bits: the pool never
    /// gives one out.
    #[must_use]
    pub const fn evicted(page: PageId, class: SizeClass) -> Swip {
        Swip::new(SwipState::Evicted, page, class, FrameId::NONE)
    }

    /// A hot reference to `page`, last seen in `frame`.
    #[must_use]
    pub const fn with_frame(page: PageId, class: SizeClass, frame: FrameId) -> Swip {
        Swip::new(SwipState::Hot, page, class, frame)
    }

    const fn new(state: SwipState, page: PageId, class: SizeClass, frame: FrameId) -> Swip {
        let state = match state {
            SwipState::Evicted => 0u64,
            SwipState::Cool => 1,
            SwipState::Hot => 2,
        };
        Swip(
            state << STATE_SHIFT
                | (class.get() as u64) << CLASS_SHIFT
                | (page.get() & PageId::MAX.get()) << FRAME_BITS
                | frame.get() as u64,
        )
    }

    /// The page: always true.
    #[must_use]
    #[inline(always)]
    pub const fn page(self) -> PageId {
        PageId::new(self.0 >> FRAME_BITS & PageId::MAX.get())
    }

    /// The page's size class.
    #[must_use]
    #[inline(always)]
    pub const fn class(self) -> SizeClass {
        match SizeClass::new((self.0 >> CLASS_SHIFT & 15) as u8) {
            Some(class) => class,
            None => SizeClass::ZERO,
        }
    }

    /// Where the page was last seen: to be verified against that frame (S2).
    #[must_use]
    #[inline(always)]
    pub const fn frame(self) -> FrameId {
        FrameId::new(self.0 as u32)
    }

    /// How warm the reference is.
    #[must_use]
    pub const fn state(self) -> SwipState {
        match self.0 >> STATE_SHIFT {
            1 => SwipState::Cool,
            2 => SwipState::Hot,
            _ => SwipState::Evicted,
        }
    }

    /// The same page with another frame as hint; hot.
    #[must_use]
    pub const fn found_in(self, frame: FrameId) -> Swip {
        Swip::with_frame(self.page(), self.class(), frame)
    }

    /// The same page in another state.
    #[must_use]
    pub const fn in_state(self, state: SwipState) -> Swip {
        Swip::new(state, self.page(), self.class(), self.frame())
    }

    /// As it goes to disk: page and class only.
    #[must_use]
    pub const fn masked(self) -> Swip {
        Swip::evicted(self.page(), self.class())
    }

    /// The word. Any word is a reference; whether it leads anywhere is verified when it is used.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Swip {
        Swip(bits)
    }

    /// The word.
    #[must_use]
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Swip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swip")
            .field("state", &self.state())
            .field("class", &self.class().get())
            .field("page", &self.page().get())
            .field("frame", &self.frame().get())
            .finish()
    }
}
