//! Which size class gives memory up when another wants some.
//!
//! Within a class the clock decides. Between classes chance does, in proportion to the memory each has: so the shares settle
//! where all classes lose pages at the rate at which they ask for them, and neither a scan of large values nor one of a
//! tree drives the other out for good. The greater classes together never take more than half of the budget. As long as
//! there are no frames of greater classes, all this is one load.

use super::BufferPool;
use super::frame::Frames;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::types::SizeClass;

#[derive(Default)]
pub(crate) struct Balance {
    /// Whether there was ever a frame of a greater class.
    large: AtomicBool,
    /// Counts choices: the source of chance, the same in every run of a simulation.
    turns: AtomicU64,
}

impl BufferPool {
    /// The class that is to give up memory so that `class` gets some; `None`: that class itself.
    pub(super) fn donor(&self, class: SizeClass) -> Option<&Frames> {
        // Relaxed: set before the first such frame is taken; a late sight of it delays a choice, nothing more.
        if !self.balance.large.load(Ordering::Relaxed) {
            return None;
        }
        let first = usize::from(!self.may_grow(class));
        let bytes = |frames: &Frames| frames.committed() as u64 * frames.bytes as u64;
        let all: u64 = self.frames[first..].iter().map(bytes).sum();
        // Relaxed: any order of turns will do.
        let turn = self.balance.turns.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let chance = ((u128::from(turn.wrapping_mul(0x9E37_79B9_7F4A_7C15)) * u128::from(all)) >> 64) as u64;
        let mut below = 0;
        let chosen = self.frames[first..].iter().find(|frames| {
            below += bytes(frames);
            chance < below
        })?;
        (chosen.class != class).then_some(chosen)
    }

    /// Whether the frames of `class` may take more memory: class 0 always, the others up to half of the budget together.
    pub(super) fn may_grow(&self, class: SizeClass) -> bool {
        if class == SizeClass::ZERO {
            return true;
        }
        // Relaxed: see `donor`.
        self.balance.large.store(true, Ordering::Relaxed);
        let large: u64 = self.frames[1..].iter().map(|frames| frames.committed() as u64 * frames.bytes as u64).sum();
        large + self.page_bytes(class) as u64 <= self.capacity / 2
    }
}
