//! Sixteen bytes at a time: SSE2, and the same without vectors for other machines.

pub use imp::{bytes_equal, slots_below, words_equal};

#[cfg(target_arch = "x86_64")]
mod imp {
    use core::arch::x86_64::*;

    #[inline(always)]
    fn load(page: &[u8], at: usize) -> __m128i {
        assert!(at + 16 <= page.len());
        // SAFETY: the 16 bytes were just checked to lie in the page; the load asks for no alignment.
        unsafe { _mm_loadu_si128(page.as_ptr().add(at).cast()) }
    }

    /// Which of the sixteen bytes from `at` on are `byte`, as bits.
    #[inline(always)]
    pub fn bytes_equal(page: &[u8], at: usize, byte: u8) -> u32 {
        let there = load(page, at);
        // SAFETY: SSE2, which every x86-64 has, on values in registers.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(there, _mm_set1_epi8(byte as i8))) as u32 }
    }

    /// Which of the sixteen 16-bit integers from `at` on are `word`, as bits.
    #[inline(always)]
    pub fn words_equal(page: &[u8], at: usize, word: u16) -> u32 {
        let (a, b) = (load(page, at), load(page, at + 16));
        // SAFETY: SSE2 on values in registers.
        unsafe {
            let word = _mm_set1_epi16(word as i16);
            let equal = _mm_packs_epi16(_mm_cmpeq_epi16(a, word), _mm_cmpeq_epi16(b, word));
            _mm_movemask_epi8(equal) as u32
        }
    }

    /// How many of the `n` slots from `at` on have a head below `head`.
    #[inline(always)]
    pub fn slots_below(page: &[u8], at: usize, n: usize, head: u32) -> usize {
        let fours = n / 4;
        // SAFETY: SSE2 on values in registers.
        let below = unsafe {
            let flip = _mm_set1_epi32(i32::MIN);
            let value = _mm_xor_si128(_mm_set1_epi32(head as i32), flip);
            let mut sum = _mm_setzero_si128();
            for i in 0..fours {
                let (a, b) = (load(page, at + i * 32), load(page, at + i * 32 + 16));
                let heads = _mm_shuffle_ps::<0b10_00_10_00>(_mm_castsi128_ps(a), _mm_castsi128_ps(b));
                sum = _mm_sub_epi32(sum, _mm_cmpgt_epi32(value, _mm_xor_si128(_mm_castps_si128(heads), flip)));
            }
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
            _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum))) as usize
        };
        below + super::slots_below_scalar(page, at + fours * 32, n % 4, head)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    pub use super::slots_below_scalar as slots_below;

    /// Which of the sixteen bytes from `at` on are `byte`, as bits.
    #[inline(always)]
    pub fn bytes_equal(page: &[u8], at: usize, byte: u8) -> u32 {
        page[at..at + 16].iter().enumerate().fold(0, |mask, (i, &there)| mask | u32::from(there == byte) << i)
    }

    /// Which of the sixteen 16-bit integers from `at` on are `word`, as bits.
    #[inline(always)]
    pub fn words_equal(page: &[u8], at: usize, word: u16) -> u32 {
        let words = page[at..at + 32].chunks_exact(2).enumerate();
        words.fold(0, |mask, (i, there)| mask | u32::from(there == word.to_le_bytes()) << i)
    }
}

/// How many of the `n` slots from `at` on have a head below `head`.
#[inline(always)]
pub fn slots_below_scalar(page: &[u8], at: usize, n: usize, head: u32) -> usize {
    let slots = page[at..at + n * 8].chunks_exact(8);
    slots.filter(|slot| slot.first_chunk().is_some_and(|first| u32::from_le_bytes(*first) < head)).count()
}

/// Asks for a cache line.
#[inline(always)]
pub fn prefetch(page: &[u8], at: usize) {
    pagebox::page::bytes::PageReader::from_slice(page).prefetch(at);
}
