//! One operation in a loop, for profilers: `benches/profile.sh` draws flame graphs and counts instructions with it.

use clap::{Parser, ValueEnum};
use pagebox::{Durability, Result, Store, Tree};
use std::time::Instant;

/// Loads a store, then does one thing over and over in a function whose name begins with `measured_`.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// What to do
    operation: Operation,
    /// Records of 24 + 150 bytes loaded before
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How often it is done
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Where the store is made
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    /// Reads of random keys that are there
    Get,
    /// Inserts of new keys, in random order, not waiting for the disk
    Insert,
    /// Durable updates, one at a time
    Commit,
}

fn mix(mut n: u64) -> u64 {
    n = (n ^ n >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    n = (n ^ n >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ n >> 33
}

fn key(n: u64) -> [u8; 24] {
    let mut key = [0; 24];
    for (i, word) in (1..).zip(key.chunks_exact_mut(8)) {
        word.copy_from_slice(&mix(n ^ mix(i)).to_be_bytes());
    }
    key
}

#[inline(never)]
fn measured_gets(tree: &Tree, records: u64, operations: u64) -> Result<()> {
    let mut out = Vec::new();
    for n in 0..operations {
        assert!(tree.get_into(key(mix(n) % records), &mut out)?);
    }
    Ok(())
}

#[inline(never)]
fn measured_inserts(tree: &Tree, records: u64, operations: u64) -> Result<()> {
    for n in records..records + operations {
        tree.insert(key(n), [2; 150])?;
    }
    Ok(())
}

#[inline(never)]
fn measured_commits(tree: &Tree, records: u64, operations: u64) -> Result<()> {
    for n in 0..operations {
        tree.insert(key(mix(n) % records), [3; 150])?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let scratch = tempfile::tempdir().expect("a directory for the store");
    let dir = args.dir.unwrap_or_else(|| scratch.path().join("store"));
    let options = Store::options().memory(4 << 30).max_log_bytes(4 << 30).durability(Durability::Manual);
    let mut store = options.clone().open(&dir)?;
    let mut tree = store.tree("records")?;
    for n in 0..args.records {
        tree.insert(key(n), [1; 150])?;
    }
    store.checkpoint()?;
    if matches!(args.operation, Operation::Commit) {
        drop(tree);
        store.close()?;
        store = options.durability(Durability::Sync).open(&dir)?;
        tree = store.tree("records")?;
        // Into memory, which the closing gave up.
        tree.scan(.., |_, _| std::ops::ControlFlow::Continue(()))?;
    }
    let began = Instant::now();
    match args.operation {
        Operation::Get => measured_gets(&tree, args.records, args.operations)?,
        Operation::Insert => measured_inserts(&tree, args.records, args.operations)?,
        Operation::Commit => measured_commits(&tree, args.records, args.operations)?,
    }
    let each = began.elapsed().as_nanos() as f64 / args.operations as f64;
    println!("{each:.0} ns each");
    Ok(())
}
