//! Whether a recorded history is linearizable: some order of its operations, which keeps those apart that did not overlap,
//! explains every answer.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of
//! configurations ("Testing for Linearizability", 2017). Operations on one key only touch that key, so each key is an object
//! of its own (linearizability is local); operations on several keys, which are batches, tie their keys into one object.

use std::collections::HashSet;
use std::fmt::Write as _;

/// A value by its number; 0 is not used.
pub type Value = u32;

/// What an operation's answer says of a key just before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// Nothing.
    Any,
    There,
    Absent,
    Is(Option<Value>),
    IsNot(Option<Value>),
}

/// What an operation makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Same,
    Now(Option<Value>),
}

/// An operation's effect on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    pub key: usize,
    pub saw: Saw,
    pub left: Left,
}

/// A finished operation. Times are ticks of one clock; `ended` > `began`.
#[derive(Clone, Debug)]
pub struct Op {
    pub name: &'static str,
    pub thread: usize,
    pub began: u64,
    pub ended: u64,
    /// Of different keys; all at one moment.
    pub touches: Vec<Touch>,
}

/// What a check went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    pub objects: u64,
    pub configurations: u64,
    /// Operations that overlapped another one on the same object.
    pub overlapping: u64,
}

impl Saw {
    fn fits(self, value: Option<Value>) -> bool {
        match self {
            Saw::Any => true,
            Saw::There => value.is_some(),
            Saw::Absent => value.is_none(),
            Saw::Is(wanted) => value == wanted,
            Saw::IsNot(other) => value != other,
        }
    }
}

/// Checks a history that began with these values, by key. `Err` describes an object that no order explains.
pub fn check(initial: &[Option<Value>], ops: &[Op]) -> Result<Effort, String> {
    let mut effort = Effort::default();
    let object_of = objects(initial.len(), ops);
    for object in 0..initial.len() {
        let mut own: Vec<&Op> =
            ops.iter().filter(|op| op.touches.first().is_some_and(|touch| object_of[touch.key] == object)).collect();
        if own.is_empty() {
            continue;
        }
        own.sort_by_key(|op| op.began);
        effort.objects += 1;
        effort.overlapping += overlapping(&own);
        let mut search = Search::new(initial, own);
        let explained = search.explore(0, 0);
        effort.configurations += search.configurations;
        if !explained {
            return Err(search.describe(initial, |key| object_of[key] == object));
        }
    }
    Ok(effort)
}

/// For each key, the least key that operations on several keys tie it to.
fn objects(keys: usize, ops: &[Op]) -> Vec<usize> {
    let mut least: Vec<usize> = (0..keys).collect();
    loop {
        let before = least.clone();
        for op in ops {
            let all = op.touches.iter().map(|touch| least[touch.key]).min().unwrap_or(0);
            op.touches.iter().for_each(|touch| least[touch.key] = all);
        }
        if least == before {
            return least;
        }
    }
}

fn overlapping(ops: &[&Op]) -> u64 {
    let mut count = 0;
    for (i, op) in ops.iter().enumerate() {
        let before = ops[..i].iter().any(|other| other.ended > op.began);
        let after = ops.get(i + 1).is_some_and(|other| other.began < op.ended);
        count += u64::from(before || after);
    }
    count
}

/// The search for an order of one object's operations.
struct Search<'a> {
    /// By their beginnings.
    ops: Vec<&'a Op>,
    state: Vec<Option<Value>>,
    /// Which operations are in the order already, a bit each.
    taken: Vec<u64>,
    order: Vec<usize>,
    /// Configurations that lead nowhere or were tried: what is taken, and the state.
    seen: HashSet<(Vec<u64>, Vec<Option<Value>>)>,
    configurations: u64,
    /// The longest order found, for the report.
    longest: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(initial: &[Option<Value>], ops: Vec<&'a Op>) -> Search<'a> {
        Search {
            taken: vec![0; ops.len().div_ceil(64)],
            ops,
            state: initial.to_vec(),
            order: Vec::new(),
            seen: HashSet::new(),
            configurations: 0,
            longest: Vec::new(),
        }
    }

    fn is_taken(&self, i: usize) -> bool {
        self.taken[i / 64] >> (i % 64) & 1 == 1
    }

    /// Takes operation `i` if it fits the state; the values before, for taking it back.
    fn take(&mut self, i: usize) -> Option<Vec<(usize, Option<Value>)>> {
        let op = self.ops[i];
        if !op.touches.iter().all(|touch| touch.saw.fits(self.state[touch.key])) {
            return None;
        }
        let mut undo = Vec::new();
        for touch in &op.touches {
            if let Left::Now(value) = touch.left {
                undo.push((touch.key, std::mem::replace(&mut self.state[touch.key], value)));
            }
        }
        self.taken[i / 64] |= 1 << (i % 64);
        self.order.push(i);
        if self.order.len() > self.longest.len() {
            self.longest.clone_from(&self.order);
        }
        Some(undo)
    }

    fn take_back(&mut self, i: usize, undo: Vec<(usize, Option<Value>)>) {
        self.order.pop();
        self.taken[i / 64] &= !(1 << (i % 64));
        undo.into_iter().for_each(|(key, value)| self.state[key] = value);
    }

    /// Whether what is not taken yet can be put in order from here; operations before `first` are taken.
    fn explore(&mut self, first: usize, depth: usize) -> bool {
        if depth == self.ops.len() {
            return true;
        }
        self.configurations += 1;
        let first = (first..self.ops.len()).find(|i| !self.is_taken(*i)).unwrap_or(self.ops.len());
        let open = (first..self.ops.len()).filter(|i| !self.is_taken(*i));
        let horizon = open.map(|i| self.ops[i].ended).min().unwrap_or(u64::MAX);
        // Next may come whatever began before all others ended.
        let next: Vec<usize> = (first..self.ops.len())
            .take_while(|i| self.ops[*i].began < horizon)
            .filter(|i| !self.is_taken(*i))
            .collect();
        // What changes nothing and fits now may as well come now: no other order can do better.
        for &i in &next {
            if self.ops[i].touches.iter().all(|touch| touch.left == Left::Same)
                && let Some(undo) = self.take(i)
            {
                let found = self.explore(first, depth + 1);
                self.take_back(i, undo);
                return found;
            }
        }
        for i in next {
            if let Some(undo) = self.take(i) {
                let fresh = self.seen.insert((self.taken.clone(), self.state.clone()));
                let found = fresh && self.explore(first, depth + 1);
                self.take_back(i, undo);
                if found {
                    return true;
                }
            }
        }
        false
    }

    fn describe(&self, initial: &[Option<Value>], mine: impl Fn(usize) -> bool) -> String {
        let mut out =
            String::from("no order explains these operations; those with a number can be put in that order\n");
        for (key, value) in initial.iter().enumerate().filter(|(key, _)| mine(*key)) {
            let _ = writeln!(out, "    key {key} is {value:?} at first");
        }
        for (i, op) in self.ops.iter().enumerate() {
            let place = self.longest.iter().position(|n| *n == i).map_or("--".to_owned(), |at| format!("{at:2}"));
            let _ = write!(out, "    {place} thread {} {:6}..{:6} {}", op.thread, op.began, op.ended, op.name);
            for touch in &op.touches {
                let _ = write!(out, "  [{}] saw {:?} left {:?}", touch.key, touch.saw, touch.left);
            }
            out.push('\n');
        }
        out
    }
}
