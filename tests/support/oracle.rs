//! What a store may hold after a crash: acknowledged ⊆ recovered ⊆ issued.
//!
//! A [`History`] is a sequence of atomic transactions as one thread issued them. The state after each prefix has a
//! fingerprint (the sum of the hashes of its records, so it is kept up to date by the records that change), and a recovered
//! state is right exactly if it equals the state after some prefix that is at least what was acknowledged and at most
//! what was issued. That one rule holds for every durability mode: the modes only differ in what counts as acknowledged.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

/// The number of a tree and a key in it.
pub type Place = (u8, Vec<u8>);
/// The records of a store.
pub type State = BTreeMap<Place, Vec<u8>>;

/// One key's change: a new value, or `None` for a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub tree: u8,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Changes that happen together or not at all.
pub type Txn = Vec<Write>;

/// The transactions issued on top of a base state, and the fingerprint of the state after each of them.
#[derive(Clone, Debug)]
pub struct History {
    base: State,
    txns: Vec<Txn>,
    prints: Vec<u64>,
    now: State,
    /// What the last transaction changed, as it was before.
    undo: Vec<(Place, Option<Vec<u8>>)>,
}

/// The hash of one record; a state's fingerprint is the wrapping sum over its records.
fn record_print(tree: u8, key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tree, key, value).hash(&mut hasher);
    hasher.finish()
}

/// The fingerprint of a whole state.
pub fn fingerprint(state: &State) -> u64 {
    state.iter().fold(0, |sum, ((tree, key), value)| sum.wrapping_add(record_print(*tree, key, value)))
}

/// Applies a transaction to a state.
pub fn apply(state: &mut State, txn: &Txn) {
    for write in txn {
        let place = (write.tree, write.key.clone());
        match &write.value {
            Some(value) => state.insert(place, value.clone()),
            None => state.remove(&place),
        };
    }
}

impl History {
    /// A history that begins with `base`, which counts as acknowledged.
    pub fn new(base: State) -> History {
        History { prints: vec![fingerprint(&base)], now: base.clone(), base, txns: Vec::new(), undo: Vec::new() }
    }

    /// Notes that a transaction is about to be issued.
    pub fn push(&mut self, txn: Txn) {
        let mut print = self.prints[self.prints.len() - 1];
        self.undo.clear();
        for write in &txn {
            let place = (write.tree, write.key.clone());
            self.undo.push((place.clone(), self.now.get(&place).cloned()));
            let old = match &write.value {
                Some(value) => {
                    print = print.wrapping_add(record_print(write.tree, &write.key, value));
                    self.now.insert(place, value.clone())
                }
                None => self.now.remove(&place),
            };
            if let Some(old) = old {
                print = print.wrapping_sub(record_print(write.tree, &write.key, &old));
            }
        }
        self.prints.push(print);
        self.txns.push(txn);
    }

    /// Takes back the last transaction, which was refused and changed nothing. Only once after a push.
    pub fn retract(&mut self) {
        self.txns.pop();
        self.prints.pop();
        for (place, old) in std::mem::take(&mut self.undo).into_iter().rev() {
            match old {
                Some(value) => self.now.insert(place, value),
                None => self.now.remove(&place),
            };
        }
    }

    /// How many transactions were issued.
    pub fn len(&self) -> usize {
        self.txns.len()
    }

    /// Whether nothing was issued yet.
    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// The state with everything issued applied.
    pub fn now(&self) -> &State {
        &self.now
    }

    /// The state after the first `n` transactions.
    pub fn after(&self, n: usize) -> State {
        let mut state = self.base.clone();
        self.txns[..n].iter().for_each(|txn| apply(&mut state, txn));
        state
    }

    /// Checks a recovered state; `Ok` holds how many transactions it contains, `Err` a description of what is wrong.
    pub fn verify(&self, recovered: &State, acknowledged: usize, issued: usize) -> Result<usize, String> {
        assert!(acknowledged <= issued && issued <= self.len(), "the campaign lost count");
        let print = fingerprint(recovered);
        (acknowledged..=issued)
            .find(|n| self.prints[*n] == print)
            .ok_or_else(|| self.explain(recovered, acknowledged, issued))
    }

    /// Names the prefix that comes closest and the records that differ from it.
    fn explain(&self, recovered: &State, acknowledged: usize, issued: usize) -> String {
        let mut out = format!("no prefix from {acknowledged} (acknowledged) to {issued} (issued) gives this state; ");
        if let Some(n) = (0..=self.len()).find(|n| self.prints[*n] == fingerprint(recovered)) {
            let _ = write!(out, "it is the state after {n}");
            return out;
        }
        let mut state = self.after(acknowledged);
        let mut best = (acknowledged, differences(&state, recovered));
        for n in acknowledged + 1..=issued {
            apply(&mut state, &self.txns[n - 1]);
            let found = differences(&state, recovered);
            if found.len() < best.1.len() {
                best = (n, found);
            }
        }
        let _ = write!(out, "closest is {} with {} differences", best.0, best.1.len());
        for line in best.1.iter().take(12) {
            let _ = write!(out, "\n    {line}");
        }
        out
    }
}

/// Lists the records in which two states differ.
pub fn differences(expected: &State, found: &State) -> Vec<String> {
    let mut out = Vec::new();
    for (place, value) in expected {
        match found.get(place) {
            None => out.push(format!("missing: {}", show(place, value))),
            Some(other) if other != value => {
                out.push(format!("wrong: {} where {} belongs", show(place, other), show(place, value)))
            }
            Some(_) => {}
        }
    }
    for (place, value) in found {
        if !expected.contains_key(place) {
            out.push(format!("surplus: {}", show(place, value)));
        }
    }
    out
}

/// A record in a form that fits a line.
fn show(place: &(u8, Vec<u8>), value: &[u8]) -> String {
    let short = |bytes: &[u8]| {
        let head: String = bytes.iter().take(24).flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect();
        if bytes.len() > 24 { format!("{head}.. ({} bytes)", bytes.len()) } else { head }
    };
    format!("tree {} {} = {}", place.0, short(&place.1), short(value))
}
