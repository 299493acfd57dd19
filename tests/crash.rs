//! Simulated crashes: the short run of `examples/crashtest.rs`. Every state that the disk's model allows after a crash must
//! be recovered to acknowledged ⊆ recovered ⊆ issued, in the order of issue, with `check()` clean.

#![cfg(all(feature = "btree", feature = "sim"))]

mod support;

use std::time::{Duration, Instant};
use support::crash::{Counts, Limits, Plan, run};

/// The time of the campaign in `cargo test`.
const TIME: Duration = Duration::from_secs(16);

#[test]
fn crash_campaign() {
    let limits = [Limits::ask(4096), Limits::ask(16384)];
    let until = Instant::now() + TIME;
    let mut counts = Counts::default();
    for workload in 0.. {
        if Instant::now() > until {
            break;
        }
        let plan = Plan { seed: 1, workload, steps: 250, states: 24, only: None };
        match run(&plan, &limits) {
            Ok(more) => counts.add(&more),
            Err(error) => panic!(
                "VIOLATION, repeat it with: cargo run --release --features sim --example crashtest -- --seed 1 --steps 250 \
                 --workload {workload}\n{error}"
            ),
        }
    }
    println!("{} states: {counts:#?}", counts.states());
    assert!(counts.states() > 50, "too few states to mean anything: {counts:?}");
}

#[test]
fn a_seed_decides_everything() {
    let limits = [Limits::ask(4096)];
    for workload in 0..3 {
        let plan = Plan { seed: 3, workload, steps: 120, states: 6, only: None };
        let counts = [0, 1].map(|_| run(&plan, &limits).map(|counts| format!("{counts:?}")));
        assert_eq!(counts[0], counts[1], "workload {workload} went another way the second time");
    }
}
