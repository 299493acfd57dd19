//! Races on one reference word, by loom: no transition loses the page, and of two that exclude each other one wins.

#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use pagebox::swip::{AtomicSwip, Swip, SwipState};
use pagebox::{FrameId, PageId, SizeClass};

fn page() -> PageId {
    PageId::new(77)
}

fn check(start: Swip, acts: [fn(&AtomicSwip) -> bool; 2], end: impl Fn(Swip, [bool; 2]) + Send + Sync + 'static) {
    let end = std::sync::Arc::new(end);
    loom::model(move || {
        let word = Arc::new(AtomicSwip::new(start));
        let other = word.clone();
        let thread = thread::spawn(move || acts[1](&other));
        let first = acts[0](&word);
        let second = thread.join().unwrap();
        let last = word.load();
        assert_eq!((last.page(), last.class()), (start.page(), start.class()), "S1");
        end(last, [first, second]);
    });
}

#[test]
fn eviction_and_heating_exclude_each_other() {
    // Who comes second sees either the word it knew, and fails on the exchange, or the new state, which it refuses.
    let cool = Swip::with_frame(page(), SizeClass::ZERO, FrameId::new(5)).in_state(SwipState::Cool);
    check(cool, [|w| w.heat(w.load()), |w| w.evict(w.load())], |last, won| {
        assert!(won[0] ^ won[1], "exactly one");
        assert_eq!(last.state(), if won[0] { SwipState::Hot } else { SwipState::Evicted });
    });
}

#[test]
fn of_two_repairs_of_one_word_one_wins() {
    fn repair(word: &AtomicSwip, frame: u32) -> bool {
        word.repair(Swip::evicted(PageId::new(77), SizeClass::ZERO), FrameId::new(frame))
    }
    check(Swip::evicted(page(), SizeClass::ZERO), [|w| repair(w, 1), |w| repair(w, 2)], |last, won| {
        assert!(won[0] ^ won[1], "exactly one");
        assert_eq!(last.frame(), FrameId::new(if won[0] { 1 } else { 2 }));
    });
}

#[test]
fn cooling_and_repair_keep_a_whole_word() {
    let hot = Swip::with_frame(page(), SizeClass::ZERO, FrameId::new(5));
    check(hot, [|w| w.cool(w.load()), |w| w.repair(w.load(), FrameId::new(9))], |last, _| {
        assert!([5, 9].contains(&last.frame().get()));
    });
}
