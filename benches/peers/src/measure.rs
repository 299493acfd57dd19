//! The clock: threads that start together, each doing steps until the time or the work is used up, with a histogram of
//! latencies, and what the kernel counted meanwhile.
//!
//! A closed loop: a thread begins a step when its last one ended. Where a step takes microseconds, every one is timed; of
//! faster ones every eighth, so that reading the clock does not become the benchmark. Threads are pinned to nothing.

use crate::engine::{Engine, Fail, Result, Session, View};
use crate::machine;
use hdrhistogram::Histogram;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long, how much, how finely.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Threads.
    pub threads: usize,
    /// At most this long.
    pub time: Duration,
    /// At most this many steps, all threads together.
    pub steps: u64,
    /// Every how many steps one is timed.
    pub sample: u32,
}

impl Pace {
    /// Until the time is up.
    pub fn time(threads: usize, seconds: f64) -> Pace {
        Pace { threads, time: Duration::from_secs_f64(seconds), steps: u64::MAX, sample: 1 }
    }

    /// Until the work is done.
    pub fn steps(threads: usize, steps: u64) -> Pace {
        Pace { threads, time: Duration::MAX, steps, sample: 1 }
    }

    /// But no more than `steps`.
    pub fn at_most(self, steps: u64) -> Pace {
        Pace { steps, ..self }
    }

    /// Fast steps: one in eight is timed.
    pub fn fast(self) -> Pace {
        Pace { sample: 8, ..self }
    }

    /// The steps of thread `thread`.
    fn share(&self, thread: usize) -> u64 {
        if self.steps == u64::MAX {
            return u64::MAX;
        }
        let threads = self.threads as u64;
        self.steps / threads + u64::from((thread as u64) < self.steps % threads)
    }
}

/// What was measured.
pub struct Measured {
    /// Operations done; a step may be several.
    pub ops: u64,
    /// Seconds from the first thread's start, which all waited for, to the last one's end.
    pub seconds: f64,
    /// Nanoseconds of the timed steps.
    pub latency: Histogram<u64>,
    /// Processor seconds of the whole process, background threads included.
    pub cpu_seconds: f64,
    /// Bytes the process caused to be written to storage.
    pub written_bytes: u64,
}

/// A histogram of nanoseconds up to a quarter of an hour, three digits.
fn histogram() -> Histogram<u64> {
    let mut latency =
        Histogram::new_with_bounds(1, 1 << 40, 3).unwrap_or_else(|_| unreachable!("constant bounds are valid"));
    latency.auto(false);
    latency
}

/// What one thread did, and when.
struct Worked {
    ops: u64,
    latency: Histogram<u64>,
    start: Instant,
    end: Instant,
}

/// One thread's loop. `step` returns the operations it did, 0 to stop.
fn work(pace: &Pace, thread: usize, start: Instant, mut step: impl FnMut() -> Result<u64>) -> Result<Worked> {
    let mut latency = histogram();
    let (mut ops, mut left) = (0, pace.share(thread));
    let mut now = Instant::now();
    while left > 0 && now - start < pace.time {
        let done = step()?;
        if done == 0 {
            break;
        }
        let end = Instant::now();
        latency.saturating_record((end - now).as_nanos() as u64);
        ops += done;
        left -= 1;
        for _ in 1..pace.sample {
            if left == 0 {
                break;
            }
            let done = step()?;
            if done == 0 {
                return Ok(Worked { ops, latency, start, end: Instant::now() });
            }
            ops += done;
            left -= 1;
        }
        now = if pace.sample == 1 { end } else { Instant::now() };
    }
    Ok(Worked { ops, latency, start, end: Instant::now() })
}

/// The text of a panic.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// Runs `thread_main` on every thread of the pace, all from the same moment on, and gathers.
fn race<F>(pace: &Pace, thread_main: F) -> Result<Measured>
where
    F: Fn(usize, &dyn Fn() -> Option<Instant>) -> Result<Option<Worked>> + Sync,
{
    let (ready, failed) = (Barrier::new(pace.threads + 1), AtomicBool::new(false));
    let (cpu, written) = (machine::cpu_seconds(), machine::written_bytes());
    let results = std::thread::scope(|scope| {
        let run = |thread: usize| {
            let (ready, failed, thread_main) = (&ready, &failed, &thread_main);
            scope.spawn(move || {
                let waited = AtomicBool::new(false);
                let begin = || {
                    waited.store(true, Ordering::Relaxed);
                    ready.wait();
                    (!failed.load(Ordering::Relaxed)).then(Instant::now)
                };
                let call = std::panic::AssertUnwindSafe(|| thread_main(thread, &begin));
                let result = std::panic::catch_unwind(call);
                let result =
                    result.unwrap_or_else(|payload| Err(Fail::Failed(format!("panicked: {}", panic_text(&*payload)))));
                if !waited.load(Ordering::Relaxed) {
                    // It failed before the start: let the others go, to stop at once.
                    failed.store(true, Ordering::Relaxed);
                    ready.wait();
                }
                result
            })
        };
        let threads: Vec<_> = (0..pace.threads).map(run).collect();
        ready.wait();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Option<Worked>>>| {
            thread.join().unwrap_or_else(|payload| Err(Fail::Failed(format!("panicked: {}", panic_text(&*payload)))))
        };
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut measured = Measured {
        ops: 0,
        seconds: 0.0,
        latency: histogram(),
        cpu_seconds: machine::cpu_seconds() - cpu,
        written_bytes: machine::written_bytes() - written,
    };
    let (mut start, mut end) = (None, None);
    for result in results {
        if let Some(worked) = result? {
            measured.ops += worked.ops;
            measured.latency.add(&worked.latency)?;
            // This thread may have slept through the start: those that worked know it.
            start = Some(start.map_or(worked.start, |start: Instant| start.min(worked.start)));
            end = Some(end.map_or(worked.end, |end: Instant| end.max(worked.end)));
        }
    }
    if let (Some(start), Some(end)) = (start, end) {
        measured.seconds = (end - start).as_secs_f64();
    }
    Ok(measured)
}

/// Races sessions: `make` prepares a thread's step before the start.
pub fn sessions<S>(engine: &dyn Engine, pace: &Pace, make: impl Fn(usize) -> Result<S> + Sync) -> Result<Measured>
where
    S: FnMut(&mut dyn Session) -> Result<u64>,
{
    race(pace, |thread, begin| {
        let mut session = engine.session()?;
        let mut step = make(thread)?;
        let Some(start) = begin() else { return Ok(None) };
        work(pace, thread, start, || step(&mut *session)).map(Some)
    })
}

/// Races views: each thread keeps one for the whole measurement.
pub fn views<S>(engine: &dyn Engine, pace: &Pace, make: impl Fn(usize) -> Result<S> + Sync) -> Result<Measured>
where
    S: FnMut(&mut dyn View) -> Result<u64>,
{
    race(pace, |thread, begin| {
        let mut session = engine.session()?;
        let mut view = session.view()?;
        let mut step = make(thread)?;
        let Some(start) = begin() else { return Ok(None) };
        work(pace, thread, start, || step(&mut *view)).map(Some)
    })
}

/// Measures one call that does `ops` operations.
pub fn once(ops: u64, call: impl FnOnce() -> Result<()>) -> Result<Measured> {
    let (cpu, written, start) = (machine::cpu_seconds(), machine::written_bytes(), Instant::now());
    call()?;
    let seconds = start.elapsed().as_secs_f64();
    let mut latency = histogram();
    latency.saturating_record((seconds * 1e9) as u64);
    Ok(Measured {
        ops,
        seconds,
        latency,
        cpu_seconds: machine::cpu_seconds() - cpu,
        written_bytes: machine::written_bytes() - written,
    })
}
