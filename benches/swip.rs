//! What the reference word costs: reading its fields, and its transitions, alone: a sample is too short to overlap with another thread (`latch` has contended rounds).
//!
//! `cargo bench --features swip --bench swip`

use divan::{Bencher, black_box};
use pagebox::swip::{AtomicSwip, Swip};
use pagebox::{FrameId, PageId, SizeClass};

fn main() {
    divan::main();
}

fn hot() -> AtomicSwip {
    AtomicSwip::new(Swip::with_frame(PageId::new(4711), SizeClass::ZERO, FrameId::new(17)))
}

/// What a descent does with each reference: one load, and the three fields.
#[divan::bench]
fn load_and_take_apart(bencher: Bencher) {
    let swip = hot();
    bencher.bench_local(|| {
        let word = black_box(&swip).load();
        (word.page(), word.class(), word.frame())
    });
}

#[divan::bench]
fn masked(bencher: Bencher) {
    let word = hot().load();
    bencher.bench_local(|| black_box(word).masked().to_bits());
}

#[divan::bench]
fn repair(bencher: Bencher) {
    let swip = hot();
    bencher.bench(|| {
        let seen = swip.load();
        swip.repair(seen, FrameId::new(seen.frame().get() + 1))
    });
}

#[divan::bench]
fn cool_and_heat(bencher: Bencher) {
    let swip = hot();
    bencher.bench(|| swip.cool(swip.load()) | swip.heat(swip.load()));
}

/// The frame is given up: the hint goes, the page id stays; and set again as by the one who loads the page.
#[divan::bench]
fn evict_and_set(bencher: Bencher) {
    let swip = hot();
    let word = swip.load();
    bencher.bench(|| {
        let evicted = swip.evict(swip.load());
        swip.store(black_box(word));
        evicted
    });
}
