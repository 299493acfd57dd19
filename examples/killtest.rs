//! The kill campaign at length: a child process writes with four threads, is killed with SIGKILL at random moments, and
//! whatever the next life recovers is judged against the acknowledgements that this process kept.
//!
//! ```text
//! cargo run --release --example killtest -- --kills 1000
//! cargo run --release --example killtest -- --kills 1000 --transfers
//! ```

#[path = "../tests/support/mod.rs"]
mod support;

use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;
use support::budget::smallest_on_files;
use support::kill::{Life, child};
use support::killer::{Plan, campaign};

/// Kills a writing store many times and checks what comes back.
#[derive(Parser)]
#[command(name = "killtest")]
struct Cli {
    /// How many times to kill
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// Decides operations and moments; the machine's timing has its part too
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lives on one store before a fresh one is begun
    #[arg(long, default_value_t = 40)]
    lives: u64,
    /// Moves money between accounts, by batches with preconditions
    #[arg(long)]
    transfers: bool,
    /// Where the stores are made [default: a new directory under the system's temporary one]
    #[arg(long)]
    scratch: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(life) = args.split_first().filter(|(first, _)| *first == "--child").map(|(_, rest)| rest) {
        let Some(life) = Life::from_args(life) else { return ExitCode::from(2) };
        return if child(&life).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nVIOLATION: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let temporary = tempfile::tempdir().map_err(|e| e.to_string())?;
    let scratch = cli.scratch.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    std::fs::create_dir_all(&scratch).map_err(|e| e.to_string())?;
    let floors = [4096, 16384].map(|size| (size, smallest_on_files(&pagebox::Store::options().page_size(size))));
    let plan = Plan {
        seed: cli.seed,
        kills: cli.kills,
        until: None,
        floors: floors.to_vec(),
        lives_per_store: cli.lives,
        transfers: cli.transfers,
    };
    println!("seed {}, smallest budgets by page size {floors:?}", cli.seed);
    let began = Instant::now();
    let command = |life: &Life| {
        let mut command = Command::new(&exe);
        command.args(life.to_args());
        command
    };
    let outcome = campaign(&plan, &scratch, command, |counts| {
        if counts.kills.is_multiple_of(20) {
            print!("\r{counts:?} {:.0} s", began.elapsed().as_secs_f64());
            let _ = std::io::stdout().flush();
        }
    });
    if outcome.is_err() {
        // The store is evidence.
        let _ = temporary.keep();
    }
    println!("\n{:?}\nno violation", outcome?);
    Ok(())
}
