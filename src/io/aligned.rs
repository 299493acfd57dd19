//! Buffers that start where a device's blocks may: what is written past the system's cache goes from the caller's memory to
//! the medium, and must lie there as the medium wants it.

use std::ops::{Deref, DerefMut};

/// What offsets, lengths and addresses of transfers past the cache are multiples of: the greatest block in common use.
pub(crate) const ALIGN: usize = 4096;

/// Bytes that start at a multiple of [`ALIGN`]. The empty default takes no memory.
///
/// A `Vec` with its first bytes left out: it never grows beyond the capacity it was made with, so it never moves.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuf(Vec<u8>);

impl AlignedBuf {
    /// An empty one for at most `capacity` bytes. Takes up to [`ALIGN`] more.
    #[cfg(any(test, feature = "wal"))]
    pub(crate) fn with_capacity(capacity: usize) -> AlignedBuf {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity + ALIGN);
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        bytes.resize(start, 0);
        AlignedBuf(bytes)
    }

    /// One of `len` zeros. Memory that the system hands out cleared is touched when it is used, not here.
    pub(crate) fn zeroed(len: usize) -> AlignedBuf {
        let mut bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        bytes.truncate(start + len);
        AlignedBuf(bytes)
    }

    /// How many of the bytes are left out; not remembered, for the log's append wants this small.
    #[inline(always)]
    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(ALIGN).min(self.0.len())
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.0.len() - self.start()
    }

    #[cfg(feature = "wal")]
    #[inline(always)]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(self.start() + len);
    }

    /// Cuts, or extends with zeros; at most to the capacity.
    #[cfg(any(test, feature = "wal"))]
    pub(crate) fn resize(&mut self, len: usize) {
        let end = self.start() + len;
        assert!(end <= self.0.capacity(), "an aligned buffer does not grow beyond its capacity");
        self.0.resize(end, 0);
    }

    /// Appends; at most to the capacity.
    #[cfg(feature = "wal")]
    #[inline(always)]
    pub(crate) fn extend_from_slice(&mut self, more: &[u8]) {
        let room = self.0.capacity() - self.0.len();
        assert!(more.len() <= room, "an aligned buffer does not grow beyond its capacity");
        self.0.extend_from_slice(more);
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.0[self.start()..]
    }
}

impl DerefMut for AlignedBuf {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.0[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_a_block_and_stays() {
        for capacity in [1, 64, 4095, 4096, 4097, 1 << 20] {
            let mut buf = AlignedBuf::with_capacity(capacity);
            let at = buf.as_ptr();
            assert!(at.align_offset(ALIGN) == 0 && buf.is_empty());
            buf.resize(capacity);
            buf[capacity - 1] = 7;
            assert_eq!((buf.as_ptr(), buf.len()), (at, capacity));
            buf.resize(0);
            assert_eq!(AlignedBuf::zeroed(capacity).iter().map(|&byte| u64::from(byte)).sum::<u64>(), 0);
        }
    }

    #[cfg(feature = "wal")]
    #[test]
    #[should_panic(expected = "beyond its capacity")]
    fn does_not_grow() {
        let mut buf = AlignedBuf::with_capacity(ALIGN);
        buf.extend_from_slice(&[1; ALIGN]);
        buf.extend_from_slice(&[1; ALIGN]);
    }
}
