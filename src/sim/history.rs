//! What happened, so that the state after any operation can be had again: the operations, and a snapshot now and then.

use super::state::{Op, State};

/// A snapshot at least every so many operations.
const SNAPSHOT_OPS: usize = 64;
/// A snapshot at least every so many bytes written.
const SNAPSHOT_BYTES: usize = 1 << 20;

/// The recorded operations.
#[derive(Debug)]
pub(super) struct History {
    on: bool,
    /// The number of the first recorded operation.
    base: u64,
    ops: Vec<Op>,
    /// States before the operation of that number, ascending.
    snapshots: Vec<(u64, State)>,
    /// How many operations had been carried out when the tag was set, ascending.
    marks: Vec<(u64, u64)>,
    ops_since: usize,
    bytes_since: usize,
}

impl History {
    /// Starts at `state`.
    pub(super) fn new(on: bool, state: &State) -> History {
        let snapshots = if on { vec![(state.seq, state.clone())] } else { Vec::new() };
        History { on, base: state.seq, ops: Vec::new(), snapshots, marks: Vec::new(), ops_since: 0, bytes_since: 0 }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Notes an operation that has just led to `state`.
    pub(super) fn push(&mut self, op: Op, state: &State) {
        if !self.on {
            return;
        }
        self.ops_since += 1;
        if let Op::Write { data, .. } = &op {
            self.bytes_since += data.len();
        }
        self.ops.push(op);
        if self.ops_since >= SNAPSHOT_OPS || self.bytes_since >= SNAPSHOT_BYTES {
            self.snapshot(state);
        }
    }

    /// Keeps `state` as what is there now, whatever the operations so far say.
    pub(super) fn snapshot(&mut self, state: &State) {
        if !self.on {
            return;
        }
        if self.snapshots.last().is_some_and(|last| last.0 == state.seq) {
            self.snapshots.pop();
        }
        self.snapshots.push((state.seq, state.clone()));
        self.ops_since = 0;
        self.bytes_since = 0;
    }

    /// The state after `index` operations; `None` if it was not recorded. Cost: at most 64 operations done again.
    pub(super) fn state_at(&self, index: u64) -> Option<State> {
        if !self.on || index < self.base || index > self.base + self.ops.len() as u64 {
            return None;
        }
        let at = self.snapshots.partition_point(|snapshot| snapshot.0 <= index).checked_sub(1)?;
        let mut state = self.snapshots[at].1.clone();
        let (from, to) = ((state.seq - self.base) as usize, (index - self.base) as usize);
        self.ops[from..to].iter().for_each(|op| state.apply(op));
        Some(state)
    }

    pub(super) fn mark(&mut self, seq: u64, tag: u64) {
        self.marks.push((seq, tag));
    }

    /// The marks set when at most `index` operations had been carried out.
    pub(super) fn marks_before(&self, index: u64) -> &[(u64, u64)] {
        &self.marks[..self.marks.partition_point(|mark| mark.0 <= index)]
    }
}
