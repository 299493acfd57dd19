//! Rank among sixteen: how many integers of one cache line are below a value. The hint array's search.
//!
//! The integers ascend, so the answers of the sixteen comparisons are a run of ones and a run of zeros, and where the one
//! ends is the rank: there is no branch to guess wrong.

use super::bytes::Unaligned;

pub(super) use imp::masks;

#[cfg(target_arch = "x86_64")]
mod imp {
    use super::Unaligned;
    use core::arch::x86_64::{
        __m128i, _mm_cmpgt_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32, _mm_xor_si128,
    };

    /// Sixteen compares at once: bit `i` of the two masks says that integer `i` is below `value`, or not above it.
    ///
    /// # Safety
    /// 64 bytes at `ptr` are mapped (P3); they may change meanwhile as U1 allows.
    #[inline(always)]
    pub(in crate::page) unsafe fn masks(ptr: *const u8, value: u32) -> (u32, u32) {
        let load = |i: usize| {
            // SAFETY: 16 of the 64 bytes the caller answers for. A packed vector has no alignment and any bit pattern is a
            // value: torn ones are discarded (L4).
            unsafe { ptr.add(16 * i).cast::<Unaligned<__m128i>>().read_volatile() }.0
        };
        // SAFETY: SSE2, which every x86-64 has, on values in registers: nothing else is asked of the caller (U1).
        unsafe {
            // The compares are signed: flipping the top bits makes them unsigned.
            let flip = _mm_set1_epi32(i32::MIN);
            let value = _mm_xor_si128(_mm_set1_epi32(value as i32), flip);
            let there = [load(0), load(1), load(2), load(3)].map(|four| _mm_xor_si128(four, flip));
            let mask = |[a, b, c, d]: [__m128i; 4]| {
                _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d))) as u32
            };
            let below = mask(there.map(|four| _mm_cmpgt_epi32(value, four)));
            let above = mask(there.map(|four| _mm_cmpgt_epi32(four, value)));
            (below, !above & 0xffff)
        }
    }
}

/// The same without vectors, for other machines; not built here.
#[cfg(not(target_arch = "x86_64"))]
mod imp {
    use super::Unaligned;

    /// Sixteen compares at once: bit `i` of the two masks says that integer `i` is below `value`, or not above it.
    ///
    /// # Safety
    /// 64 bytes at `ptr` are mapped (P3); they may change meanwhile as U1 allows.
    #[inline(always)]
    pub(in crate::page) unsafe fn masks(ptr: *const u8, value: u32) -> (u32, u32) {
        let (mut below, mut not_above) = (0, 0);
        for i in 0..16 {
            // SAFETY: 4 of the 64 bytes the caller answers for; any bit pattern is a value (L4).
            let there = u32::from_le(unsafe { ptr.add(4 * i).cast::<Unaligned<u32>>().read_volatile() }.0);
            below |= u32::from(there < value) << i;
            not_above |= u32::from(there <= value) << i;
        }
        (below, not_above)
    }
}
