//! Bytes that contradict themselves although their checksum fits.

use super::*;
use crate::page::header::{self, PageHeader};

#[test]
fn a_swip_array_that_covers_the_header_or_leaves_the_page_is_damage() {
    let rig = Rig::floor();
    let id = rig.create_with(1, SizeClass::ZERO, &[PageId::new(9)]);
    rig.pool.flush_all().unwrap();
    let mut image = vec![0; PAGE];
    rig.store.inner.read(id, &mut image).unwrap();
    // Offset in words, number of words.
    for (words, count, sound) in [
        (0u16, 0u16, true),
        (3, 0, true),
        (4, 1, true),
        (511, 1, true),
        (4, 508, true),
        (0, 1, false),
        (3, 1, false),
        (511, 2, false),
        (512, 1, false),
        (4, 509, false),
        (u16::MAX, u16::MAX, false),
    ] {
        image[28..30].copy_from_slice(&words.to_le_bytes());
        image[30..32].copy_from_slice(&count.to_le_bytes());
        let sum = header::checksum(&image);
        image[..4].copy_from_slice(&sum.to_le_bytes());
        let answer = load::verify(id, SizeClass::ZERO, &image);
        assert_eq!(answer.is_ok(), sound, "{count} swips at word {words}: {answer:?}");
        let header = PageHeader::read(crate::page::bytes::PageReader::from_slice(&image)).unwrap();
        if let Ok(swips) = header.swips(PAGE) {
            assert!(swips.start % 8 == 0 && swips.len() == usize::from(count) * 8);
        }
    }
}
