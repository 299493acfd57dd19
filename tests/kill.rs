//! SIGKILL: what was acknowledged is there in the next life. The short run of `examples/killtest.rs`, and the cases that
//! have bitten others. No test harness: the same binary is the child that is killed.

mod support;

use pagebox::{Result, Store};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::budget::smallest_on_files;
use support::kill::{Life, child};
use support::killer::{Plan, campaign};

/// The campaign's time in `cargo test`.
const TIME: Duration = Duration::from_secs(12);
/// The time of the one with transfers.
const TRANSFERS_TIME: Duration = Duration::from_secs(6);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--child", ..] => {
            let Some(life) = Life::from_args(&args[1..]) else { return ExitCode::from(2) };
            return if child(&life).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        ["--put", which, dir] => {
            let outcome = put(which, Path::new(dir));
            eprintln!("the child ends by itself: {outcome:?}");
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    if args.iter().any(|arg| arg == "--list") {
        println!(
            "kill_fresh_store: test\nkill_after_splits: test\nkill_after_reopen: test\nkill_campaign: test\nkill_transfers: test"
        );
        return ExitCode::SUCCESS;
    }
    // A filter, as the usual harness has it: `cargo test --test kill campaign`.
    let wanted = |name: &str| args.iter().all(|arg| arg.starts_with('-') || name.contains(arg.as_str()));
    let mut failed = false;
    for (name, which) in
        [("kill_fresh_store", "fresh"), ("kill_after_splits", "splits"), ("kill_after_reopen", "reopen")]
    {
        failed |= wanted(name) && !report(name, one_put(which));
    }
    failed |= wanted("kill_campaign") && !report("kill_campaign", short_campaign(TIME, false));
    failed |= wanted("kill_transfers") && !report("kill_transfers", short_campaign(TRANSFERS_TIME, true));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn report(name: &str, outcome: Result<String, String>) -> bool {
    match &outcome {
        Ok(note) => println!("test {name} ... ok ({note})"),
        Err(error) => println!("test {name} ... FAILED\n    {error}"),
    }
    outcome.is_ok()
}

fn this_binary() -> Result<Command, String> {
    std::env::current_exe().map(Command::new).map_err(|e| e.to_string())
}

fn short_campaign(time: Duration, transfers: bool) -> Result<String, String> {
    let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
    let floor = smallest_on_files(&Store::options().page_size(4096));
    let plan = Plan {
        seed: 20_240_229,
        kills: u64::MAX,
        until: Some(Instant::now() + time),
        floors: vec![(4096, floor)],
        lives_per_store: 16,
        transfers,
    };
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let command = |life: &Life| {
        let mut command = Command::new(&exe);
        command.args(life.to_args());
        command
    };
    let outcome = campaign(&plan, scratch.path(), command, |_| {});
    if outcome.is_err() {
        let _ = scratch.keep();
    }
    let counts = outcome?;
    if counts.verified == 0 || counts.acknowledged == 0 {
        return Err(format!("the campaign did nothing: {counts:?}"));
    }
    Ok(format!("{counts:?}"))
}

// ---- one put, then the kill ----------------------------------------------------------------------------------------

/// How many records the child with the splits writes: a tree of three levels.
const MANY: u32 = 20_000;

/// The child: says `+` once its last put is acknowledged, and waits for its end.
fn put(which: &str, dir: &Path) -> Result<()> {
    // No checkpoint of its own accord: the log has room for everything.
    let open = || Store::options().page_size(4096).max_log_bytes(1 << 30).open(dir);
    let mut store = open()?;
    if which == "reopen" {
        store.tree("t")?.insert("before", "closed")?;
        store.close()?;
        store = open()?;
    }
    let tree = store.tree("t")?;
    if which == "splits" {
        let mut batch = pagebox::Batch::new();
        for n in 0..MANY {
            batch.insert(&tree, record(n).0, record(n).1);
            if batch.len() == 100 {
                store.apply(&batch)?;
                batch.clear();
            }
        }
        store.apply(&batch)?;
    }
    tree.insert("hello", "world")?;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(b"+").and_then(|()| out.flush());
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn record(n: u32) -> (Vec<u8>, Vec<u8>) {
    let key = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
    ([b"key ".as_slice(), &key].concat(), format!("value {n} {n} {n}").into_bytes())
}

/// The parent: kills the child after its acknowledgement and looks for what it wrote, twice.
fn one_put(which: &str) -> Result<String, String> {
    let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
    let dir = scratch.path().join("store");
    let mut command = this_binary()?;
    let mut child =
        command.args(["--put", which]).arg(&dir).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let mut said = [0];
    let mut pipe = child.stdout.take().ok_or("no standard output")?;
    let heard = pipe.read_exact(&mut said);
    child.kill().map_err(|e| e.to_string())?;
    child.wait().map_err(|e| e.to_string())?;
    heard.map_err(|e| format!("no acknowledgement: {e}"))?;
    let look = || -> Result<()> {
        let store = Store::options().create(false).open(&dir)?;
        store.check()?;
        let tree = store.tree("t")?;
        assert_eq!(tree.get("hello")?.as_deref(), Some(b"world".as_slice()));
        if which == "reopen" {
            assert_eq!(tree.get("before")?.as_deref(), Some(b"closed".as_slice()));
        }
        let many = if which == "splits" { MANY } else { 0 };
        for n in 0..many {
            assert_eq!(tree.get(record(n).0)?, Some(record(n).1), "record {n}");
        }
        assert_eq!(tree.len()?, u64::from(many) + if which == "reopen" { 2 } else { 1 });
        Ok(())
    };
    look().and_then(|()| look()).map_err(|e| e.to_string())?;
    Ok("found twice".to_owned())
}
