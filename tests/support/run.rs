//! Carries out the steps of a workload on a store, checks every answer against the model, and notes when each transaction
//! was issued and acknowledged.

use super::oracle::{History, State, Txn};
use super::workload::{Call, Step};
use pagebox::{Batch, Error, Result, Store, Tree};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// Opens the store: called for the first open and for every reopening.
pub type Opener = Box<dyn Fn() -> Result<Store>>;
/// What time it is, in operations of the disk.
pub type Clock = Box<dyn Fn() -> u64>;

/// The name of a tree by its number.
pub fn tree_name(number: u8) -> String {
    format!("t{number}")
}

/// When something happened, in operations of the disk: it began when `from` operations were done and was over after `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

/// What the disk was doing when, for the statistics of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Open,
    Change,
    Read,
    Sync,
    Checkpoint,
    Close,
}

/// A store under test, its model, and the times at which things happened.
pub struct Session {
    opener: Opener,
    clock: Clock,
    store: Option<Store>,
    trees: BTreeMap<u8, Tree>,
    /// Handles to trees that were dropped.
    stale: Vec<Tree>,
    /// Whether a change is durable when it returns.
    acknowledges_each: bool,
    pub history: History,
    /// For each transaction, when it began.
    pub issued: Vec<u64>,
    /// (time, n): from that time on the first n transactions are acknowledged.
    pub acknowledged: Vec<(u64, usize)>,
    pub phases: Vec<(Span, Phase)>,
    /// What the engine did before its closes.
    pub did: Did,
}

/// Sums over the openings of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Did {
    pub evictions: u64,
    pub misses: u64,
    pub pages_written: u64,
    pub checkpoints: u64,
    /// Batches that were too large for the budget.
    pub refused: u64,
    /// The most pages a page file had.
    pub file_pages: u64,
}

fn text(what: &str) -> impl Fn(Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl Session {
    /// Opens the store, which must hold exactly `base`.
    pub fn open(opener: Opener, clock: Clock, acknowledges_each: bool, base: State) -> Result<Session, String> {
        let mut session = Session {
            opener,
            clock,
            store: None,
            trees: BTreeMap::new(),
            stale: Vec::new(),
            acknowledges_each,
            history: History::new(base),
            issued: Vec::new(),
            acknowledged: Vec::new(),
            phases: Vec::new(),
            did: Did::default(),
        };
        session.timed(Phase::Open, |s| {
            s.store = Some((s.opener)().map_err(text("open"))?);
            Ok(())
        })?;
        Ok(session)
    }

    /// The open store.
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("the session is open")
    }

    fn timed<T>(&mut self, phase: Phase, f: impl FnOnce(&mut Session) -> Result<T, String>) -> Result<T, String> {
        let from = (self.clock)();
        let out = f(self);
        let to = (self.clock)();
        self.phases.push((Span { from, to }, phase));
        out
    }

    fn issue(&mut self, txn: Txn) {
        self.issued.push((self.clock)());
        self.history.push(txn);
    }

    fn acknowledge(&mut self) {
        self.acknowledged.push(((self.clock)(), self.history.len()));
    }

    /// The handle of a tree, opened when first needed.
    pub fn tree(&mut self, number: u8) -> Result<Tree, String> {
        if let Some(tree) = self.trees.get(&number) {
            return Ok(tree.clone());
        }
        let tree = self.store().tree(&tree_name(number)).map_err(text("tree"))?;
        self.trees.insert(number, tree.clone());
        Ok(tree)
    }

    /// Carries out one step.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Change(call, txn) => self.timed(Phase::Change, |s| s.change(*call, txn)),
            Step::Get(tree, key) => self.timed(Phase::Read, |s| s.get(*tree, key)),
            Step::Walk(tree, key, limit, down) => self.timed(Phase::Read, |s| s.walk(*tree, key, *limit, *down)),
            Step::Sync => self.timed(Phase::Sync, |s| {
                if s.history.len().is_multiple_of(2) {
                    s.store().sync().map_err(text("sync"))?;
                } else {
                    let store = s.store().clone();
                    store.sync_async().wait().map_err(text("sync_async"))?;
                }
                s.acknowledge();
                Ok(())
            }),
            Step::Checkpoint => self.timed(Phase::Checkpoint, |s| {
                s.store().checkpoint().map_err(text("checkpoint"))?;
                s.acknowledge();
                Ok(())
            }),
            Step::Reopen => {
                self.close()?;
                self.timed(Phase::Open, |s| {
                    s.store = Some((s.opener)().map_err(text("reopen"))?);
                    Ok(())
                })
            }
        }
    }

    /// Closes the store; everything issued is then acknowledged.
    pub fn close(&mut self) -> Result<(), String> {
        self.trees.clear();
        self.stale.clear();
        let store = self.store.take().expect("the session is open");
        let stats = store.stats();
        self.did.evictions += stats.evictions;
        self.did.misses += stats.misses;
        self.did.pages_written += stats.pages_written;
        self.did.checkpoints += stats.checkpoints;
        self.did.file_pages = self.did.file_pages.max(stats.file_pages);
        self.timed(Phase::Close, |s| {
            store.close().map_err(text("close"))?;
            s.acknowledge();
            Ok(())
        })
    }

    fn drop_tree(&mut self, number: u8, keep: bool, txn: &Txn) -> Result<(), String> {
        let name = tree_name(number);
        let there = self.store().existing_tree(&name).map_err(text("existing_tree"))?;
        self.issue(txn.clone());
        let dropped = self.store().drop_tree(&name).map_err(text("drop_tree"))?;
        check(dropped == there.is_some(), || format!("drop_tree of {name} says there: {dropped}"))?;
        self.trees.remove(&number);
        if let Some(stale) = there {
            let found = stale.get(b"k");
            check(matches!(found, Err(Error::NotFound { .. })), || format!("a dropped tree answers {found:?}"))?;
            let found = stale.insert(b"k", b"v");
            check(matches!(found, Err(Error::NotFound { .. })), || format!("a dropped tree takes {found:?}"))?;
            self.stale.push(stale);
        }
        if !keep {
            self.stale.clear();
        }
        Ok(())
    }

    fn change(&mut self, call: Call, txn: &Txn) -> Result<(), String> {
        if let Call::Drop(number, keep) = call {
            self.drop_tree(number, keep, txn)?;
            if self.acknowledges_each {
                self.acknowledge();
            }
            return Ok(());
        }
        let mut handles = Vec::with_capacity(txn.len());
        for write in txn {
            handles.push(self.tree(write.tree)?);
        }
        let before = txn.first().and_then(|w| self.history.now().get(&(w.tree, w.key.clone())).cloned());
        if matches!(call, Call::Clear(_) | Call::Cut(_) | Call::Load(_)) {
            txn.iter().for_each(|write| self.issue(vec![write.clone()]));
        } else {
            self.issue(txn.clone());
        }
        match call {
            Call::Clear(number) => {
                let gone = self.tree(number)?.remove_range(..).map_err(text("remove_range"))?;
                check(gone == txn.len() as u64, || format!("remove_range took {gone} of {} records", txn.len()))?;
            }
            Call::Cut(number) => {
                let (Some(first), Some(last)) = (txn.first(), txn.last()) else { return Ok(()) };
                let gone =
                    self.tree(number)?.remove_range(&first.key[..]..=&last.key[..]).map_err(text("remove_range"))?;
                check(gone == txn.len() as u64, || format!("remove_range took {gone} of {} records", txn.len()))?;
            }
            Call::Load(number) => {
                let records = txn.iter().map(|write| (&write.key, write.value.as_deref().unwrap_or_default()));
                let loaded = self.tree(number)?.bulk_load(records).map_err(text("bulk_load"))?;
                check(loaded == txn.len() as u64, || format!("bulk_load took {loaded} of {} records", txn.len()))?;
            }
            Call::Batch => {
                let mut batch = Batch::new();
                for (tree, write) in handles.iter().zip(txn) {
                    match &write.value {
                        Some(value) => batch.insert(tree, &write.key, value),
                        None => batch.remove(tree, &write.key),
                    };
                }
                match self.store().apply(&batch) {
                    // More leaves than the smallest budget may hold at once: refused, and nothing changed.
                    Err(Error::BatchTooLarge { bytes, max, .. }) if bytes > max && txn.len() > 1 => {
                        self.history.retract();
                        self.issued.pop();
                        self.did.refused += 1;
                        return Ok(());
                    }
                    outcome => outcome.map_err(text("apply"))?,
                }
            }
            _ => {
                let (tree, write) = (&handles[0], &txn[0]);
                single(tree, call, &write.key, write.value.as_deref(), before.as_deref())?;
            }
        }
        if self.acknowledges_each {
            self.acknowledge();
        }
        Ok(())
    }

    fn get(&mut self, tree: u8, key: &[u8]) -> Result<(), String> {
        let handle = self.tree(tree)?;
        let found = handle.get(key).map_err(text("get"))?;
        let expected = self.history.now().get(&(tree, key.to_vec()));
        check(found.as_ref() == expected, || format!("get {key:?} of tree {tree}: {found:?}, expected {expected:?}"))?;
        // A part of it: the second half, and what would lie beyond.
        let mut part = Vec::new();
        let half = expected.map_or(0, |value| value.len() as u64 / 2);
        let there = handle.get_range(key, half..u64::MAX, &mut part).map_err(text("get_range"))?;
        let right = there == expected.is_some() && expected.is_none_or(|value| value[half as usize..] == part);
        check(right, || format!("get_range {half}.. of {key:?} of tree {tree}: {part:?}, expected {expected:?}"))
    }

    fn walk(&mut self, tree: u8, key: &[u8], limit: usize, down: bool) -> Result<(), String> {
        let handle = self.tree(tree)?;
        let mut found = Vec::new();
        let collect = |k: &[u8], v: &[u8]| {
            found.push((k.to_vec(), v.to_vec()));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let model = self.history.now();
        let own = |((t, k), v): (&(u8, Vec<u8>), &Vec<u8>)| (*t == tree).then(|| (k.clone(), v.clone()));
        let (first, last) = ((tree, Vec::new()), (tree, key.to_vec()));
        let expected: Vec<_> = if down {
            handle.scan_rev(..=key, collect).map_err(text("scan_rev"))?;
            model.range(first..=last).rev().filter_map(own).take(limit).collect()
        } else {
            handle.scan(key.., collect).map_err(text("scan"))?;
            let upper = (tree + 1, Vec::new());
            model.range((Bound::Included(last), Bound::Excluded(upper))).filter_map(own).take(limit).collect()
        };
        check(found == expected, || {
            format!(
                "walk (down: {down}) from {key:?} of tree {tree}: {} records, expected {}",
                found.len(),
                expected.len()
            )
        })
    }
}

/// Carries out a change of one key and checks what it answers.
fn single(tree: &Tree, call: Call, key: &[u8], new: Option<&[u8]>, before: Option<&[u8]>) -> Result<(), String> {
    let name = tree.name();
    match (call, new) {
        (Call::Returning, Some(value)) => {
            let old = tree.replace(key, value).map_err(text("replace"))?;
            check(old.as_deref() == before, || format!("{name}: replace {key:?} gave {old:?}, not {before:?}"))
        }
        (Call::Returning, None) => {
            let old = tree.take(key).map_err(text("take"))?;
            check(old.as_deref() == before, || format!("{name}: take {key:?} gave {old:?}, not {before:?}"))
        }
        (Call::Swap, _) => {
            let mut wrong = [before.unwrap_or_default(), b"!"].concat();
            // As long as the right one: only its last byte tells.
            if let Some(before) = before.filter(|before| before.len() > 1 && before.last() != Some(&b'!')) {
                wrong.remove(before.len() - 1);
            }
            let refused = tree.compare_and_swap(key, Some(&wrong), new).map_err(text("compare_and_swap"))?;
            check(refused.is_err(), || format!("{name}: compare_and_swap {key:?} took a wrong value for the old one"))?;
            let done = tree.compare_and_swap(key, before, new).map_err(text("compare_and_swap"))?;
            check(done.is_ok(), || format!("{name}: compare_and_swap {key:?} refused {before:?}: {done:?}"))
        }
        (Call::Update, _) => {
            let old = tree.fetch_update(key, |_| new.map(<[u8]>::to_vec)).map_err(text("fetch_update"))?;
            check(old.as_deref() == before, || format!("{name}: fetch_update {key:?} gave {old:?}, not {before:?}"))
        }
        (_, Some(value)) => {
            let fresh = tree.insert(key, value).map_err(text("insert"))?;
            check(fresh == before.is_none(), || format!("{name}: insert {key:?} says new: {fresh}, before: {before:?}"))
        }
        (_, None) => {
            let was = tree.remove(key).map_err(text("remove"))?;
            check(was == before.is_some(), || format!("{name}: remove {key:?} says there: {was}, before: {before:?}"))
        }
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// All records of a store, once read by iteration; trees that are not the workload's are an error.
pub fn dump(store: &Store) -> Result<State, String> {
    let mut state = State::new();
    for name in store.tree_names().map_err(text("tree_names"))? {
        let number = name.strip_prefix('t').and_then(|n| n.parse::<u8>().ok());
        let number = number.ok_or_else(|| format!("a tree {name:?} that nobody made"))?;
        let tree = store.existing_tree(&name).map_err(text("existing_tree"))?;
        let tree = tree.ok_or_else(|| format!("tree {name:?} is listed but not there"))?;
        let mut last: Option<Vec<u8>> = None;
        for item in tree.iter() {
            let (key, value) = item.map_err(text("iteration"))?;
            check(last.as_ref().is_none_or(|last| *last < key), || format!("{name}: {key:?} comes after {last:?}"))?;
            last = Some(key.clone());
            state.insert((number, key), value);
        }
    }
    Ok(state)
}

/// `check()` clean and the records, or what is wrong.
pub fn checked_dump(store: &Store) -> Result<State, String> {
    store.check().map_err(text("check"))?;
    dump(store)
}
