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
//! | `sim` | `sim` | a simulated disk for crash tests |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod error;
pub mod types;

pub use error::{Error, Result, Site};
pub use types::{FrameId, Lsn, PageId, PageKind, SizeClass, TreeId};

#[allow(dead_code)]
mod sync;

#[cfg(any(feature = "pool", feature = "wal", feature = "sim"))]
pub mod io;

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
