//! A disk in memory that remembers what is durable and can show every state that a crash may leave.
//!
//! A real disk loses, after a power cut, some of what was not synced: any sectors of any writes, in any order, lengths
//! apart from contents, names apart from both. A program that survives this in a thousand tries on a real machine has
//! seen a few such states. [`SimDisk`] keeps, for each file, the durable bytes and every change since, so that a test
//! picks a moment and a seed and gets one of the states the model allows, always the same one:
//!
//! ```
//! use pagebox::io::{Disk, OpenMode};
//! use pagebox::sim::SimDisk;
//! use std::path::Path;
//!
//! let disk = SimDisk::new(7);
//! let file = disk.open(Path::new("/journal"), OpenMode::CreateNew)?;
//! disk.sync_dir(Path::new("/"))?;
//! file.write_at(b"promised", 0)?;
//! file.sync_data()?;
//! disk.mark(1);
//! file.write_at(b"perhaps", 4096)?;
//! for seed in 0..100 {
//!     let after = disk.crash(seed);
//!     assert_eq!(&after.read_file(Path::new("/journal"))?[..8], b"promised");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The history of operations is kept (unless switched off), so a workload runs once and is then crashed at every
//! operation: [`SimDisk::crash_at`]. Marks tie what a program was told to the operations before it.
//!
//! What is allowed is written down in `docs/fault-model.md`. The shape is that of ALICE (OSDI 2014) and CrashMonkey (OSDI
//! 2018): record the operations, then enumerate states by a model of persistence, but with sectors as the unit and seeds
//! in place of full enumeration.
//!
//! | file | what it does |
//! |---|---|
//! | `image` | one file's bytes in shared chunks |
//! | `inode` | a file: visible, durable, and what is pending between |
//! | `names` | directories and pending entry changes |
//! | `state`, `history` | the whole medium, its operations, and the past |
//! | `choose`, `crash` | from a state and a seed to a crash state |
//! | `disk`, `file` | the [`crate::io::Disk`] and its open files |
//! | `fault`, `damage` | errors on demand, and bytes changed behind the program's back |

#![forbid(unsafe_code)]

mod choose;
mod crash;
mod damage;
mod disk;
mod fault;
mod file;
mod history;
mod image;
mod inode;
mod names;
mod rng;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

pub use fault::{FaultOp, FaultPlan};

use crate::io::WriteObserver;
use crate::sync::StdMutex;
use history::History;
use names::Ino;
use rng::{Rng, mix};
use state::{Op, State};

/// What a disk was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimStats {
    /// Reads.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Writes, synced ones included.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs of files, synced writes included, failed ones too.
    pub syncs: u64,
    /// Syncs of directories, failed ones too.
    pub dir_syncs: u64,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug)]
enum Held {
    Shared(usize),
    Exclusive,
}

struct Inner {
    seed: u64,
    garbage: bool,
    /// Whether there is a way past a cache that is none.
    direct: bool,
    state: State,
    history: History,
    faults: FaultPlan,
    space_limit: Option<u64>,
    stats: SimStats,
    locks: BTreeMap<Ino, Held>,
    open: BTreeMap<Ino, usize>,
}

impl Inner {
    fn new(seed: u64, state: State, history: bool, garbage: bool) -> Inner {
        let history = History::new(history, &state);
        Inner {
            seed,
            garbage,
            direct: false,
            state,
            history,
            faults: FaultPlan::new(),
            space_limit: None,
            stats: SimStats::default(),
            locks: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Carries out an operation that was found possible.
    fn commit(&mut self, op: Op) {
        self.state.apply(&op);
        self.history.push(op, &self.state);
    }

    fn free_bytes(&self) -> u64 {
        self.space_limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.state.used_bytes()))
    }
}

struct Shared {
    inner: StdMutex<Inner>,
    observer: StdMutex<Option<Arc<dyn WriteObserver>>>,
}

impl Shared {
    /// A panic while this is held would come from a bug of ours in the middle of a change; every reader of the state then
    /// is in the same failing test.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A simulated disk. Clones are the same disk; [`crash`](SimDisk::crash) gives another one.
///
/// Usable from many threads at once; what it does is decided by its seed and the order of the calls. Paths start at a root
/// directory that always exists, whether they begin with `/` or not. Costs memory for all bytes written while the history
/// is on.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.shared.lock();
        f.debug_struct("SimDisk")
            .field("seed", &inner.seed)
            .field("operations", &inner.state.seq)
            .finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk with its history on.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::with(Inner::new(mix(seed, 0), State::new(), true, true))
    }

    fn with(inner: Inner) -> SimDisk {
        SimDisk { shared: Arc::new(Shared { inner: StdMutex::new(inner), observer: StdMutex::new(None) }) }
    }

    /// Switches the recording of operations. Off, everything recorded so far is dropped; on, recording begins here. The
    /// disks that [`crash`](SimDisk::crash) gives inherit the setting.
    pub fn set_history(&self, on: bool) {
        let mut inner = self.shared.lock();
        if on != inner.history.is_on() {
            inner.history = History::new(on, &inner.state);
        }
    }

    /// Whether a crash may leave garbage instead of zeros where a file has grown and nothing was ever acknowledged. On at
    /// first; inherited.
    pub fn set_garbage(&self, on: bool) {
        self.shared.lock().garbage = on;
    }

    /// Whether files say that they are written past a cache ([`Disk::open_direct`](crate::io::Disk::open_direct)), so that who
    /// uses the disk goes the ways that real files make possible. Nothing else is different: there is no cache to pass. Off at
    /// first; inherited.
    pub fn set_direct(&self, on: bool) {
        self.shared.lock().direct = on;
    }

    /// How many operations changed, or synced, anything so far. Reads, opens and refused calls do not count.
    #[must_use]
    pub fn history_len(&self) -> u64 {
        self.shared.lock().state.seq
    }

    /// A disk as a crash now may leave it: another disk, without locks, observer, faults or space limit. The same seed
    /// gives the same disk. Cost: proportional to what is not synced.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let inner = self.shared.lock();
        let state = inner.state.clone();
        SimDisk::crashed(inner, &state, seed)
    }

    /// As [`crash`](SimDisk::crash), but right after the first `index` operations. Cost: up to 64 operations more.
    ///
    /// # Panics
    /// If `index` is beyond [`history_len`](SimDisk::history_len), or lies where the history was off.
    #[must_use]
    pub fn crash_at(&self, index: u64, seed: u64) -> SimDisk {
        let inner = self.shared.lock();
        let now = inner.state.seq;
        let state = if index == now { Some(inner.state.clone()) } else { inner.history.state_at(index) };
        match state {
            Some(state) => SimDisk::crashed(inner, &state, seed),
            None => panic!("operation {index} is not in the history (of {now})"),
        }
    }

    /// Lets go of `inner` before the work, so that many threads can make crash states of one disk.
    fn crashed(inner: MutexGuard<'_, Inner>, state: &State, seed: u64) -> SimDisk {
        let (seed, history, garbage, direct) =
            (mix(inner.seed, seed), inner.history.is_on(), inner.garbage, inner.direct);
        drop(inner);
        let left = crash::crash(state, Rng::new(seed), garbage);
        SimDisk::with(Inner { direct, ..Inner::new(seed, left, history, garbage) })
    }

    /// Notes that something, named by `tag`, was known to be done when the operations so far had been.
    pub fn mark(&self, tag: u64) {
        let mut inner = self.shared.lock();
        let seq = inner.state.seq;
        inner.history.mark(seq, tag);
    }

    /// The tags of all marks set when at most `index` operations had been carried out, in order: what was acknowledged
    /// before a crash at `index`.
    #[must_use]
    pub fn marks_before(&self, index: u64) -> Vec<u64> {
        self.shared.lock().history.marks_before(index).iter().map(|mark| mark.1).collect()
    }

    /// The last of [`marks_before`](SimDisk::marks_before), without the others.
    #[must_use]
    pub fn last_mark_before(&self, index: u64) -> Option<u64> {
        self.shared.lock().history.marks_before(index).last().map(|mark| mark.1)
    }

    /// Counts of the calls so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.shared.lock().stats
    }

    /// Makes calls fail as `plan` says, from now on and in place of any earlier plan.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.shared.lock().faults = plan;
    }

    /// How many calls the present plan has failed.
    #[must_use]
    pub fn faults_hit(&self) -> u64 {
        self.shared.lock().faults.hits()
    }

    /// Limits the bytes of file content, counted in blocks of 4,096; `None` lifts the limit. A write that does not fit
    /// writes what does, as files do, and answers `StorageFull`; an allocation that does not fit changes nothing.
    pub fn set_space_limit(&self, bytes: Option<u64>) {
        self.shared.lock().space_limit = bytes;
    }

    /// Bytes of file content in use, counted in blocks of 4,096.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.lock().state.used_bytes()
    }

    /// Every visible file and its bytes. Cost: a copy of all of them.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let inner = self.shared.lock();
        let tree = &inner.state.names.live;
        let mut all = BTreeMap::new();
        let mut todo = vec![(names::ROOT, PathBuf::from("/"))];
        while let Some((dir, path)) = todo.pop() {
            for (name, entry) in tree.list(dir) {
                if entry.directory {
                    todo.push((entry.ino, path.join(name)));
                } else if let Some(inode) = inner.state.inodes.get(&entry.ino) {
                    all.insert(path.join(name), inode.live.to_vec());
                }
            }
        }
        all
    }
}
