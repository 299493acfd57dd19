//! Every interleaving and every legal reordering of the latch's modes and upgrades, by loom.
//!
//! Two threads: exhaustive. Three threads: up to three preemptions. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --features latch,swip --lib --test loom_latch --test loom_swip`

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;
use pagebox::latch::{HybridLatch, OptimisticGuard};

/// A latch and two words that a writer always changes together.
struct Pair {
    latch: HybridLatch,
    a: AtomicU64,
    b: AtomicU64,
}

impl Pair {
    fn new() -> Arc<Pair> {
        Arc::new(Pair { latch: HybridLatch::new(), a: AtomicU64::new(0), b: AtomicU64::new(0) })
    }

    /// What a holder of the exclusive latch does.
    fn bump(&self) {
        let (a, b) = self.get();
        assert_eq!(a, b, "an exclusive holder met a torn pair");
        self.a.store(a + 1, Relaxed);
        self.b.store(b + 1, Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (self.a.load(Relaxed), self.b.load(Relaxed))
    }

    fn write(&self) -> u64 {
        let guard = self.latch.exclusive();
        assert_eq!(guard.version() % 2, 1, "L2");
        self.bump();
        1
    }

    fn try_write(&self) -> u64 {
        match self.latch.try_exclusive() {
            Some(_guard) => {
                self.bump();
                1
            }
            None => 0,
        }
    }

    fn read_shared(&self) -> u64 {
        let guard = self.latch.shared();
        let version = guard.version();
        let (a, b) = self.get();
        assert_eq!(a, b, "a shared holder met a writer");
        assert_eq!(version % 2, 0, "L2");
        assert_eq!(guard.version(), version, "L3: somebody wrote under a shared latch");
        0
    }

    fn try_read_shared(&self) -> u64 {
        if let Some(_guard) = self.latch.try_shared() {
            let (a, b) = self.get();
            assert_eq!(a, b, "a shared holder met a writer");
        }
        0
    }

    fn check(&self, guard: &OptimisticGuard<'_>) -> Option<u64> {
        let (a, b) = self.get();
        guard.validate().ok()?;
        assert_eq!(a, b, "L4: a validated optimistic read saw a torn pair");
        assert_eq!(guard.version(), a * 2, "L1: the version counts the writers");
        Some(a)
    }

    fn read_optimistic(&self) -> u64 {
        if let Ok(guard) = self.latch.try_optimistic() {
            self.check(&guard);
        }
        0
    }

    fn read_waiting(&self) -> u64 {
        let guard = self.latch.optimistic();
        self.check(&guard);
        0
    }

    fn upgrade(&self) -> u64 {
        let Ok(guard) = self.latch.try_optimistic() else { return 0 };
        let (a, b) = self.get();
        match guard.try_upgrade() {
            Ok(_held) => {
                assert_eq!(a, b, "L4: an upgrade kept a torn read");
                assert_eq!(self.get(), (a, b), "an upgrade let a writer in between");
                self.bump();
                1
            }
            Err(_) => 0,
        }
    }

    fn upgrade_to_shared(&self) -> u64 {
        let Ok(guard) = self.latch.try_optimistic() else { return 0 };
        let (a, b) = self.get();
        if let Ok(_held) = guard.try_upgrade_shared() {
            assert_eq!(a, b, "L4: an upgrade kept a torn read");
            assert_eq!(self.get(), (a, b), "an upgrade let a writer in between");
        }
        0
    }

    fn upgrade_from_shared(&self) -> u64 {
        let Some(guard) = self.latch.try_shared() else { return 0 };
        let before = self.get();
        match guard.try_upgrade() {
            Ok(_held) => {
                assert_eq!(self.get(), before, "an upgrade let a writer in between");
                self.bump();
                1
            }
            Err(_) => 0,
        }
    }

    fn release(&self) -> u64 {
        let guard = self.latch.exclusive();
        self.bump();
        let after = guard.release();
        self.check(&after);
        1
    }
}

impl Pair {
    fn downgrade(&self) -> u64 {
        let guard = self.latch.exclusive();
        self.bump();
        let (now, after) = (self.get(), guard.version_at_unlock());
        let shared = guard.downgrade();
        assert_eq!(shared.version(), after, "L1, L2");
        assert_eq!(self.get(), now, "a writer came in between exclusive and shared");
        1
    }
}

type Act = fn(&Pair) -> u64;

const ACTS: &[(&str, Act)] = &[
    ("exclusive", Pair::write),
    ("try exclusive", Pair::try_write),
    ("shared", Pair::read_shared),
    ("try shared", Pair::try_read_shared),
    ("optimistic", Pair::read_optimistic),
    ("optimistic, waiting", Pair::read_waiting),
    ("optimistic to exclusive", Pair::upgrade),
    ("optimistic to shared", Pair::upgrade_to_shared),
    ("shared to exclusive", Pair::upgrade_from_shared),
    ("exclusive to optimistic", Pair::release),
    ("exclusive to shared", Pair::downgrade),
];

fn run(acts: Vec<Act>, bound: Option<usize>) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(move || {
        let pair = Pair::new();
        let threads: Vec<_> = acts[1..]
            .iter()
            .map(|&act| {
                let pair = pair.clone();
                thread::spawn(move || act(&pair))
            })
            .collect();
        let mut writes = acts[0](&pair);
        for thread in threads {
            writes += thread.join().unwrap();
        }
        assert_eq!(pair.get(), (writes, writes), "a write was lost");
        assert_eq!(pair.latch.version(), writes * 2, "L1, L2");
    });
}

#[test]
fn each_pair_of_modes_and_upgrades() {
    for (i, &(name, first)) in ACTS.iter().enumerate() {
        for &(other, second) in &ACTS[i..] {
            println!("{name} / {other}");
            run(vec![first, second], None);
        }
    }
}

#[test]
fn a_reader_against_two_writers() {
    let readers: [Act; 5] =
        [Pair::read_optimistic, Pair::read_shared, Pair::upgrade, Pair::upgrade_to_shared, Pair::upgrade_from_shared];
    for reader in readers {
        // In both places: a bounded search is not symmetric, and misses with a reader on the first thread what it finds
        // with one on the last.
        run(vec![reader, Pair::write, Pair::write], Some(3));
        run(vec![Pair::write, Pair::write, reader], Some(3));
        run(vec![reader, Pair::write, Pair::upgrade], Some(3));
        run(vec![Pair::upgrade, Pair::write, reader], Some(3));
    }
}

#[test]
fn two_readers_against_a_writer() {
    let readers: [Act; 4] =
        [Pair::read_optimistic, Pair::read_shared, Pair::upgrade_to_shared, Pair::upgrade_from_shared];
    for (i, &first) in readers.iter().enumerate() {
        for &second in &readers[i..] {
            run(vec![first, second, Pair::write], Some(3));
        }
    }
}
