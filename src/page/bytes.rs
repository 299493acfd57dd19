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
//! loads of mapped memory, that torn results are discarded by validation, and that the latch's fences order them. The letter
//! would cost 11% of a lookup (docs/design.md, section 4.4).

use super::rank;
use crate::prefetch::prefetch_line;
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
pub(super) struct Unaligned<T>(pub(super) T);

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

    /// Asks the processor to have the cache line with byte `at` ready soon. A hint: nothing is read, and an offset outside
    /// of the page does no harm. Cost: one instruction, and a line's worth of memory traffic.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        prefetch_line(self.ptr.wrapping_add(at));
    }

    load!(u8, u8, 1, "byte");
    load!(u16, u16, 2, "16-bit integer");
    load!(u32, u32, 4, "32-bit integer");
    load!(u64, u64, 8, "64-bit integer");

    /// How many of the sixteen little-endian 32-bit integers from `at` on are below `value`, and how many are not above it,
    /// given that they ascend; on torn bytes, two numbers up to sixteen. Cost: four vector loads, no branch.
    #[inline(always)]
    pub fn rank16(&self, at: usize, value: u32) -> Result<(usize, usize), OutOfBounds> {
        if at > self.len || 64 > self.len - at {
            return Err(OutOfBounds);
        }
        point();
        // SAFETY: `at + 64 <= len` was just checked, and the page's memory is mapped (P3, P8).
        let (below, not_above) = unsafe { rank::masks(self.ptr.add(at), value) };
        Ok(((!below).trailing_zeros() as usize, (!not_above).trailing_zeros() as usize))
    }

    /// The `n` 8-byte words from `at` on, with one bounds check for all of them.
    #[inline(always)]
    pub fn words(&self, at: usize, n: usize) -> Result<PageWords<'a>, OutOfBounds> {
        if at > self.len || n > (self.len - at) / 8 {
            return Err(OutOfBounds);
        }
        // SAFETY: `at <= len`: the result points into the page or right behind it (P3).
        Ok(PageWords { ptr: unsafe { self.ptr.add(at) }, n, _page: PhantomData })
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
            let (mine, theirs) = (self.u64(at + i)?.swap_bytes(), word_of(other, i));
            if mine != theirs {
                return Ok(mine.cmp(&theirs));
            }
            i += 8;
        }
        if i < common {
            // What is left is less than a word. Where there is a whole one in front, the last word is looked at again with it:
            // the bytes before `i` are equal, so they decide nothing.
            let (mine, theirs) = if common >= 8 {
                (self.u64(at + common - 8)?.swap_bytes(), word_of(other, common - 8))
            } else {
                (self.short(at, common)?, short_of(&other[..common]))
            };
            if mine != theirs {
                return Ok(mine.cmp(&theirs));
            }
        }
        Ok(n.cmp(&other.len()))
    }

    /// Fewer than eight bytes as an integer that sorts as they do among those of the same length.
    #[inline(always)]
    fn short(&self, at: usize, n: usize) -> Result<u64, OutOfBounds> {
        Ok(match n {
            4.. => u64::from(self.u32(at)?.swap_bytes()) << 32 | u64::from(self.u32(at + n - 4)?.swap_bytes()),
            2.. => u64::from(self.u16(at)?.swap_bytes()) << 16 | u64::from(self.u16(at + n - 2)?.swap_bytes()),
            1 => u64::from(self.u8(at)?),
            _ => 0,
        })
    }
}

/// The eight bytes from `i` on as an integer that sorts as they do.
#[inline(always)]
fn word_of(bytes: &[u8], i: usize) -> u64 {
    bytes[i..].first_chunk::<8>().map_or(0, |word| u64::from_be_bytes(*word))
}

/// As [`PageReader::short`], for bytes in hand.
#[inline(always)]
fn short_of(bytes: &[u8]) -> u64 {
    let half = |chunk: &[u8; 4]| u64::from(u32::from_be_bytes(*chunk));
    let quarter = |chunk: &[u8; 2]| u64::from(u16::from_be_bytes(*chunk));
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        (Some(first), Some(last), ..) => half(first) << 32 | half(last),
        (_, _, Some(first), Some(last)) => quarter(first) << 16 | quarter(last),
        _ => bytes.first().map_or(0, |&byte| u64::from(byte)),
    }
}

/// A run of 8-byte words of a page that may change underneath, checked against the page once.
#[derive(Clone, Copy, Debug)]
pub struct PageWords<'a> {
    ptr: *const u8,
    n: usize,
    _page: PhantomData<&'a u8>,
}

impl PageWords<'_> {
    /// Word `i`, little-endian; 0 behind the last one: searches stay within their run, so this is not met.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, i: usize) -> u64 {
        if i >= self.n {
            return 0;
        }
        point();
        // SAFETY: `i < n`, and `n` words from `ptr` on were checked against the mapped page (P3, P8). No alignment is asked
        // for and any bit pattern is a value (L4).
        u64::from_le(unsafe { self.ptr.add(i * 8).cast::<Unaligned<u64>>().read_volatile() }.0)
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

    /// Where the page lies, for a system call that writes to it.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr
    }

    /// The bytes, for who only reads them at once: while the writer is borrowed nobody changes them.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        point();
        // SAFETY: the caller of `new` holds the latch (L3), so others at most read these bytes meanwhile, and nothing can be
        // written through this writer while the slice borrows it (U1). They are mapped (P3).
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
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
