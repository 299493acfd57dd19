//! The front door: a directory that holds named ordered trees of byte keys and values.
//!
//! This layer owns no data structure of its own. It wires the log, the pool and the trees, and owns what ties them
//! together: the superblock.
//!
//! # The parts
//!
//! - **Handles** (`Store`, `Tree`, `Range`, `SyncPoint`) share one inner object; when the last goes, it closes the store.
//!   They check that the store is open and sound, run the tree's operation, and wait as the durability says.
//! - **The engine** (`engine`) is what is open: page file, pool, log, the superblocks' state. Background threads
//!   (`background`) share it, not a handle.
//! - **Opening** (`open`, `files`, `recovery`): directory and lock, the newest valid superblock, the log read twice (once
//!   to find and judge its end, once to redo), then both superblocks with a higher incarnation (W4), then writes.
//! - **Checkpoints** (`checkpoint`): the one place where a superblock changes while the store runs (C1, C2).
//! - **The catalog** (`catalog`): tree number 1, from names to trees; and the end of trees (`dropping`).
//! - **The check** (`check`): every tree, every image on disk, and every page of the file accounted for.
//!
//! # One life of a superblock
//!
//! | event | written | by |
//! |---|---|---|
//! | creation | both copies, in `pages.tmp`, before it gets its name | `files::create` |
//! | open for writing | both copies, the older first: incarnation + 1, accepted end of the log, no longer closed | `open::begin_writing` |
//! | checkpoint | both copies, the older first: redo LSN, snapshot, retired batch | `Engine::checkpoint` |
//! | close | the same, and that the log ends there | `Engine::last_checkpoint` |
//!
//! # Locks
//!
//! In the order they may be taken: that of freeing dropped trees, the catalog's registry, the superblocks' state (`head`, held for a whole checkpoint),
//! then those of pool and log, last the gate of the page file's syncs (P9), under which nothing else is taken. No latch is
//! held when any of them is taken, and a thread that waits for log space or for a checkpoint holds no latch either (L5). User
//! code runs under none of them. The exception is poison: whoever poisons the pool may hold latches, and takes the log's flush
//! lock for a moment, under which nobody waits for a latch.
//!
//! # When something fails
//!
//! A failed sync, a failed write of a superblock, or a panic inside a change, a write of pages or a checkpoint poisons log
//! and pool before anybody is told of success (for the page file, P9: before any other sync of it may begin); from then on every call answers `Poisoned` until the store is opened again.
//! A full disk fails the write that met it, before anything changed; reads go on, and writes when there is room.

#![forbid(unsafe_code)]

mod ahead;
mod background;
mod batch;
mod catalog;
mod check;
mod checkpoint;
mod dropping;
mod engine;
mod files;
mod key_range;
mod observer;
mod open;
mod options;
mod pace;
mod range;
mod recovery;
mod report;
mod running;
mod store_api;
mod superblock;
mod sync_point;
#[cfg(test)]
mod tests;
mod tree;
mod tree_bulk;
mod tree_write;

pub use batch::Batch;
pub use key_range::KeyRange;
pub use options::{Durability, Progress, StoreOptions};
pub use range::Range;
pub use report::{CheckReport, Stats};
pub use store_api::Store;
pub use sync_point::SyncPoint;
pub use tree::{CasConflict, Tree};
