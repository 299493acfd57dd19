//! How fast a checkpoint that nobody waits for writes its pages: not as fast as it can.
//!
//! A checkpoint begins when the log is half full; it has the time that the other half takes. At full speed it would have the
//! device, and a core, to itself for seconds, and every commit beside it would wait in line; PostgreSQL's remedy is to spread
//! it (`checkpoint_completion_target`). It is to be done when the log has grown by [`USED`] of the room it had at the start.
//! After each batch it waits for the first of
//!
//! - the log has grown by the batch's part of what is still to be written, of what is left of that room;
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
    /// The log's fill at which all pages are to be written.
    target: u64,
    /// The share of the pages that was written.
    done: f64,
}

impl Pace {
    /// From now on.
    pub(crate) fn start(engine: &Engine) -> Pace {
        let fill = engine.log_fill();
        let room = engine.wal.as_ref().map_or(0, |wal| wal.writable_bytes()).saturating_sub(fill);
        Pace { when: Instant::now(), fill, target: fill + (USED * room as f64) as u64, done: 0.0 }
    }

    /// After a batch, with which the share `done` of the pages is written: waits until the next is due, or somebody is in a
    /// hurry.
    pub(crate) fn keep(&mut self, engine: &Engine, done: f64) {
        let batch = done - self.done;
        let within = LEISURE.mul_f64(batch.clamp(0.0, 1.0));
        let growth = self.target.saturating_sub(self.fill) as f64 * batch / (1.0 - self.done);
        let due = |fill: u64| self.when.elapsed() >= within || fill.saturating_sub(self.fill) as f64 >= growth;
        while done < 1.0 && !due(engine.log_fill()) && !engine.is_hurried() {
            engine.stop.rest(NAP);
        }
        *self = Pace { when: Instant::now(), fill: engine.log_fill(), done, ..*self };
    }
}

impl Engine {
    /// Whether anybody waits for the checkpoint under way, or for what its end gives back.
    fn is_hurried(&self) -> bool {
        // Relaxed: advice; it is looked at again and again.
        self.awaited.load(Ordering::Relaxed) > 0
            || self.space_wants.load(Ordering::Relaxed)
            || self.stop.is_stopped()
            // Asked without telling anybody: that would wake others, under this lock.
            || self.pool.is_poisoned()
            || self.wal.as_ref().is_some_and(|wal| wal.is_poisoned())
    }

    fn log_fill(&self) -> u64 {
        self.wal.as_ref().map_or(0, |wal| wal.used_bytes())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Durability, Store, Tree};
    use std::time::{Duration, Instant};

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A store in the middle of a checkpoint that its log of so many segments of half a megabyte asked for. With little memory,
    /// pages go out some at a time.
    fn half_full(temp: &std::path::Path, segments: u64, memory: usize) -> (Store, Tree) {
        let options = Store::options().page_size(4096).memory(memory).durability(Durability::Manual);
        let store = options.log_segment_bytes(512 << 10).max_log_bytes(segments * (512 << 10)).open(temp).unwrap();
        let tree = store.tree("t").unwrap();
        let mut i = 0u32;
        while store.stats().log_bytes <= segments * (512 << 10) / 2 {
            tree.insert(i.wrapping_mul(0x9E37_79B1).to_be_bytes(), [7; 500]).unwrap();
            i += 1;
        }
        until("pages are written", || {
            // The log asks by way of the next write.
            tree.insert([], []).unwrap();
            store.stats().pages_written > 0
        });
        (store, tree)
    }

    #[test]
    fn a_checkpoint_takes_its_time_until_somebody_waits_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let (store, _tree) = half_full(temp.path(), 16, 64 << 20);
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
    fn closing_ends_all_leisure() {
        let temp = tempfile::tempdir().unwrap();
        let (store, tree) = half_full(temp.path(), 16, 64 << 20);
        drop(tree);
        let started = Instant::now();
        store.close().unwrap();
        assert!(started.elapsed() < super::LEISURE / 3);
    }

    #[test]
    fn poison_ends_all_leisure() {
        let temp = tempfile::tempdir().unwrap();
        let (store, tree) = half_full(temp.path(), 16, 64 << 20);
        let engine = store.inner.engine.clone();
        engine.log().unwrap().poison("a sync failed");
        until("the checkpoint has ended", || engine.head.try_lock().is_some());
        assert_eq!(store.stats().checkpoints, 0);
        drop(tree);
    }

    /// As slow as a disk that is slower than this one: the checkpoint must end by the log's fill, not by its own time, and
    /// before any writer finds the log full.
    #[test]
    fn writes_drive_a_checkpoint() {
        for (segments, memory) in [(16, 64 << 20), (16, 4 << 20), (6, 4 << 20), (4, 4 << 20)] {
            let temp = tempfile::tempdir().unwrap();
            let (store, tree) = half_full(temp.path(), segments, memory);
            let engine = store.inner.engine.clone();
            let (before, started) = (store.stats(), Instant::now());
            let (mut i, mut most) = (0u32, before.log_bytes);
            while store.stats().checkpoints == before.checkpoints {
                tree.insert((i % 1000).to_be_bytes(), [8; 500]).unwrap();
                i += 1;
                most = most.max(store.stats().log_bytes);
                std::thread::sleep(Duration::from_micros(300));
                assert!(started.elapsed() < super::LEISURE, "the log grows, and the checkpoint rests");
            }
            let room = engine.log().unwrap().writable_bytes();
            assert!(most < room, "{segments} segments: it ended with the log full, {most} of {room}");
        }
    }

    #[test]
    fn what_a_checkpoint_has_brought_is_not_wanted_again() {
        let temp = tempfile::tempdir().unwrap();
        let (store, tree) = half_full(temp.path(), 16, 64 << 20);
        let engine = store.inner.engine.clone();
        // The log goes on asking while it is more than half full.
        engine.want_checkpoint(&engine.log_wants);
        drop(engine.lock_head());
        until("it has ended", || store.stats().checkpoints == 1);
        std::thread::sleep(super::super::engine::IDLE * 2);
        assert_eq!(store.stats().checkpoints, 1, "another for nothing");
        drop(tree);
    }
}
