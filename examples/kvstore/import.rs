//! `import`: lines are applied in order by one thread while another makes them durable and says so.
//!
//! A line is applied without waiting for the disk; the syncing thread reads how many lines are applied, calls
//! `Store::sync`, and prints `durable N` for that number. The log is a prefix of what was applied, so after a crash the
//! store holds a prefix of the input that contains every line so acknowledged.

use super::{Failure, lines};
use pagebox::{Error, Store, Tree};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// At least so long between two syncs: one is about 0.1 ms, and a reader of the acknowledgements needs no more of them.
const SYNC_EVERY: Duration = Duration::from_millis(10);
/// Between two lines of progress on a terminal, and elsewhere.
const PROGRESS_EVERY: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

/// What the two threads share.
#[derive(Default)]
struct Shared {
    /// Lines applied.
    applied: AtomicU64,
    /// Lines durable and printed.
    durable: AtomicU64,
    /// Nothing more will be applied, or the syncing failed: both threads end.
    over: AtomicBool,
}

/// Applies `input` to `tree`; returns how many lines are durable.
pub fn import(store: &Store, tree: &Tree, input: impl BufRead) -> Result<u64, Failure> {
    let shared = Shared::default();
    let (applied, synced) = std::thread::scope(|scope| {
        let syncing = scope.spawn(|| {
            let out = acknowledge(store, &shared);
            shared.over.store(true, Ordering::Relaxed);
            out
        });
        let applied = apply(tree, input, &shared);
        shared.over.store(true, Ordering::Relaxed);
        syncing.thread().unpark();
        let synced = syncing.join().unwrap_or_else(|_| Err(Failure::other("the syncing thread panicked")));
        (applied, synced)
    });
    synced?;
    // What the last lines of the input did is made durable also when a later line was bad.
    store.sync()?;
    let total = shared.applied.load(Ordering::Relaxed);
    if total != shared.durable.load(Ordering::Relaxed) || total == 0 {
        print_durable(total);
    }
    match applied {
        Ok(()) => Ok(total),
        Err(failure) => Err(failure.with_note(format!("{total} lines before it are applied and durable"))),
    }
}

/// Reads, parses and applies lines until the input ends or one of them fails.
fn apply(tree: &Tree, mut input: impl BufRead, shared: &Shared) -> Result<(), Failure> {
    let (mut line, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0;
    let mut progress = Progress::new();
    loop {
        line.clear();
        number += 1;
        if shared.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        if input.read_until(b'\n', &mut line).map_err(|e| Failure::other(format!("line {number}: {e}")))? == 0 {
            progress.finish(number - 1);
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        lines::parse(&line, &mut key, &mut value).map_err(|bad| Failure::bad_input(format!("line {number}: {bad}")))?;
        tree.insert(&key, &value).map_err(|error| match error {
            Error::KeyTooLarge { .. } | Error::ValueTooLarge { .. } => {
                Failure::bad_input(format!("line {number}: {error}"))
            }
            other => Failure::other(format!("line {number}: {other}")),
        })?;
        // Release: pairs with the Acquire in `acknowledge`, so that its sync comes after this insert.
        shared.applied.store(number, Ordering::Release);
        progress.at(number, shared);
    }
}

/// Syncs and prints until everything is over.
fn acknowledge(store: &Store, shared: &Shared) -> Result<(), Failure> {
    while !shared.over.load(Ordering::Relaxed) {
        std::thread::park_timeout(SYNC_EVERY);
        // Acquire: pairs with the Release in `apply`.
        let applied = shared.applied.load(Ordering::Acquire);
        if applied > shared.durable.load(Ordering::Relaxed) {
            store.sync()?;
            shared.durable.store(applied, Ordering::Relaxed);
            print_durable(applied);
        }
    }
    Ok(())
}

/// The acknowledgement. Who closed our standard output does not want it; the import goes on.
fn print_durable(lines: u64) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "durable {lines}").and_then(|()| out.flush());
}

/// Lines and rate on standard error.
struct Progress {
    began: Instant,
    printed: Instant,
    /// The count and time at the last print, for the current rate.
    last: u64,
    terminal: bool,
}

impl Progress {
    fn new() -> Progress {
        let now = Instant::now();
        Progress { began: now, printed: now, last: 0, terminal: std::io::stderr().is_terminal() }
    }

    fn at(&mut self, lines: u64, shared: &Shared) {
        // Looking at the clock costs as much as a tenth of an insert; 256 lines take about a millisecond.
        if !lines.is_multiple_of(256) || self.printed.elapsed() < PROGRESS_EVERY[usize::from(!self.terminal)] {
            return;
        }
        let rate = (lines - self.last) as f64 / self.printed.elapsed().as_secs_f64();
        let end = if self.terminal { "\x1b[K\r" } else { "\n" };
        eprint!("{lines} lines, {} durable, {rate:.0} lines/s{end}", shared.durable.load(Ordering::Relaxed));
        self.printed = Instant::now();
        self.last = lines;
    }

    fn finish(&self, lines: u64) {
        let seconds = self.began.elapsed().as_secs_f64();
        let clear = if self.terminal { "\x1b[K" } else { "" };
        eprintln!("{clear}{lines} lines in {seconds:.1} s, {:.0} lines/s", lines as f64 / seconds.max(1e-9));
    }
}
