//! The headers of a class's frames: one cache line each, in memory that the system clears when it is first touched.
//!
//! **Nothing is written at the start.** A large budget has hundreds of thousands of frames; to write their headers took most of
//! the time of opening a store. A new header is all zeros instead, which is what fresh memory is.
//!
//! **On huge pages**, if the frames are: every step of a descent looks at a header, and with small pages the translation of
//! its address is one more line to wait for.

use super::frame::FrameHeader;
#[cfg(not(any(loom, shuttle)))]
use super::region::Region;
use crate::error::Result;

/// So many frame headers.
pub(crate) struct Headers {
    #[cfg(not(any(loom, shuttle)))]
    region: Region,
    #[cfg(not(any(loom, shuttle)))]
    count: usize,
    // A model's latch is not zeros.
    #[cfg(any(loom, shuttle))]
    headers: Box<[FrameHeader]>,
}

#[cfg(not(any(loom, shuttle)))]
impl Headers {
    /// `count` headers of free frames; on huge pages if wanted, and if there are enough of them.
    ///
    /// # Errors
    /// `Io` if the system has no memory to map.
    pub(super) fn new(count: usize, huge: bool) -> Result<Headers> {
        let bytes = count * size_of::<FrameHeader>();
        Ok(Headers { region: Region::map(bytes, huge && bytes >= 2 << 20)?, count })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The header of frame `i`, if there is one.
    #[inline(always)]
    pub(super) fn get(&self, i: usize) -> Option<&FrameHeader> {
        if i >= self.count {
            return None;
        }
        let at = self.region.at(i * size_of::<FrameHeader>()).cast::<FrameHeader>();
        // SAFETY: `i` is below the number of headers the region was mapped for, so this lies within it, and on a cache line's
        // boundary, since the mapping is on a page's (P3, S2). Memory that nobody wrote is zero, and all zeros are a new
        // header (see the assertions in `frame`); all of its fields are atomics or locks, so shared references are all that
        // there ever are. It lives as long as `self`.
        Some(unsafe { &*at })
    }
}

#[cfg(any(loom, shuttle))]
impl Headers {
    pub(super) fn new(count: usize, _huge: bool) -> Result<Headers> {
        Ok(Headers { headers: (0..count).map(|_| FrameHeader::new()).collect() })
    }

    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn get(&self, i: usize) -> Option<&FrameHeader> {
        self.headers.get(i)
    }
}
