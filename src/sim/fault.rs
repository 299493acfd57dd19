//! Errors on demand: which call fails, how often, with what.

use std::io::{self, ErrorKind};
use std::path::Path;

/// A kind of call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultOp {
    /// Reading from a file.
    Read,
    /// Writing to a file, the writing half of a synced write included. Nothing is written.
    Write,
    /// Setting a file's length. Nothing changes.
    SetLen,
    /// Allocating space. Nothing changes.
    Allocate,
    /// Syncing a file, the second half of a synced write included. What it covered may be lost in a crash, even after a
    /// later sync that succeeds; reads go on showing it.
    Sync,
    /// Creating a file or a directory. Nothing changes.
    Create,
    /// Renaming. Nothing changes.
    Rename,
    /// Removing. Nothing changes.
    Remove,
    /// Syncing a directory. What it covered may be lost in a crash, even after a later sync that succeeds.
    SyncDir,
}

#[derive(Clone, Debug)]
struct Fault {
    op: FaultOp,
    nth: u64,
    lasting: bool,
    kind: ErrorKind,
    only_in: Option<String>,
    seen: u64,
}

/// Which calls fail. Calls are counted from 1, from the moment the plan is given to a disk.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    faults: Vec<Fault>,
    hit: u64,
}

impl FaultPlan {
    /// Nothing fails.
    #[must_use]
    pub fn new() -> FaultPlan {
        FaultPlan::default()
    }

    /// The `nth` call of `op`, and no other, fails with `kind`.
    #[must_use]
    pub fn fail(self, op: FaultOp, nth: u64, kind: ErrorKind) -> FaultPlan {
        self.with(op, nth, kind, false)
    }

    /// The `nth` call of `op` and every later one fails with `kind`.
    #[must_use]
    pub fn fail_from(self, op: FaultOp, nth: u64, kind: ErrorKind) -> FaultPlan {
        self.with(op, nth, kind, true)
    }

    /// The fault named last counts, and fails, only calls on paths that contain `text`.
    #[must_use]
    pub fn only_in(mut self, text: &str) -> FaultPlan {
        if let Some(fault) = self.faults.last_mut() {
            fault.only_in = Some(text.to_owned());
        }
        self
    }

    fn with(mut self, op: FaultOp, nth: u64, kind: ErrorKind, lasting: bool) -> FaultPlan {
        self.faults.push(Fault { op, nth: nth.max(1), lasting, kind, only_in: None, seen: 0 });
        self
    }

    /// Whether nothing fails.
    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many calls failed because of the plan.
    pub(super) fn hits(&self) -> u64 {
        self.hit
    }

    /// Counts a call; an `Err` is what it must answer.
    pub(super) fn check(&mut self, op: FaultOp, path: &Path) -> io::Result<()> {
        let mut failed = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op) {
            if let Some(text) = &fault.only_in
                && !path.to_string_lossy().contains(text.as_str())
            {
                continue;
            }
            fault.seen += 1;
            if fault.seen == fault.nth || fault.lasting && fault.seen > fault.nth {
                let text = format!("injected: {op:?} {} of {}", fault.seen, path.display());
                failed.get_or_insert(io::Error::new(fault.kind, text));
            }
        }
        match failed {
            Some(error) => {
                self.hit += 1;
                Err(error)
            }
            None => Ok(()),
        }
    }
}
