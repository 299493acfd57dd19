//! How fast a checkpoint that nobody waits for writes its pages: not as fast as it can.
//!
//! A checkpoint begins when the log is half full; it has the time that the other half takes. At full speed it would have the
//! device, and a core, to itself for seconds, and every commit beside it would wait in line; PostgreSQL's remedy is to spread
//! it (`checkpoint_completion_target`). After each batch it waits for the first of
//!
//! - the log has grown by the batch's part of what is still to be written, of the room that it has left;
//! - the batch's part of [`LEISURE`] has passed.
//!
//! What counts is what is left, not a plan made at the start: a checkpoint that a storm of writes has left behind does not
//! make up for it when the storm is over.
//!
//! Whoever waits for the checkpoint (a writer that finds the log full, [`Store::checkpoint`](crate::Store::checkpoint),
//! the store's end), and space that only its end gives back, end all leisure.

use super::engine::Engine;
use crate::sync::Ordering;
use std::time::{Duration, Instant};

/// A checkpoint takes no longer than this for lack of writes.
const LEISURE: Duration = Duration::from_secs(30);
/// The part of the log's room that it uses up: the rest is for syncs, and for being late.
const USED: f64 = 0.75;
/// How long it sleeps before it looks again whether anybody waits.
const NAP: Duration = Duration::from_millis(5);

/// Where a checkpoint stood after the last batch.
pub(crate) struct Pace {
    when: Instant,
    /// The log's fill, in bytes.
    fill: u64,
    /// The share of the pages that was written.
    done: f64,
}

impl Pace {
    /// From now on.
    pub(crate) fn start(engine: &Engine) -> Pace {
        Pace { when: Instant::now(), fill: engine.log_fill(), done: 0.0 }
    }

    /// After a batch, with which the share `done` of the pages is written: waits until the next is due, or somebody is in a
    /// hurry.
    pub(crate) fn keep(&mut self, engine: &Engine, done: f64) {
        let batch = done - self.done;
        let within = LEISURE.mul_f64(batch.clamp(0.0, 1.0));
        let room = engine.max_log_bytes().saturating_sub(self.fill) as f64;
        let growth = USED * room * batch / (1.0 - self.done);
        let due = |fill: u64| self.when.elapsed() >= within || fill.saturating_sub(self.fill) as f64 >= growth;
        while done < 1.0 && !due(engine.log_fill()) && !engine.is_hurried() {
            engine.stop.rest(NAP);
        }
        *self = Pace { when: Instant::now(), fill: engine.log_fill(), done };
    }
}

impl Engine {
    /// Whether anybody waits for the checkpoint under way, or for what its end gives back.
    fn is_hurried(&self) -> bool {
        // Relaxed: advice; it is looked at again and again.
        self.awaited.load(Ordering::Relaxed) > 0
            || self.space_wants.load(Ordering::Relaxed)
            || self.stop.is_stopped()
            || self.pool.is_poisoned()
    }

    fn log_fill(&self) -> u64 {
        self.wal.as_ref().map_or(0, |wal| wal.used_bytes())
    }

    fn max_log_bytes(&self) -> u64 {
        self.wal.as_ref().map_or(0, |wal| wal.options().max_log_bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Durability, Store, Tree};
    use std::time::{Duration, Instant};

    /// A store whose log asks for a checkpoint: a little more than half of its 8 MiB is full, and as much is dirty.
    fn half_full(temp: &std::path::Path) -> (Store, Tree) {
        let options = Store::options().page_size(4096).memory(64 << 20).max_log_bytes(8 << 20);
        let store = options.durability(Durability::Manual).open(temp).unwrap();
        let tree = store.tree("t").unwrap();
        let mut i = 0u32;
        while store.stats().log_bytes <= 4 << 20 {
            tree.insert(i.to_be_bytes(), [7; 500]).unwrap();
            i += 1;
        }
        (store, tree)
    }

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_checkpoint_takes_its_time_until_somebody_waits_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let (store, _tree) = half_full(temp.path());
        until("pages are written", || store.stats().pages_written > 0);
        std::thread::sleep(Duration::from_millis(300));
        let found = store.stats();
        assert_eq!(found.checkpoints, 0, "as fast as it can");
        let started = Instant::now();
        store.checkpoint().unwrap();
        assert!(started.elapsed() < super::LEISURE / 3, "at leisure though somebody waits");
        // The one that was under way, and the one that was asked for.
        assert_eq!(store.stats().checkpoints, 2);
    }

    #[test]
    fn writes_drive_a_checkpoint() {
        let temp = tempfile::tempdir().unwrap();
        let (store, tree) = half_full(temp.path());
        until("pages are written", || store.stats().pages_written > 0);
        let started = Instant::now();
        let (mut i, mut most) = (0u32, 0);
        while store.stats().checkpoints == 0 {
            tree.insert(i.to_be_bytes(), [8; 500]).unwrap();
            i = (i + 1) % 1000;
            most = most.max(store.stats().log_bytes);
            // As slow as a disk that is slower than this one: the checkpoint must end by the log's fill, not by its own time.
            std::thread::sleep(Duration::from_micros(500));
            assert!(started.elapsed() < super::LEISURE, "the log grows, and the checkpoint rests");
        }
        assert!(most < 8 << 20, "it ended when the log was full");
    }

    #[test]
    fn what_a_checkpoint_has_brought_is_not_wanted_again() {
        let temp = tempfile::tempdir().unwrap();
        let (store, tree) = half_full(temp.path());
        let engine = store.inner.engine.clone();
        until("pages are written", || store.stats().pages_written > 0);
        // The log goes on asking while it is more than half full.
        let ask = engine.log_wants.load(std::sync::atomic::Ordering::Relaxed);
        assert!(!ask, "a checkpoint that has begun forgets why");
        engine.want_checkpoint(&engine.log_wants);
        drop(engine.lock_head());
        until("it has ended", || store.stats().checkpoints == 1);
        std::thread::sleep(super::super::engine::IDLE * 2);
        assert_eq!(store.stats().checkpoints, 1, "another for nothing");
        drop(tree);
    }
}
