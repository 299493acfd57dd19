//! The crash campaign at length, on the simulated disk: workloads, crash states of each, crashes of the recovery and of
//! second lives.
//!
//! ```text
//! cargo run --release --features sim --example crashtest -- --states 100000 --seed 1
//! ```
//!
//! A violation names its workload and state; `--seed`, `--steps`, `--workload` and `--state` with the same numbers repeat
//! it.

#[path = "../tests/support/mod.rs"]
mod support;

use clap::Parser;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::crash::{Counts, Limits, Plan, run};

/// Crashes stores on a simulated disk and checks what comes back.
#[derive(Parser)]
#[command(name = "crashtest")]
struct Cli {
    /// How many crash states to judge
    #[arg(long, default_value_t = 100_000)]
    states: u64,
    /// Decides everything
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of a workload, about
    #[arg(long, default_value_t = 400)]
    steps: u64,
    /// Crash states taken of one workload
    #[arg(long, default_value_t = 60)]
    per_workload: u64,
    /// This workload only
    #[arg(long)]
    workload: Option<u64>,
    /// This state of the workload only
    #[arg(long, requires = "workload")]
    state: Option<u64>,
    /// Threads that run workloads at the same time
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

struct Shared {
    next: AtomicU64,
    counts: Mutex<Counts>,
    violation: Mutex<Option<String>>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let limits = [Limits::ask(4096), Limits::ask(16384)];
    println!("seed {}, {limits:?}", cli.seed);
    let first = cli.workload.unwrap_or(0);
    let shared = Shared { next: AtomicU64::new(first), counts: Mutex::default(), violation: Mutex::default() };
    let began = Instant::now();
    // A panic is reported as a violation with its seed; where it happened is still worth a line.
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..cli.jobs.max(1)).map(|_| scope.spawn(|| work(&cli, &limits, &shared))).collect();
        let pause = if std::io::stdout().is_terminal() { Duration::from_secs(1) } else { Duration::from_secs(20) };
        let mut printed = Instant::now();
        while !jobs.iter().all(|job| job.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if printed.elapsed() > pause {
                printed = Instant::now();
                let counts = shared.counts.lock().map(|c| (c.states(), c.workloads)).unwrap_or_default();
                let seconds = began.elapsed().as_secs_f64();
                println!(
                    "{} states of {} workloads in {seconds:.0} s, {:.0}/s",
                    counts.0,
                    counts.1,
                    counts.0 as f64 / seconds
                );
                let _ = std::io::stdout().flush();
            }
        }
    });
    let counts = shared.counts.into_inner().unwrap_or_else(|e| e.into_inner());
    println!("{counts:#?}\n{} states in {:.0} s", counts.states(), began.elapsed().as_secs_f64());
    match shared.violation.into_inner().unwrap_or_else(|e| e.into_inner()) {
        None => {
            println!("no violation");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn work(cli: &Cli, limits: &[Limits], shared: &Shared) {
    loop {
        let workload = shared.next.fetch_add(1, Ordering::Relaxed);
        let done = shared.counts.lock().is_ok_and(|counts| counts.states() >= cli.states)
            || shared.violation.lock().is_ok_and(|violation| violation.is_some())
            || cli.workload.is_some_and(|only| workload > only);
        if done {
            return;
        }
        let (seed, steps) = (cli.seed, cli.steps);
        let plan = Plan { seed, workload, steps, states: cli.per_workload, only: cli.state };
        match run(&plan, limits) {
            Ok(more) => shared.counts.lock().unwrap_or_else(|e| e.into_inner()).add(&more),
            Err(error) => {
                let mut violation = shared.violation.lock().unwrap_or_else(|e| e.into_inner());
                violation.get_or_insert(format!("--steps {steps} --workload {workload}\n{error}"));
                return;
            }
        }
    }
}
