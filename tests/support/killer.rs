//! Starts the children of the kill campaign, kills them, and passes what they said to the oracle.

use super::kill::{Expectation, Heard, Life, Listener, draw_life};
use super::rng::Rng;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A child has so long to open, check and report; longer is a hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a campaign has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub kills: u64,
    /// Kills before the child had recovered and reported everything.
    pub during_recovery: u64,
    /// States that were recovered and judged.
    pub verified: u64,
    pub acknowledged: u64,
    pub stores: u64,
    /// The greatest number of records a recovered state held.
    pub records: usize,
}

/// How long a campaign goes on, and with what.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub kills: u64,
    /// Ends the campaign early.
    pub until: Option<Instant>,
    /// Legal budgets by page size: (page size, floor).
    pub floors: Vec<(usize, usize)>,
    /// Lives on one store before a fresh one is begun.
    pub lives_per_store: u64,
    /// Moves money instead of writing all sorts of records.
    pub transfers: bool,
}

/// Runs a campaign in a scratch directory; `child` makes the command that lives a life. The directory of the store that
/// failed is kept, and named in the error.
pub fn campaign(
    plan: &Plan,
    scratch: &Path,
    child: impl Fn(&Life) -> Command,
    mut progress: impl FnMut(&Counts),
) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut rng = Rng::of(plan.seed, &[1]);
    let over = |counts: &Counts| counts.kills >= plan.kills || plan.until.is_some_and(|until| Instant::now() > until);
    while !over(&counts) {
        let dir = scratch.join(format!("store-{}", counts.stores));
        let seed = plan.seed.wrapping_add(counts.stores);
        counts.stores += 1;
        let mut expected = Expectation::default();
        for number in 0..plan.lives_per_store {
            // The last life of a store, and of the campaign, must be judged as well: it recovers and is then killed.
            let last = number + 1 == plan.lives_per_store || over(&counts);
            let life = draw_life(seed, number, &dir, &plan.floors, plan.transfers);
            let when = if last { Moment::Reported } else { Moment::draw(&mut rng) };
            let outcome =
                one_life(child(&life), when).and_then(|heard| judge(&mut counts, &mut expected, &life, heard));
            outcome.map_err(|e| format!("seed {seed}, life {number}, store kept at {}: {e}", dir.display()))?;
            progress(&counts);
            if last {
                break;
            }
        }
        std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
    }
    Ok(counts)
}

fn judge(counts: &mut Counts, expected: &mut Expectation, life: &Life, heard: Heard) -> Result<(), String> {
    if let Some(error) = &heard.error {
        return Err(error.clone());
    }
    counts.kills += 1;
    counts.acknowledged += heard.acknowledged();
    if heard.recovered.is_some() {
        counts.verified += 1
    } else {
        counts.during_recovery += 1
    }
    expected.meet(life, heard)?;
    counts.records = counts.records.max(expected.records());
    Ok(())
}

/// When a child is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start, wherever it is by then.
    AfterStart(Duration),
    /// So long after it has begun to write.
    AfterReport(Duration),
    /// As soon as it has reported.
    Reported,
}

impl Moment {
    fn draw(rng: &mut Rng) -> Moment {
        match rng.below(10) {
            0 | 1 => Moment::AfterStart(Duration::from_micros(rng.below(30_000))),
            2 => Moment::AfterReport(Duration::from_micros(rng.below(2_000))),
            _ => Moment::AfterReport(Duration::from_micros(rng.below(150_000))),
        }
    }
}

/// Starts a child, kills it at its moment, and returns what it said.
fn one_life(mut command: Command, when: Moment) -> Result<Heard, String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| format!("spawn: {e}"))?;
    let mut pipe = child.stdout.take().ok_or("the child has no standard output")?;
    let (send, receive) = channel();
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            if send.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut listener = Listener::default();
    let listened = match when {
        Moment::AfterStart(delay) => listen_for(&mut listener, &receive, delay),
        Moment::AfterReport(delay) => {
            listen_until_report(&mut listener, &receive).and_then(|()| listen_for(&mut listener, &receive, delay))
        }
        Moment::Reported => listen_until_report(&mut listener, &receive),
    };
    kill(&mut child)?;
    listened?;
    reading.join().map_err(|_| "the reader panicked".to_owned())?;
    receive.try_iter().try_for_each(|bytes| listener.feed(&bytes))?;
    Ok(listener.heard)
}

/// SIGKILL, and the end of it.
fn kill(child: &mut Child) -> Result<(), String> {
    child.kill().map_err(|e| format!("kill: {e}"))?;
    child.wait().map_err(|e| format!("wait: {e}"))?;
    Ok(())
}

fn listen_for(listener: &mut Listener, receive: &Receiver<Vec<u8>>, time: Duration) -> Result<(), String> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match receive.recv_timeout(left) {
            Ok(bytes) => listener.feed(&bytes)?,
            Err(_) => break,
        }
    }
    Ok(())
}

fn listen_until_report(listener: &mut Listener, receive: &Receiver<Vec<u8>>) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while listener.heard.recovered.is_none() && listener.heard.error.is_none() {
        let left = until.saturating_duration_since(Instant::now());
        match receive.recv_timeout(left) {
            Ok(bytes) => listener.feed(&bytes)?,
            Err(_) if left.is_zero() => return Err(format!("the child hangs: no report within {PATIENCE:?}")),
            Err(_) => return Err("the child ended by itself without a report".to_owned()),
        }
    }
    Ok(())
}
