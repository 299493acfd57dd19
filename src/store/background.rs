//! What a store does by itself, on threads of its own: it makes the log durable, frees frames ahead of demand, makes
//! checkpoints, and frees what is left of dropped trees. On disks where a seed decides everything there are none of these: the calls that need such work do it.
//!
//! The threads share the engine, not a handle: they keep nothing open, and end when the stop signal is given.

use super::catalog::Catalog;
use super::engine::{Engine, IDLE, Reason};
use super::options::Durability;
use crate::error::Result;
use crate::sync::Arc;
use crate::threading::Threads;
use std::time::Duration;

/// A thread that has nothing to wait for looks at the stop signal this often.
const REST: Duration = Duration::from_secs(3600);

/// Starts the threads of a store that may be written.
///
/// # Errors
/// `Io` if the system has no threads to give.
pub(crate) fn start(threads: &Threads, engine: &Arc<Engine>, catalog: &Arc<Catalog>) -> Result<()> {
    let start = |name, run: fn(&Engine)| {
        let engine = engine.clone();
        threads.start(name, move || run(&engine))
    };
    start("pagebox-log", flush_log)?;
    start("pagebox-segment", prepare_segments)?;
    start("pagebox-pages", provide_frames)?;
    start("pagebox-sync", sync_pages)?;
    #[cfg(feature = "metrics")]
    start("pagebox-stats", publish_stats)?;
    let start = |name, run: fn(&Engine, &Catalog)| {
        let (engine, catalog) = (engine.clone(), catalog.clone());
        threads.start(name, move || run(&engine, &catalog))
    };
    start("pagebox-check", make_checkpoints)?;
    start("pagebox-free", free_dropped)
}

/// Makes the log durable when asked ([`Wal::request_flush`](crate::wal::Wal::request_flush)), and in relaxed mode before
/// the oldest append gets too old.
fn flush_log(engine: &Engine) {
    let Some(wal) = &engine.wal else { return };
    let within = match engine.durability {
        Durability::Relaxed { within } => Some(within),
        _ => None,
    };
    // Half of the interval for noticing, half for the sync.
    let step = within.map_or(REST, |within| (within / 4).max(Duration::from_millis(1)));
    while !engine.stop.is_stopped() {
        let wanted = wal.wait_flush_request(step);
        if wal.poisoned().is_some() {
            // Whoever poisoned the log under latches has left its wakers to this thread: now, for it does not come back.
            wal.wake_ready();
            // Nothing becomes durable any more; only the end of the store is left to wait for.
            engine.stop.sleep_until_stopped();
            return;
        }
        let old = within.is_some_and(|within| wal.oldest_unsynced_age().is_some_and(|age| age >= within / 4));
        let target = if old { Some(wal.position()) } else { wanted };
        if let Some(target) = target {
            // A failure poisons the log, and everybody hears of it there.
            let _ = wal.commit(target);
        }
    }
}

/// Makes log segments before a writer needs them. Not the checkpointer's business: zero-filling a segment takes a tenth of a
/// second, a checkpoint many seconds, and under load the log wants the former during the latter.
fn prepare_segments(engine: &Engine) {
    let Some(wal) = &engine.wal else { return };
    while !engine.stop.is_stopped() {
        wal.wait_segment_demand(REST);
        if !engine.stop.is_stopped() && wal.prepare_ahead().is_err() {
            if wal.is_poisoned() {
                engine.stop.sleep_until_stopped();
            }
            // A full disk is for the writer to report who needs the segment. Not at once again.
            engine.stop.sleep(IDLE);
        }
    }
}

/// Keeps free frames ahead of demand.
fn provide_frames(engine: &Engine) {
    while !engine.stop.is_stopped() {
        engine.pool.wait_for_demand(IDLE);
        if !engine.stop.is_stopped() && engine.pool.provide().is_err() {
            // No space, or poisoned: those who need frames find out for themselves. Not at once again.
            engine.stop.sleep(IDLE);
        }
    }
}

/// Syncs what was written in place before anybody has to wait for that: before its copies are to be overwritten (P7).
fn sync_pages(engine: &Engine) {
    while !engine.stop.is_stopped() {
        engine.page_store.wait_for_due(REST);
        if !engine.stop.is_stopped()
            && let Err(error) = engine.page_store.sync_ahead()
        {
            engine.poison(&error);
            engine.stop.sleep_until_stopped();
        }
    }
}

/// Makes checkpoints when the log or pending space asks for them: at leisure, or for space as soon as can be.
fn make_checkpoints(engine: &Engine, catalog: &Catalog) {
    while !engine.stop.is_stopped() {
        if let Some(reason) = engine.take_reason() {
            catalog.tidy(engine);
            let made = match reason {
                Reason::Log => engine.checkpoint_at_leisure(),
                Reason::Space => engine.checkpoint(),
            };
            if made.is_err() {
                // What keeps it from being made, writers find out for themselves. Not at once again, whoever asks.
                engine.stop.rest_for(IDLE);
            }
        }
        engine.stop.sleep(IDLE);
    }
}

/// Publishes the store's numbers four times a second, whatever the others are at.
#[cfg(feature = "metrics")]
fn publish_stats(engine: &Engine) {
    while !engine.stop.is_stopped() {
        engine.stats().publish(&engine.files.dir.display().to_string());
        engine.stop.rest_for(IDLE);
    }
}

/// Frees what is left of dropped trees: from before the store was opened, after errors, and once the last handle is gone.
fn free_dropped(engine: &Engine, catalog: &Catalog) {
    while !engine.stop.is_stopped() {
        catalog.free_dropped(engine, false);
        engine.stop.sleep(IDLE);
    }
}
