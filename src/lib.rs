//! Pagebox: a storage substrate for data systems. Memory-fast on the hot working set, disk-backed beyond it, crash-safe.
//!
//! One crate, five layers, each behind its own feature:
//!
//! | feature | module | what it is |
//! |---|---|---|
//! | `latch` | `latch` | `HybridLatch`: optimistic, shared and exclusive |
//! | `swip` | `swip` | the verified reference word: page id and frame hint in 64 bits |
//! | `pool` | `pool` | buffer pool, page store, space allocation |
//! | `wal` | `wal` | write-ahead log with group commit |
//! | `btree` (default) | `btree`, `Store` | the concurrent B+tree and the store in front of it |
//! | `metrics` | | a store's numbers through the `metrics` facade |
//! | `sim` | `sim` | a simulated disk for crash tests |
//!
#![cfg_attr(feature = "btree", doc = "```")]
#![cfg_attr(not(feature = "btree"), doc = "```ignore")]
//! # fn main() -> pagebox::Result<()> {
//! # let temp = tempfile::tempdir().unwrap();
//! # let dir = temp.path().join("store");
//! let store = pagebox::Store::open(&dir)?;
//! let words = store.tree("words")?;
//! words.insert("hello", "world")?; // durable on return
//! assert_eq!(words.get("hello")?.as_deref(), Some(&b"world"[..]));
//! for pair in words.prefix("he") {
//!     let (key, value) = pair?;
//!     assert_eq!((&key[..], &value[..]), (&b"hello"[..], &b"world"[..]));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a put
//!
//! 1. `Tree::insert` (`store/tree_write.rs`) counts itself as running and calls the tree.
//! 2. `BTree::insert` (`btree/write.rs`) checks the sizes and reserves room in the log (`Wal::reserve`), while it holds
//!    nothing: this is where a full log waits for a checkpoint.
//! 3. It goes down from the root optimistically (`btree/descend.rs`): each node is read without a latch, the child's
//!    version taken, the parent validated. A page that is not in memory is a miss, see below.
//! 4. The leaf's view is upgraded to its exclusive latch, which fails, and starts again from 3, if the leaf changed since it
//!    was searched. If the record does not fit, everything is let go, the leaf split (`btree/split.rs`), and it starts
//!    again from 2.
//! 5. `PageMut::begin_change` sets the frame's recovery LSN, `Wal::append` claims the LSN and places the bytes, the slotted
//!    page takes the record, `PageMut::finish_change` stamps it with the LSN, the latch is released (invariant W5).
//! 6. `Engine::acknowledge` waits as the durability says: in `Sync`, `Wal::commit` returns when the record is on disk; who
//!    finds no flush running makes it, for all who appended by then.
//!
//! # The way of a miss
//!
//! 1. `BufferPool::try_child` (`pool/fix.rs`) looks at the frame that the reference names as a hint; the header there
//!    carries another page.
//! 2. The page table has no frame for the page either (`pool/table.rs`).
//! 3. A frame is claimed: from the free list, or by eviction (`pool/evict.rs`); if only dirty pages are cold, a batch of
//!    them is written first, each after the log is durable to its LSN (`pool/flush.rs`).
//! 4. `pool/load.rs` latches the frame, enters it in the table (others who want the page now wait there), reads the page
//!    and verifies checksum and page id.
//! 5. Unlatching publishes it. The hint in the parent is repaired under the parent's shared latch, and the descent goes on
//!    if the parent is still what it was.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod error;
pub mod types;

pub use error::{Error, Result, Site};
pub use types::{FrameId, Lsn, PageId, PageKind, SizeClass, TreeId};

// For what tests of the inside share with those of the outside.
#[cfg(test)]
extern crate self as pagebox;

#[allow(dead_code)]
mod sync;

#[cfg(any(feature = "pool", feature = "wal", feature = "sim"))]
pub mod io;

#[cfg(any(feature = "pool", feature = "wal"))]
mod prefetch;

#[cfg(feature = "pool")]
pub mod page;

#[cfg(feature = "btree")]
pub mod btree;
#[cfg(feature = "btree")]
mod telemetry;
#[cfg(feature = "btree")]
mod threading;

#[cfg(feature = "btree")]
pub mod store;

#[cfg(feature = "btree")]
pub use store::{
    Batch, CasConflict, CheckReport, Durability, KeyRange, Progress, Range, Stats, Store, StoreOptions, SyncPoint, Tree,
};
#[cfg(feature = "pool")]
pub mod pool;

#[cfg(feature = "latch")]
pub mod latch;

#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "swip")]
pub mod swip;

#[cfg(feature = "wal")]
pub mod wal;

#[cfg(feature = "wal")]
pub use wal::SyncMethod;

/// Runs the README's examples as doc tests.
#[cfg(all(doctest, feature = "btree"))]
#[doc = include_str!("../README.md")]
struct Readme;
