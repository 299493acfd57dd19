//! Which pages of large values were missed lately. One that is missed for the first time is read past the frames: most large
//! values are read once, or not again for long, and a frame for each would drive others out, nodes and values that are read
//! often; and fresh memory for it costs more than the read. One that is missed again gets a frame. After the 2Q policy
//! (Johnson and Shasha, VLDB 1994), whose queue of names this stands in for.

use crate::sync::{AtomicU64, Ordering};
use crate::types::PageId;

/// Memory that one of so many class 0 frames takes is remembered by a name.
const FRAMES_A_NAME: usize = 8;
/// The least number of names.
const LEAST: usize = 64;

/// Names that share a place by their hash: as many of the latest are kept there.
const WAYS: usize = 4;

/// Page numbers, the latest of each place first.
pub(super) struct Missed(Box<[[AtomicU64; WAYS]]>);

impl Missed {
    /// For a pool of so many class 0 frames. Memory: a byte a frame.
    pub(super) fn new(frames: usize) -> Missed {
        let places = (frames / FRAMES_A_NAME).max(LEAST) / WAYS;
        Missed((0..places).map(|_| Default::default()).collect())
    }

    /// Notes that `id` is missed; whether it was lately, too.
    pub(super) fn again(&self, id: PageId) -> bool {
        let hash = id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let mut next = id.get();
        // Relaxed: advice; two that come at once both may go past the frames.
        for name in &self.0[hash as usize % self.0.len()] {
            let there = name.load(Ordering::Relaxed);
            name.store(next, Ordering::Relaxed);
            if there == id.get() {
                return true;
            }
            next = there;
        }
        false
    }
}
