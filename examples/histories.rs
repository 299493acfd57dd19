//! Linearizability at length: short histories of four threads on stores in the smallest budget, with splits, merges,
//! evictions, batches and compare-and-swaps, each checked for an order that explains every answer.
//!
//! ```text
//! cargo run --release --features sim --example histories -- --histories 100000 --seed 1
//! cargo run --release --features sim --example histories -- --scans 100000
//! ```
//!
//! The second judges scans beside writers instead. A violation names its seed and store. The machine's timing has its part
//! in what happens: `--seed` and `--store` repeat the workload, `--again` repeats it often.

#[path = "../tests/support/mod.rs"]
mod support;

use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::histories::{Counts, floor, run};
use support::scans;
use support::watchdog::Watchdog;

/// Records histories of concurrent operations and checks that each is linearizable.
#[derive(Parser)]
#[command(name = "histories")]
struct Cli {
    /// How many histories to record and check
    #[arg(long, default_value_t = 100_000)]
    histories: u64,
    /// Decides the workloads
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Histories on one store
    #[arg(long, default_value_t = 100)]
    per_store: u64,
    /// This store only
    #[arg(long)]
    store: Option<u64>,
    /// Repeats that store so often
    #[arg(long, requires = "store", default_value_t = 1)]
    again: u64,
    /// Judges so many scans beside writers instead
    #[arg(long)]
    scans: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let floor = floor();
    println!("seed {}, smallest budget {floor} bytes", cli.seed);
    let watchdog = Watchdog::new("histories", Duration::from_secs(120));
    if let Some(rounds) = cli.scans {
        return scan(&cli, rounds, floor, &watchdog);
    }
    let (began, mut printed) = (Instant::now(), Instant::now());
    let mut counts = Counts::default();
    let stores = match cli.store {
        Some(_) => cli.again,
        None => cli.histories.div_ceil(cli.per_store.max(1)),
    };
    for n in 0..stores {
        match run(cli.seed, cli.store.unwrap_or(n), cli.per_store, floor, &watchdog) {
            Ok(more) => counts.add(&more),
            Err(error) => {
                eprintln!("VIOLATION: {error}\nafter {counts:?}");
                return ExitCode::FAILURE;
            }
        }
        if printed.elapsed() > Duration::from_secs(20) || n + 1 == stores {
            printed = Instant::now();
            let seconds = began.elapsed().as_secs_f64();
            println!("seed {}, {} histories in {seconds:.0} s: {counts:?}", cli.seed, counts.histories);
        }
    }
    println!("no violation");
    ExitCode::SUCCESS
}

/// Scans on one store after the other, a thousand on each.
fn scan(cli: &Cli, rounds: u64, floor: usize, watchdog: &Watchdog) -> ExitCode {
    let (began, mut printed, mut done, mut all) = (Instant::now(), Instant::now(), 0, scans::Counts::default());
    for store in 0.. {
        match scans::run(cli.seed.wrapping_add(store), floor, watchdog, |n| n >= 1000) {
            Ok(more) => all.add(&more),
            Err(error) => {
                eprintln!("VIOLATION: --seed {}: {error}\nafter {all:?}", cli.seed.wrapping_add(store));
                return ExitCode::FAILURE;
            }
        }
        done += 1000;
        if printed.elapsed() > Duration::from_secs(20) || done >= rounds {
            printed = Instant::now();
            println!("seed {}, {:.0} s: {all:?}", cli.seed, began.elapsed().as_secs_f64());
        }
        if done >= rounds {
            break;
        }
    }
    println!("no violation");
    ExitCode::SUCCESS
}
