//! The audited accessors of page bytes: [`PageReader`] for bytes that another thread may be changing, [`PageWriter`] for
//! the one holder of the exclusive latch.
//!
//! **Why not slices.** An optimistic reader looks at bytes while a writer changes them and finds out afterwards, by the
//! latch's version, whether what it saw counts (invariant L4). A `&[u8]` over such bytes would be undefined behaviour
//! whatever is done with the result, so none is ever formed (invariant U1). Reads here are volatile loads of the frame's
//! memory, bounds-checked against the page's length, into values of their own. They go through one-field packed structs:
//! a volatile load of a byte array compiles to single-byte loads, that of a packed integer to one (possibly unaligned) load.
//!
//! **The exception this makes.** Volatile reads racing with plain writes are outside the letter of the memory model
//! (as in the Linux kernel's and crossbeam's seqlocks); what makes it work in practice is that the loads are real
//! loads of mapped memory, that torn results are discarded by validation, and that the latch's fences order them.

use crate::sync::{AtomicU64, Ordering, point};
use core::marker::PhantomData;

/// An offset or length read from a page led outside of it: the bytes are torn (restart) or damaged (corrupted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

/// Read access to `len` bytes of a page that may change underneath.
///
/// Values read are untrusted until the latch guard they were read under has been validated.
#[derive(Clone, Copy, Debug)]
pub struct PageReader<'a> {
    ptr: *const u8,
    len: usize,
    _page: PhantomData<&'a u8>,
}

/// Write access to a page under its exclusive latch (or to memory nobody else sees).
#[derive(Debug)]
pub struct PageWriter<'a> {
    ptr: *mut u8,
    len: usize,
    _page: PhantomData<&'a mut u8>,
}

/// An integer without alignment, so that a volatile load of it is one load at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T>(T);

macro_rules! load {
    ($name:ident, $ty:ty, $n:literal, $what:literal) => {
        #[doc = concat!("Reads the little-endian ", $what, " at `at`.")]
        #[inline(always)]
        pub fn $name(&self, at: usize) -> Result<$ty, OutOfBounds> {
            if at.wrapping_add($n) > self.len || at > self.len {
                return Err(OutOfBounds);
            }
            point();
            // SAFETY: `at + n <= len` was just checked, and the page's memory is mapped for the guard's lifetime (P3).
            // The packed integer has no alignment and every bit pattern is valid: a torn read is a value like any other (L4).
            let value = unsafe { self.ptr.add(at).cast::<Unaligned<$ty>>().read_volatile() };
            Ok(<$ty>::from_le(value.0))
        }
    };
}

impl<'a> PageReader<'a> {
    /// Wraps `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The memory must stay mapped and readable for `'a` (P3); it may change meanwhile only as U1 allows.
    #[must_use]
    pub unsafe fn new(ptr: *const u8, len: usize) -> PageReader<'a> {
        PageReader { ptr, len, _page: PhantomData }
    }

    /// Reads bytes that nobody changes.
    #[must_use]
    pub fn from_slice(bytes: &'a [u8]) -> PageReader<'a> {
        PageReader { ptr: bytes.as_ptr(), len: bytes.len(), _page: PhantomData }
    }

    /// The page's length in bytes.
    #[must_use]
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the page has no bytes: never, for a page of the pool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first byte, for prefetching.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    load!(u8, u8, 1, "byte");
    load!(u16, u16, 2, "16-bit integer");
    load!(u32, u32, 4, "32-bit integer");
    load!(u64, u64, 8, "64-bit integer");

    /// Reads `N` little-endian 32-bit integers from `at` on, with one bounds check: the compiler may use vector compares.
    #[inline(always)]
    pub fn u32s<const N: usize>(&self, at: usize) -> Result<[u32; N], OutOfBounds> {
        if at > self.len || N * 4 > self.len - at {
            return Err(OutOfBounds);
        }
        point();
        let mut out = [0u32; N];
        for (i, value) in out.iter_mut().enumerate() {
            // SAFETY: `at + 4 * N <= len` was just checked (P3, P8); any bit pattern is a value (L4).
            *value = u32::from_le(unsafe { self.ptr.add(at + i * 4).cast::<Unaligned<u32>>().read_volatile() }.0);
        }
        Ok(out)
    }

    /// Copies `out.len()` bytes from `at` on into `out`.
    #[inline]
    pub fn copy_to(&self, at: usize, out: &mut [u8]) -> Result<(), OutOfBounds> {
        if at > self.len || out.len() > self.len - at {
            return Err(OutOfBounds);
        }
        point();
        // SAFETY: the range was just checked against the mapped page (P3, P8); `out` is the caller's own memory. The
        // bytes may be torn; they are not acted upon before validation (L4).
        unsafe { core::ptr::copy_nonoverlapping(self.ptr.add(at), out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Appends `n` bytes from `at` on to `out`.
    #[inline]
    pub fn append_to(&self, at: usize, n: usize, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        if at > self.len || n > self.len - at {
            return Err(OutOfBounds);
        }
        point();
        out.reserve(n);
        // SAFETY: the range was just checked against the mapped page (P3, P8), `reserve` made room for `n` more bytes,
        // and copying initialises them before the length says so. Torn bytes are discarded by validation (L4).
        unsafe {
            core::ptr::copy_nonoverlapping(self.ptr.add(at), out.as_mut_ptr().add(out.len()), n);
            out.set_len(out.len() + n);
        }
        Ok(())
    }

    /// Compares the `n` bytes from `at` on with `other`, as byte strings.
    #[inline]
    pub fn compare(&self, at: usize, n: usize, other: &[u8]) -> Result<core::cmp::Ordering, OutOfBounds> {
        if at > self.len || n > self.len - at {
            return Err(OutOfBounds);
        }
        let common = n.min(other.len());
        let mut i = 0;
        while i + 8 <= common {
            let mine = u64::from_be_bytes(self.u64(at + i)?.to_le_bytes());
            let mut word = [0u8; 8];
            word.copy_from_slice(&other[i..i + 8]);
            let theirs = u64::from_be_bytes(word);
            if mine != theirs {
                return Ok(mine.cmp(&theirs));
            }
            i += 8;
        }
        while i < common {
            let mine = self.u8(at + i)?;
            if mine != other[i] {
                return Ok(mine.cmp(&other[i]));
            }
            i += 1;
        }
        Ok(n.cmp(&other.len()))
    }
}

macro_rules! store {
    ($name:ident, $ty:ty, $what:literal) => {
        #[doc = concat!("Writes the little-endian ", $what, " at `at`. Panics outside of the page: our own broken invariant.")]
        #[inline(always)]
        pub fn $name(&mut self, at: usize, value: $ty) {
            self.write(at, &value.to_le_bytes());
        }
    };
}

impl<'a> PageWriter<'a> {
    /// Wraps `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The caller holds the page's exclusive latch for `'a`, or nobody else sees the memory (L3), and it stays mapped (P3).
    #[must_use]
    pub unsafe fn new(ptr: *mut u8, len: usize) -> PageWriter<'a> {
        PageWriter { ptr, len, _page: PhantomData }
    }

    /// Writes bytes that nobody else sees.
    #[must_use]
    pub fn from_slice(bytes: &'a mut [u8]) -> PageWriter<'a> {
        PageWriter { ptr: bytes.as_mut_ptr(), len: bytes.len(), _page: PhantomData }
    }

    /// The same page for reading.
    #[must_use]
    #[inline(always)]
    pub fn reader(&self) -> PageReader<'_> {
        PageReader { ptr: self.ptr, len: self.len, _page: PhantomData }
    }

    /// A writer of the same page with a shorter life.
    #[must_use]
    pub fn reborrow(&mut self) -> PageWriter<'_> {
        PageWriter { ptr: self.ptr, len: self.len, _page: PhantomData }
    }

    /// The page's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the page has no bytes: never, for a page of the pool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    store!(set_u8, u8, "byte");
    store!(set_u16, u16, "16-bit integer");
    store!(set_u32, u32, "32-bit integer");
    store!(set_u64, u64, "64-bit integer");

    /// Writes the reference word at `at`, a multiple of 8, as one atomic store: readers of references load them the same
    /// way. Panics outside of the page or unaligned.
    #[inline]
    pub fn set_word(&mut self, at: usize, value: u64) {
        assert!(at.is_multiple_of(8) && at <= self.len && 8 <= self.len - at, "reference outside of the page");
        let word = self.ptr.wrapping_add(at).cast::<u64>();
        if word.is_aligned() {
            // SAFETY: in range and aligned, both just checked; the latch is held (L3), so the only other accesses are
            // atomic loads of the same word (U1).
            unsafe { AtomicU64::from_ptr(word) }.store(value.to_le(), Ordering::Relaxed);
        } else {
            // Private memory (a `Vec` of bytes) need not be aligned, and nobody else sees it.
            self.write(at, &value.to_le_bytes());
        }
    }

    /// Writes `bytes` at `at`. Panics outside of the page: our own broken invariant.
    #[inline(always)]
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at <= self.len && bytes.len() <= self.len - at, "write outside of the page");
        point();
        // SAFETY: the range was just checked; the caller of `new` holds the latch (L3). `bytes` is not in the page: no
        // slice ever covers one (U1).
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.ptr.add(at), bytes.len()) };
    }

    /// Moves `n` bytes from `from` to `to`; the ranges may overlap. Panics outside of the page.
    #[inline]
    pub fn shift(&mut self, from: usize, to: usize, n: usize) {
        assert!(
            from <= self.len && n <= self.len - from && to <= self.len && n <= self.len - to,
            "move outside of the page"
        );
        point();
        // SAFETY: both ranges were just checked; the caller of `new` holds the latch (L3).
        unsafe { core::ptr::copy(self.ptr.add(from), self.ptr.add(to), n) };
    }

    /// Sets `n` bytes from `at` on to `value`. Panics outside of the page.
    pub fn fill(&mut self, at: usize, n: usize, value: u8) {
        assert!(at <= self.len && n <= self.len - at, "fill outside of the page");
        point();
        // SAFETY: the range was just checked; the caller of `new` holds the latch (L3).
        unsafe { core::ptr::write_bytes(self.ptr.add(at), value, n) };
    }
}
