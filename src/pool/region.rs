//! Anonymous memory for frames: mapped once, never unmapped while the pool lives (P3), committed when first touched. And for
//! a while, for buffers so large that memory in small pages would cost more than what it is for.

use crate::error::{Error, Result};
use std::io;
use std::ptr::NonNull;

/// A run of zeroed, page-aligned, lazily committed memory.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is plain memory; who may touch which bytes of it when is the frames' protocol (L3, P3).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes. Nothing is committed before it is touched.
    pub(crate) fn map(len: usize, huge: bool) -> Result<Region> {
        let len = len.max(4096);
        #[cfg(target_os = "linux")]
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        #[cfg(not(target_os = "linux"))]
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory (P3).
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Error::io("map frame memory", None, io::Error::last_os_error()));
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(Error::io("map frame memory", None, io::Error::from(io::ErrorKind::OutOfMemory)));
        };
        let region = Region { base, len };
        if huge {
            region.advise_huge();
        }
        Ok(region)
    }

    #[cfg(target_os = "linux")]
    fn advise_huge(&self) {
        // SAFETY: the range is this mapping (P3); the advice changes no content. Its failure changes nothing either.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
    }

    #[cfg(not(target_os = "linux"))]
    fn advise_huge(&self) {}

    /// Commits the memory of a range before it is touched, so that whoever touches it first does not wait for the system to
    /// clear it. A favour: where the system does not know how, nothing happens.
    #[cfg(target_os = "linux")]
    pub(crate) fn populate(&self, offset: usize, len: usize) {
        debug_assert!(offset + len <= self.len);
        // SAFETY: the range lies within this mapping (P3); populating changes no content, whoever reads or writes it.
        unsafe { libc::madvise(self.at(offset).cast(), len, libc::MADV_POPULATE_WRITE) };
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn populate(&self, _offset: usize, _len: usize) {}

    /// The address of byte `offset`.
    #[inline(always)]
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.len);
        // SAFETY: callers pass offsets of frames within the region (S2: frame numbers are bounds-checked), so the result
        // stays inside of the mapping (P3).
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// All of it, for the one owner of a region that no frame lies in.
    #[cfg(feature = "btree")]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range is this mapping (P3), zeroed or written since; the borrow is exclusive, and no frame's address
        // was taken from a region that is still one owner's.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// Gives the memory of a range back to the system; it reads as zeros from then on.
    pub(crate) fn discard(&self, offset: usize, len: usize) {
        debug_assert!(offset + len <= self.len);
        // SAFETY: the range lies within this mapping (P3) and belongs to a frame that holds no page, so nobody acts on its
        // bytes (L4: a reader with a stale hint fails its validation).
        unsafe { libc::madvise(self.at(offset).cast(), len, libc::MADV_DONTNEED) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and nothing outlives the pool that owns it (P3).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
