//! What a leaf holds in place of a large value.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | length of the value in bytes (low 40 bits); class of its full pages (bits 56 to 59) |
//! | 8 | 8 n | n runs of pages, 1 to 16: first page (low 34 bits), length in class 0 pages (high 30 bits) |
//!
//! The runs, one behind the other, are cut into pages of that class; the last page is as long as it has to be. Every run
//! but the last is a multiple of a full page. So length, class and runs say where each byte is, and no list of pages
//! has to be read first.

use crate::page::header::HEADER_BYTES;
use crate::pool::{ContentPage, Extent};
use crate::types::{PageId, SizeClass, TreeId};

/// The most runs a value may lie in.
pub(crate) const MAX_RUNS: usize = 16;
/// The longest reference, in bytes.
pub(crate) const MAX_REFERENCE: usize = 8 + 8 * MAX_RUNS;

const PAGE_BITS: u32 = 34;
const CLASS_SHIFT: u32 = 56;
const LENGTH_MASK: u64 = (1 << 40) - 1;

/// Where a large value lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    len: u64,
    class: SizeClass,
    runs: [Extent; MAX_RUNS],
    count: usize,
}

/// One page of a value: the bytes from `at` on, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) page: ContentPage,
    pub(crate) at: u64,
    pub(crate) len: usize,
}

/// Class 0 pages that a value of `len` bytes takes in pages of `class`.
pub(crate) fn units_for(len: u64, class: SizeClass, page_size: usize) -> u64 {
    let full = (class.units() * page_size as u64) - HEADER_BYTES as u64;
    let rest = len % full;
    let last = if rest == 0 { 0 } else { (rest + HEADER_BYTES as u64).div_ceil(page_size as u64) };
    len / full * class.units() + last
}

impl Reference {
    /// Of a value of `len` bytes in `runs`; `None` if they are not what such a value takes.
    pub(crate) fn new(len: u64, class: SizeClass, runs: &[Extent], page_size: usize) -> Option<Reference> {
        let (last, others) = runs.split_last()?;
        let step = class.units();
        let fits = len > 0
            && len <= super::MAX_VALUE
            && runs.len() <= MAX_RUNS
            && page_size << class.get() <= 1 << 20
            && others.iter().all(|run| run.units.is_multiple_of(step))
            && runs.iter().all(|run| !run.start.is_none() && run.units > 0 && run.end() <= PageId::MAX)
            && runs.iter().map(|run| run.units).sum::<u64>() == units_for(len, class, page_size);
        if !fits {
            return None;
        }
        let mut all = [*last; MAX_RUNS];
        all[..runs.len()].copy_from_slice(runs);
        Some(Reference { len, class, runs: all, count: runs.len() })
    }

    /// Takes a reference apart. `None` if the bytes are none.
    #[must_use]
    pub fn parse(bytes: &[u8], page_size: usize) -> Option<Reference> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let (&head, words) = words.split_first()?;
        let head = u64::from_le_bytes(head);
        let class = SizeClass::new((head >> CLASS_SHIFT) as u8)?;
        if words.len() > MAX_RUNS || head & !(0xF << CLASS_SHIFT | LENGTH_MASK) != 0 {
            return None;
        }
        let mut runs = [Extent::new(PageId::NONE, 0); MAX_RUNS];
        for (run, &word) in runs.iter_mut().zip(words) {
            let word = u64::from_le_bytes(word);
            *run = Extent::new(PageId::new(word & ((1 << PAGE_BITS) - 1)), word >> PAGE_BITS);
        }
        Reference::new(head & LENGTH_MASK, class, &runs[..words.len()], page_size)
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len | u64::from(self.class.get()) << CLASS_SHIFT).to_le_bytes());
        for run in self.runs() {
            out.extend_from_slice(&(run.start.get() | run.units << PAGE_BITS).to_le_bytes());
        }
    }

    /// The value's length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The extents the value takes: what a record that removes it frees.
    #[must_use]
    pub fn runs(&self) -> &[Extent] {
        &self.runs[..self.count]
    }

    /// Its pages, in the order of the content. `tree` is the tree whose leaf holds the reference.
    pub(crate) fn pieces(&self, page_size: usize, tree: TreeId) -> impl Iterator<Item = Piece> + use<> {
        let (this, step) = (*self, self.class.units());
        let (mut run, mut offset, mut at) = (0, 0, 0);
        std::iter::from_fn(move || {
            if at >= this.len {
                return None;
            }
            let mut extent = *this.runs().get(run)?;
            if offset == extent.units {
                (run, offset) = (run + 1, 0);
                extent = *this.runs().get(run)?;
            }
            let units = step.min(extent.units - offset);
            let room = units as usize * page_size - HEADER_BYTES;
            let len = room.min(usize::try_from(this.len - at).unwrap_or(usize::MAX));
            let page = ContentPage { id: PageId::new(extent.start.get() + offset), units, tree };
            let piece = Piece { page, at, len };
            (offset, at) = (offset + units, at + len as u64);
            Some(piece)
        })
    }
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference")
            .field("len", &self.len)
            .field("class", &self.class.get())
            .field("runs", &self.runs())
            .finish()
    }
}
