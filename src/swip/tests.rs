//! The word's fields and transitions for arbitrary words; races are enumerated in `tests/loom_swip.rs`.

use super::*;
use quickcheck::quickcheck;

quickcheck! {
    fn fields_come_back(page: u64, class: u8, frame: u32) -> bool {
        let (page, class) = (PageId::new(page & PageId::MAX.get()), SizeClass::new(class % 16).unwrap());
        let frame = FrameId::new(frame);
        let hot = Swip::with_frame(page, class, frame);
        let cold = Swip::evicted(page, class);
        (hot.page(), hot.class(), hot.frame(), hot.state()) == (page, class, frame, SwipState::Hot)
            && (cold.page(), cold.class(), cold.frame(), cold.state()) == (page, class, FrameId::NONE, SwipState::Evicted)
            && hot.masked() == cold
            && Swip::from_bits(hot.to_bits()) == hot
    }

    fn any_word_is_a_reference(bits: u64) -> bool {
        let swip = Swip::from_bits(bits);
        let _ = format!("{swip:?}");
        swip.page() <= PageId::MAX && (swip.class().get() as usize) < SizeClass::COUNT && swip.masked().page() == swip.page()
    }

    fn transitions_keep_the_page(bits: u64, steps: Vec<u8>, frame: u32) -> bool {
        let shared = AtomicSwip::new(Swip::from_bits(bits));
        let start = shared.load();
        for step in steps {
            let seen = shared.load();
            let changed = match step % 4 {
                0 => shared.repair(seen, FrameId::new(frame)),
                1 => shared.cool(seen),
                2 => shared.heat(seen),
                _ => shared.evict(seen),
            };
            let legal = match step % 4 {
                0 => true,
                1 => seen.state() == SwipState::Hot,
                _ => seen.state() == SwipState::Cool,
            };
            if changed != legal || shared.load().page() != start.page() || shared.load().class() != start.class() {
                return false;
            }
        }
        true
    }

    fn a_word_that_changed_is_left_alone(bits: u64, other: u64) -> bool {
        let (seen, now) = (Swip::from_bits(bits), Swip::from_bits(other));
        let shared = AtomicSwip::new(now);
        let repaired = shared.repair(seen, FrameId::new(3));
        repaired == (seen == now) && (repaired || shared.load() == now)
    }
}
