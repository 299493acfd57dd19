//! What each mode of the latch costs: alone, and with two threads at one latch.
//!
//! `cargo bench --features latch --bench latch`

use divan::{Bencher, black_box};
use pagebox::latch::HybridLatch;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

fn main() {
    divan::main();
}

/// The latch and what it guards: two words that a writer changes together.
struct Pair {
    latch: HybridLatch,
    words: [AtomicU64; 2],
}

impl Pair {
    const fn new() -> Pair {
        Pair { latch: HybridLatch::new(), words: [AtomicU64::new(0), AtomicU64::new(0)] }
    }

    #[inline(always)]
    fn get(&self) -> u64 {
        self.words[0].load(Relaxed).wrapping_add(self.words[1].load(Relaxed))
    }

    #[inline(always)]
    fn bump(&self) {
        for word in &self.words {
            word.store(word.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    fn optimistic(&self) -> u64 {
        loop {
            let guard = self.latch.optimistic();
            let seen = self.get();
            if guard.validate().is_ok() {
                return seen;
            }
        }
    }

    fn optimistic_or_shared(&self) -> u64 {
        self.latch.read(8, || self.get())
    }

    fn shared(&self) -> u64 {
        let _guard = self.latch.shared();
        self.get()
    }

    fn exclusive(&self) -> u64 {
        let _guard = self.latch.exclusive();
        self.bump();
        0
    }

    fn upgrade(&self) -> u64 {
        loop {
            let guard = self.latch.optimistic();
            let seen = self.get();
            if let Ok(_held) = guard.try_upgrade() {
                self.bump();
                return seen;
            }
            std::hint::spin_loop();
        }
    }

    fn upgrade_to_shared(&self) -> u64 {
        loop {
            let guard = self.latch.optimistic();
            if let Ok(_held) = guard.try_upgrade_shared() {
                return self.get();
            }
            std::hint::spin_loop();
        }
    }
}

type Act = fn(&Pair) -> u64;

const MODES: &[(&str, Act)] = &[
    ("optimistic", Pair::optimistic),
    ("optimistic, else shared", Pair::optimistic_or_shared),
    ("shared", Pair::shared),
    ("exclusive", Pair::exclusive),
    ("optimistic to shared", Pair::upgrade_to_shared),
    ("optimistic to exclusive", Pair::upgrade),
];

fn names() -> impl Iterator<Item = &'static str> {
    MODES.iter().map(|&(name, _)| name)
}

fn act(name: &str) -> Act {
    MODES.iter().find(|mode| mode.0 == name).map_or(Pair::optimistic, |mode| mode.1)
}

/// The floor: the same two loads with no latch at all.
#[divan::bench]
fn no_latch(bencher: Bencher) {
    let pair = Pair::new();
    bencher.bench_local(|| black_box(&pair).get());
}

#[divan::bench(args = names())]
fn alone(bencher: Bencher, name: &str) {
    let (pair, act) = (Pair::new(), act(name));
    bencher.bench_local(|| act(black_box(&pair)));
}

/// Two threads in the same mode at one latch: time per operation of each.
#[divan::bench(args = names(), threads = 2)]
fn two_threads(bencher: Bencher, name: &str) {
    let (pair, act) = (Pair::new(), act(name));
    bencher.bench(|| act(black_box(&pair)));
}

/// One thread in this mode while another takes the latch exclusively all the time.
#[divan::bench(args = names())]
fn against_a_writer(bencher: Bencher, name: &str) {
    let (pair, act, stop) = (Pair::new(), act(name), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                pair.exclusive();
            }
        });
        bencher.bench_local(|| act(black_box(&pair)));
        stop.store(true, Relaxed);
    });
}
