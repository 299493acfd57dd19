//! The end of a tree: from the record that drops it to the last page that comes back.
//!
//! | step | the entry says | by |
//! |---|---|---|
//! | one record: the root becomes a tombstone, the entry says so | dropped | [`Catalog::drop_tree`], under the registry's lock |
//! | the pages below the tombstone are freed, some at a time | dropped | [`Catalog::free`], under nobody's way |
//! | one record: the tombstone is freed, the entry removed | nothing | the same, once no handle knows the root's page |
//!
//! What a crash, an error or the end of the store interrupts goes on when the store is opened, or a little later: the entry
//! and the tombstone say all that there is to know. What fails is tried again after a while, which doubles up to a minute;
//! what is damaged is gone past meanwhile ([`Stats::dropped_damaged`](super::Stats)).

use super::catalog::{Catalog, Entry, check_name, moved_key, redo_log};
use super::engine::{Engine, IDLE};
use crate::btree::BTree;
use crate::error::{Error, Result};
use crate::sync::Ordering;
use crate::types::Lsn;
use std::time::{Duration, Instant};

/// A tree that was dropped and is not all freed.
pub(crate) struct Dropped {
    /// The key its entry had when it was found or dropped.
    pub(super) key: Vec<u8>,
    pub(super) tree: BTree,
    /// How long to wait after the last error, and since when.
    pause: Option<(Duration, Instant)>,
    /// All that is left is damaged; the store counts it.
    damaged: bool,
}

/// The longest pause between two attempts at what failed.
const LONGEST: Duration = Duration::from_secs(60);

impl Dropped {
    pub(super) fn new(key: Vec<u8>, tree: BTree) -> Dropped {
        Dropped { key, tree, pause: None, damaged: false }
    }

    fn is_due(&self) -> bool {
        self.pause.is_none_or(|(pause, since)| since.elapsed() >= pause)
    }

    fn failed(&mut self) {
        let pause = self.pause.map_or(IDLE, |(pause, _)| (2 * pause).min(LONGEST));
        self.pause = Some((pause, Instant::now()));
    }

    fn set_damaged(&mut self, engine: &Engine, damaged: bool) {
        // Relaxed: a statistic.
        match (self.damaged, damaged) {
            (false, true) => engine.dropped_damaged.fetch_add(1, Ordering::Relaxed),
            (true, false) => engine.dropped_damaged.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.damaged = damaged;
    }
}

impl Catalog {
    /// Drops the tree of that name: what is to be freed, and the record's LSN. `None` if there is no such tree.
    ///
    /// # Errors
    /// `InvalidName`, `ReadOnly`, what reading and writing give; nothing was dropped then.
    pub(crate) fn drop_tree(&self, engine: &Engine, name: &str) -> Result<Option<(Dropped, Lsn)>> {
        check_name(name)?;
        let mut registry = self.registry.lock();
        let Some(bytes) = self.tree.get(name.as_bytes())? else { return Ok(None) };
        let entry = Entry::decode(&bytes)?;
        if entry.dropped {
            return Ok(None);
        }
        engine.log()?;
        let tree = match registry.get(name) {
            Some(tree) => tree.clone(),
            None => BTree::open(engine.pool.clone(), redo_log(engine), entry.id, entry.root),
        };
        let marked = Entry { dropped: true, ..entry }.encode();
        let lsn = engine.with_space(|| self.tree.drop_in(name.as_bytes(), &marked, &tree))?;
        registry.remove(name);
        Ok(Some((Dropped::new(name.into(), tree), lsn)))
    }

    /// Frees what can be had of a dropped tree; what cannot is kept for [`Catalog::free_dropped`]. Called with no latch
    /// and no lock held.
    pub(crate) fn free(&self, engine: &Engine, mut dropped: Dropped) {
        // An error is not the caller's: the drop is done. Who needs the space or the log hears of it there.
        let done = self.try_free(engine, &mut dropped);
        dropped.set_damaged(engine, matches!(done, Err(Error::Corrupted { .. })));
        match done {
            Ok(true) => return,
            Ok(false) => dropped.pause = None,
            Err(_) => dropped.failed(),
        }
        self.dropped.lock().push(dropped);
    }

    /// Goes on with every dropped tree that is not all freed, unless somebody else does; where `now` is false, not with those
    /// that failed a moment ago. Cost if there is none: a lock.
    pub(crate) fn free_dropped(&self, engine: &Engine, now: bool) {
        if engine.wal.is_none() {
            return;
        }
        let due: Vec<Dropped> = self.dropped.lock().extract_if(.., |dropped| now || dropped.is_due()).collect();
        due.into_iter().for_each(|dropped| self.free(engine, dropped));
    }

    /// Frees all of a dropped tree, if nobody has a handle to it any more; otherwise all but its root, and is false.
    fn try_free(&self, engine: &Engine, dropped: &mut Dropped) -> Result<bool> {
        loop {
            // Counted step by step: closing does not wait for a huge tree.
            let _call = engine.running.enter()?;
            let freeing = self.freeing.lock();
            engine.check_poison()?;
            if engine.with_space(|| dropped.tree.reclaim_step())? == 0 {
                break;
            }
            drop(freeing);
            dropped.pause = None;
            engine.look_at_space();
        }
        let _call = engine.running.enter()?;
        let _freeing = self.freeing.lock();
        // New handles come from the registry, which no longer has it, or from other handles.
        let _registry = self.registry.lock();
        if !dropped.tree.is_only_handle() {
            return Ok(false);
        }
        let key = self.key_of(dropped)?;
        self.tree.forget_in(&key, &dropped.tree)?;
        Ok(true)
    }

    /// The key that a dropped tree's entry is under: its name, or one of its own if there is a new tree of that name.
    fn key_of(&self, dropped: &Dropped) -> Result<Vec<u8>> {
        let moved = moved_key(dropped.tree.id());
        let there = self.tree.contains_key(&moved)?;
        Ok(if there { moved.to_vec() } else { dropped.key.clone() })
    }
}
