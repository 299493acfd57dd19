//! The directories: which names there are, which are durable, and the entry changes in between.
//!
//! An entry change (a creation, a removal, a rename) survives a crash as a whole or not at all, each for itself. One that
//! could not have happened without another that was lost (a file created under a name that was not free) is lost with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

/// A file's or directory's number; never used twice.
pub(super) type Ino = u64;

/// The directory that is always there.
pub(super) const ROOT: Ino = 1;

/// A place where a name can be: directory and name.
pub(super) type Place = (Ino, OsString);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) ino: Ino,
    pub(super) directory: bool,
}

/// One change of entries.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create { at: Place, entry: Entry },
    Remove { at: Place, ino: Ino },
    Rename { from: Place, to: Place, ino: Ino },
}

impl Change {
    fn places(&self) -> impl Iterator<Item = &Place> {
        let (a, b) = match self {
            Change::Create { at, .. } | Change::Remove { at, .. } => (at, None),
            Change::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(a).chain(b)
    }

    fn ino(&self) -> Ino {
        match self {
            Change::Create { entry, .. } => entry.ino,
            Change::Remove { ino, .. } | Change::Rename { ino, .. } => *ino,
        }
    }
}

/// Every directory's entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<Ino, Arc<BTreeMap<OsString, Entry>>>);

impl Tree {
    pub(super) fn get(&self, at: &Place) -> Option<Entry> {
        self.0.get(&at.0)?.get(&at.1).copied()
    }

    pub(super) fn list(&self, dir: Ino) -> impl Iterator<Item = (&OsString, &Entry)> {
        self.0.get(&dir).into_iter().flat_map(|names| names.iter())
    }

    pub(super) fn put(&mut self, at: &Place, entry: Entry) {
        Arc::make_mut(self.0.entry(at.0).or_default()).insert(at.1.clone(), entry);
    }

    pub(super) fn take(&mut self, at: &Place) {
        Arc::make_mut(self.0.entry(at.0).or_default()).remove(&at.1);
    }

    /// Carries out a change, unless it cannot happen here.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { at, entry } if self.get(at).is_none() => self.put(at, *entry),
            Change::Remove { at, ino } if self.get(at).is_some_and(|entry| entry.ino == *ino) => self.take(at),
            Change::Rename { from, to, ino } => {
                if let Some(entry) = self.get(from).filter(|entry| entry.ino == *ino) {
                    self.take(from);
                    self.put(to, entry);
                }
            }
            _ => {}
        }
    }

    /// Drops the entries of directories that have no name themselves; returns every number that has one.
    pub(super) fn prune(&mut self) -> BTreeSet<Ino> {
        let mut named = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            for (_, entry) in self.list(dir) {
                if named.insert(entry.ino) && entry.directory {
                    todo.push(entry.ino);
                }
            }
        }
        self.0.retain(|dir, _| named.contains(dir));
        named
    }

    fn mentions(&self, into: &mut BTreeSet<Ino>) {
        into.extend(self.0.values().flat_map(|names| names.values()).map(|entry| entry.ino));
    }
}

/// An entry change that may or may not survive.
#[derive(Clone, Debug)]
pub(super) struct PendingChange {
    pub(super) seq: u64,
    pub(super) change: Change,
    /// The directories whose sync it still waits for.
    unsynced: Vec<Ino>,
    /// A sync that covered it failed.
    orphan: bool,
}

/// Names as seen, as durable, and the changes between.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) live: Tree,
    pub(super) durable: Tree,
    /// In the order of their operations.
    pub(super) pending: Vec<PendingChange>,
}

impl Names {
    /// Carries out a change that the caller found possible.
    pub(super) fn change(&mut self, seq: u64, change: &Change) {
        self.live.apply(change);
        let mut unsynced: Vec<Ino> = change.places().map(|place| place.0).collect();
        unsynced.dedup();
        self.pending.push(PendingChange { seq, change: change.clone(), unsynced, orphan: false });
    }

    /// Carries out the sync of a directory, or its failure.
    ///
    /// A change of two directories is durable when both were synced, or when a change of the same name that came after
    /// it is: that one could not be there without it.
    pub(super) fn sync(&mut self, dir: Ino, ok: bool) {
        if !ok {
            let covered = self.pending.iter_mut().filter(|change| change.unsynced.contains(&dir));
            covered.for_each(|change| change.orphan = true);
            return;
        }
        let mut places: BTreeSet<Place> = BTreeSet::new();
        let mut settled = vec![false; self.pending.len()];
        for (i, pending) in self.pending.iter_mut().enumerate().rev() {
            if !pending.orphan {
                pending.unsynced.retain(|waits| *waits != dir);
            }
            if pending.unsynced.is_empty() || pending.change.places().any(|place| places.contains(place)) {
                places.extend(pending.change.places().cloned());
                settled[i] = true;
            }
        }
        let mut settled = settled.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let settles = settled.next().unwrap_or(false);
            if settles {
                durable.apply(&pending.change);
            }
            !settles
        });
    }

    /// Makes `at` name `entry`, or nothing, durably, and forgets what was pending there.
    pub(super) fn settle(&mut self, at: &Place, entry: Option<Entry>) {
        self.pending.retain(|pending| pending.change.places().all(|place| place != at));
        for tree in [&mut self.live, &mut self.durable] {
            match entry {
                Some(entry) => tree.put(at, entry),
                None => tree.take(at),
            }
        }
    }

    /// Every number that a name, durable or not, or a pending change still speaks of.
    pub(super) fn mentioned(&self) -> BTreeSet<Ino> {
        let mut all: BTreeSet<Ino> = self.pending.iter().map(|pending| pending.change.ino()).collect();
        self.live.mentions(&mut all);
        self.durable.mentions(&mut all);
        all
    }
}
