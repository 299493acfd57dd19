//! The command line.

use crate::engine::{self, Entry};
use crate::lab::{Lab, Params, Spec};
use crate::parent::{self, Plan};
use crate::record::{Message, Note, Run};
use crate::suite::Suite;
use crate::{report, table, workload};
use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

/// Races pagebox against the engines people would pick instead: alternating rounds, every answer verified, figures as
/// medians and as ratios to the best peer of the same run.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// All workloads, scaled down, in a few minutes; ends with the table
    Quick(Common),
    /// All workloads at full size; can be interrupted and goes on where it was; ends with the table and docs/benchmarks.md
    Full(FullArgs),
    /// Chosen workloads, sizes, threads and engines
    Run(RunArgs),
    /// docs/benchmarks.md and its pictures from saved runs, without running anything
    Report(ReportArgs),
    /// The engines of this build and the workloads
    List,
    /// One engine's turn, in a process of its own (used by the others)
    #[command(hide = true)]
    Child {
        /// What to do, as JSON.
        spec: String,
    },
}

#[derive(Args)]
struct Common {
    /// Only these engines (comma-separated); see `list`
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// All but these engines
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Only these workloads or groups of workloads; see `list`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each workload
    #[arg(long)]
    rounds: Option<u32>,
    /// Directory of the run's results; what is there already is not run again
    #[arg(long)]
    out: Option<PathBuf>,
    /// Forget what the directory has
    #[arg(long)]
    fresh: bool,
    /// Directory for the engines' data; removed afterwards. Choose the disk to be measured
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Seconds that one engine's turn (one group of workloads, one round) may take
    #[arg(long)]
    limit: Option<u64>,
    /// Minutes after which no further turn begins; run the same command again to go on
    #[arg(long)]
    within: Option<u64>,
}

#[derive(Args)]
struct FullArgs {
    #[command(flatten)]
    common: Common,
    /// Where to write benchmarks.md and the directory of its pictures
    #[arg(long)]
    docs: Option<PathBuf>,
}

#[derive(Args)]
struct RunArgs {
    /// Workloads or groups (comma-separated); see `list`
    #[arg(long, value_delimiter = ',', required = true)]
    workload: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Begin with the sizes of the quick suite instead of the full one's
    #[arg(long)]
    small: bool,
    /// Records in the store
    #[arg(long)]
    records: Option<u64>,
    /// Bytes of a value
    #[arg(long)]
    value_len: Option<usize>,
    /// Numbers of threads (comma-separated)
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Seconds of a measurement that goes by time
    #[arg(long)]
    seconds: Option<f64>,
    /// Memory of each engine in MiB
    #[arg(long)]
    cache_mib: Option<u64>,
}

#[derive(Args)]
struct ReportArgs {
    /// Directories of saved runs; read as one
    #[arg(long, value_delimiter = ',')]
    from: Vec<PathBuf>,
    /// Where to write benchmarks.md and the directory of its pictures
    #[arg(long)]
    docs: Option<PathBuf>,
}

/// This package's directory.
fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn docs(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| home().join("../../docs"))
}

/// Runs the program.
pub fn main() -> Outcome {
    match Cli::parse().command {
        Subcommands::Quick(common) => {
            let pieces = Suite::Quick.pieces();
            race(&common, pieces, &home().join("target/runs/quick"), Suite::Quick.rounds(), true, 120).map(|_| ())
        }
        Subcommands::Full(args) => {
            let (pieces, rounds) = (Suite::Full.pieces(), Suite::Full.rounds());
            let run = race(&args.common, pieces, &home().join("saved/full"), rounds, false, 1200)?;
            report::write(&run, &docs(args.docs))
        }
        Subcommands::Run(args) => run(args),
        Subcommands::Report(args) => {
            let from = if args.from.is_empty() { vec![home().join("saved/full")] } else { args.from };
            report::write(&Run::merged(&from)?, &docs(args.docs))
        }
        Subcommands::List => {
            list();
            Ok(())
        }
        Subcommands::Child { spec } => child(&spec),
    }
}

fn run(args: RunArgs) -> Outcome {
    let suite = if args.small { Suite::Quick } else { Suite::Full };
    let mut pieces = suite.pieces();
    for piece in &mut pieces {
        if args.records.is_some() {
            // Two pieces of one group would now be alike.
            piece.suffix.clear();
        }
        piece.records = args.records.unwrap_or(piece.records);
        piece.data.value_len = args.value_len.unwrap_or(piece.data.value_len);
        piece.seconds = args.seconds.unwrap_or(piece.seconds);
        piece.cache_mib = args.cache_mib.unwrap_or(piece.cache_mib);
        if !args.threads.is_empty() {
            piece.threads.clone_from(&args.threads);
        }
    }
    if args.records.is_some() {
        pieces.dedup_by(|a, b| a.group == b.group);
    }
    let mut common = args.common;
    common.only.extend(args.workload);
    race(&common, pieces, &home().join("target/runs/run"), suite.rounds(), true, 1200).map(|_| ())
}

fn chosen(common: &Common) -> Result<Vec<&'static Entry>, Box<dyn Error>> {
    for name in common.engines.iter().chain(&common.without) {
        if engine::find(name).is_none() {
            return Err(format!("this build has no engine {name}; it has {}", engine::names()).into());
        }
    }
    let wanted = |entry: &&Entry| {
        let is = |name: &String| name == entry.name;
        (common.engines.is_empty() || common.engines.iter().any(is)) && !common.without.iter().any(is)
    };
    Ok(engine::ENGINES.iter().filter(wanted).collect())
}

/// Runs the pieces and prints the tables.
fn race(
    common: &Common,
    pieces: Vec<Params>,
    out: &Path,
    rounds: u32,
    fresh: bool,
    limit: u64,
) -> Result<Run, Box<dyn Error>> {
    let mut chosen_pieces = Vec::new();
    for mut piece in pieces {
        let group = workload::find(&piece.group).ok_or("a suite with an unknown group")?;
        if let Some(only) = group.wanted(&piece.suffix, &common.only) {
            piece.only = only;
            chosen_pieces.push(piece);
        }
    }
    if chosen_pieces.is_empty() {
        return Err(format!("no such workload: {}; see `list`", common.only.join(", ")).into());
    }
    let mut run = Run::open(common.out.as_deref().unwrap_or(out))?;
    if common.fresh || (fresh && common.out.is_none()) {
        run.clear()?;
    }
    let data_dir = match &common.data_dir {
        Some(dir) => dir.clone(),
        None => {
            forget_dead(&home().join("target"))?;
            home().join(format!("target/data-{}", std::process::id()))
        }
    };
    let plan = Plan {
        pieces: chosen_pieces,
        engines: chosen(common)?,
        rounds: common.rounds.unwrap_or(rounds).max(1),
        data_dir,
        limit: Duration::from_secs(common.limit.unwrap_or(limit)),
        within: common.within.map(|minutes| Duration::from_secs(minutes * 60)),
    };
    let result = parent::race(&mut run, &plan);
    if common.data_dir.is_none() && plan.data_dir.exists() {
        std::fs::remove_dir_all(&plan.data_dir)?;
    }
    result?;
    table::print(&run);
    Ok(run)
}

/// Removes the data of runs that were interrupted.
fn forget_dead(target: &Path) -> std::io::Result<()> {
    let Ok(entries) = std::fs::read_dir(target) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("data-")?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn list() {
    println!("Engines of this build:");
    for entry in engine::ENGINES {
        let version = engine::version(entry.package).unwrap_or("");
        println!("  {:<10} {:<9} {:?}", entry.name, version, entry.kind);
    }
    println!("\nWorkloads:");
    for group in workload::GROUPS {
        println!("  {}: {}", group.name, group.about);
        for row in group.rows {
            println!("    {row}");
        }
    }
}

/// One engine's turn.
fn child(spec: &str) -> Outcome {
    // SAFETY: a plain call; the child is to end when its parent does.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let spec: Spec = serde_json::from_str(spec)?;
    let entry = engine::find(&spec.engine).ok_or("no such engine")?;
    let lab = Lab { spec, entry };
    if lab.p().only.iter().any(|name| name == "victim") {
        return workload::victim(&lab).map_err(|e| e.to_string().into());
    }
    let group = workload::find(&lab.p().group).ok_or("no such group")?;
    match (group.run)(&lab) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e, engine::Fail::Unsupported(_)) => {
            let (workload, engine) = (format!("{}{}", group.name, lab.p().suffix), entry.name.to_owned());
            let why = e.to_string();
            let note = Note::Missing { workload, engine, threads: 0, round: lab.spec.round, failed: false, why };
            lab.tell(&Message::Note(note));
            Ok(())
        }
        Err(e) => Err(e.to_string().into()),
    }
}
