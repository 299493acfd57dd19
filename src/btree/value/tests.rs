//! References, and what is where in a value.

use super::reference::{MAX_REFERENCE, MAX_RUNS, Reference, units_for};
use super::{MAX_VALUE, max_inline};
use crate::page::slotted::{SLOTS, max_inline_value, max_key};
use crate::pool::Extent;
use crate::types::{PageId, SizeClass, TreeId};
use quickcheck::{TestResult, quickcheck};

const PAGE: usize = 4096;

fn class(c: u8) -> SizeClass {
    SizeClass::new(c).unwrap()
}

/// A value of `len` bytes whose space is cut into runs where `cuts` say, in multiples of a full page.
fn reference(len: u64, c: u8, cuts: &[u8]) -> Option<Reference> {
    let (mut left, step) = (units_for(len, class(c), PAGE), class(c).units());
    let mut runs = Vec::new();
    for (i, cut) in cuts.iter().enumerate().take(MAX_RUNS - 1) {
        let units = u64::from(cut % 7) * step;
        if units > 0 && units < left {
            runs.push(Extent::new(PageId::new(1000 + i as u64 * 100_000), units));
            left -= units;
        }
    }
    runs.push(Extent::new(PageId::new(5_000_000), left));
    Reference::new(len, class(c), &runs, PAGE)
}

quickcheck! {
    fn a_reference_comes_back_and_its_pages_cover_the_value(len: u32, c: u8, cuts: Vec<u8>) -> TestResult {
        let (len, c) = (u64::from(len % (1 << 26)), c % 9);
        if len == 0 {
            return TestResult::discard();
        }
        let value = reference(len, c, &cuts).unwrap();
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        assert!(bytes.len() <= MAX_REFERENCE);
        assert_eq!(Reference::parse(&bytes, PAGE), Some(value));
        let (mut at, mut units) = (0, 0);
        for piece in value.pieces(PAGE, TreeId::new(3)) {
            assert_eq!(piece.at, at);
            assert!(piece.len > 0 && piece.len <= piece.page.units as usize * PAGE - 32);
            assert!(piece.page.units <= class(c).units() && piece.page.class().units() >= piece.page.units);
            let holds = |run: &&Extent| run.start <= piece.page.id && piece.page.id.get() + piece.page.units <= run.end().get();
            assert!(value.runs().iter().any(|run| holds(&run)), "inside of a run");
            at += piece.len as u64;
            units += piece.page.units;
        }
        assert_eq!((at, units), (len, value.runs().iter().map(|run| run.units).sum()));
        TestResult::passed()
    }

    fn arbitrary_bytes_are_a_reference_or_not(bytes: Vec<u8>, at: usize, flip: u8) -> bool {
        let _ = Reference::parse(&bytes, PAGE);
        let mut bytes = Vec::new();
        reference(1 << 22, 6, &[1, 2, 3]).unwrap().encode(&mut bytes);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        // What parses is consistent: its pages cover the value and no more.
        Reference::parse(&bytes, PAGE).is_none_or(|value| {
            value.pieces(PAGE, TreeId::NONE).map(|piece| piece.len as u64).sum::<u64>() == value.len()
        })
    }
}

#[test]
fn the_longest_value_and_one_byte_more() {
    for page in [4096usize, 16384, 65536] {
        let c = class((1usize << 20).trailing_zeros() as u8 - page.trailing_zeros() as u8);
        let whole = |len| {
            let run = Extent::new(PageId::new(100), units_for(len, c, page));
            Reference::new(len, c, &[run], page)
        };
        assert_eq!(whole(MAX_VALUE).unwrap().pieces(page, TreeId::NONE).count(), 4097);
        assert!(whole(MAX_VALUE + 1).is_none() && whole(0).is_none());
        assert!(Reference::new(1, class(c.get() + 1), &[Extent::new(PageId::new(100), 1)], page).is_none());
    }
}

#[test]
fn two_records_of_the_longest_inline_value_fit_a_page() {
    for page in [4096, 8192, 16384, 32768, 65536] {
        for key in [0, 1, 16, 24, 100, 500, max_key(page)] {
            let value = max_inline(page, key);
            assert!(SLOTS + 2 * (8 + 2 + key + value) + 2 * key <= page, "{key} bytes of key, pages of {page}");
            assert!(value <= max_inline_value(page, max_key(page)), "one fits with any fences");
            assert!(value > MAX_REFERENCE, "a reference is always shorter than what it stands for");
        }
        assert!(max_inline(page, 24) * 20 > page * 9, "nearly half a page for short keys");
    }
}
