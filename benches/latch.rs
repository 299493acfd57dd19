//! What each mode of the latch costs: alone, and with two threads at one latch.
//!
//! `cargo bench --features latch --bench latch`

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use pagebox::latch::HybridLatch;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// Operations of each thread in one round: milliseconds, so that starting the threads does not count and they overlap. A
/// closure of one operation would not do: divan's samples of a microsecond are over before a second thread is scheduled.
const ROUND: u64 = 200_000;

/// One round: `other` on a second thread while `mine` runs here, both from the same moment on. How many of the operations
/// here met the other thread: the version moved by more than this thread can have moved it.
fn round(mine: Act, other: Act) -> u64 {
    let (pair, ready) = (Pair::new(), AtomicU64::new(0));
    let run = |act: Act| {
        let trial = Pair::new();
        act(&trial);
        let own = trial.latch.version();
        ready.fetch_add(1, Relaxed);
        while ready.load(Relaxed) < 2 {
            std::thread::yield_now();
        }
        let (mut met, mut before) = (0, pair.latch.version());
        for _ in 0..ROUND {
            black_box(act(&pair));
            let now = pair.latch.version();
            met += u64::from(now.wrapping_sub(before) > own);
            before = now;
        }
        met
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(other));
        run(mine)
    })
}

/// Rounds of two threads; says how contended they were, if one of them writes. Where few operations met the other thread
/// (one core, a loaded machine) the times are not those of a contended latch.
fn contended(bencher: Bencher, name: &str, mine: Act, other: Act) {
    let (rounds, met) = (AtomicU64::new(0), AtomicU64::new(0));
    bencher.counter(ItemsCount::new(ROUND * 2)).bench_local(|| {
        met.fetch_add(round(mine, other), Relaxed);
        rounds.fetch_add(1, Relaxed);
    });
    let per_round = met.load(Relaxed) / rounds.load(Relaxed).max(1);
    eprintln!("{name}: {per_round} of {ROUND} operations met a writer on the other thread");
}

/// Two threads in the same mode at one latch: time of a round, and operations a second of both together.
#[divan::bench(args = names(), sample_count = 10, sample_size = 1)]
fn two_threads(bencher: Bencher, name: &str) {
    contended(bencher, name, act(name), act(name));
}

/// This mode on one thread, exclusive on the other, the same number of operations each.
#[divan::bench(args = names(), sample_count = 10, sample_size = 1)]
fn against_a_writer(bencher: Bencher, name: &str) {
    contended(bencher, name, act(name), Pair::exclusive);
}
