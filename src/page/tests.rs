//! Page bytes: every accessor against the plain one.

use super::bytes::{OutOfBounds, PageReader};

/// A small generator, the same every time.
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn comparing_is_what_slices_do() {
    let mut next = numbers();
    let mut bytes = [0u8; 64];
    for _ in 0..200_000 {
        // Few different bytes, so that keys agree for long and differ at every place, the last one too.
        bytes.iter_mut().for_each(|byte| *byte = [0, 1, 0x7f, 0x80, 0xff][(next() % 5) as usize]);
        let (at, n) = ((next() % 40) as usize, (next() % 24) as usize);
        let mut other = bytes[at..at + n].to_vec();
        match next() % 4 {
            0 => {
                if let Some(byte) = (n > 0).then(|| &mut other[(next() % n as u64) as usize]) {
                    *byte ^= 1 << (next() % 8);
                }
            }
            1 => other.truncate((next() % 24) as usize),
            2 => other.push((next() % 3) as u8),
            _ => {}
        }
        let page = PageReader::from_slice(&bytes);
        assert_eq!(
            page.compare(at, n, &other),
            Ok(bytes[at..at + n].cmp(&other)),
            "{:?} {other:?}",
            &bytes[at..at + n]
        );
    }
}

#[test]
fn rank_is_what_counting_gives() {
    let mut next = numbers();
    for round in 0..20_000 {
        let spread = [4, 40, 1 << 20, u64::from(u32::MAX)][round % 4];
        let mut there: Vec<u32> = (0..16).map(|_| (next() % (spread + 1)) as u32).collect();
        there[0] = if round % 3 == 0 { 0 } else { there[0] };
        there[15] = if round % 5 == 0 { u32::MAX } else { there[15] };
        there.sort_unstable();
        let bytes: Vec<u8> = there.iter().flat_map(|n| n.to_le_bytes()).collect();
        let wanted =
            [0, u32::MAX, i32::MAX as u32, 1 << 31, (next() % (spread + 1)) as u32, there[(next() % 16) as usize]];
        for value in wanted {
            let below = there.iter().filter(|&&n| n < value).count();
            let not_above = there.iter().filter(|&&n| n <= value).count();
            assert_eq!(PageReader::from_slice(&bytes).rank16(0, value), Ok((below, not_above)), "{there:?} {value}");
        }
    }
}

#[test]
fn rank_of_what_does_not_ascend_is_bounded() {
    let mut next = numbers();
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..64).map(|_| next() as u8).collect();
        let (below, not_above) = PageReader::from_slice(&bytes).rank16(0, next() as u32).expect("in range");
        assert!(below <= 16 && not_above <= 16);
    }
}

#[test]
fn words_and_ranks_stay_in_the_page() {
    let bytes: Vec<u8> = (0..80).collect();
    let page = PageReader::from_slice(&bytes);
    let words = page.words(8, 9).expect("in range");
    for i in 0..9 {
        assert_eq!(Ok(words.get(i)), page.u64(8 + i * 8));
    }
    assert_eq!(words.get(9), 0, "behind the last word");
    assert_eq!(words.get(usize::MAX), 0);
    for (at, n) in [(8, 10), (81, 0), (usize::MAX, 1), (0, usize::MAX)] {
        assert!(page.words(at, n).is_err(), "{at} {n}");
    }
    assert_eq!(page.rank16(17, 0), Err(OutOfBounds));
    assert_eq!(page.rank16(usize::MAX, 0), Err(OutOfBounds));
    assert!(page.rank16(16, 0).is_ok());
    // Never faults, whatever the address.
    page.prefetch(usize::MAX);
    page.prefetch(1 << 40);
}
