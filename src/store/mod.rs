//! The front door: a directory that holds named ordered trees of byte keys and values.

#![forbid(unsafe_code)]

mod background;
mod batch;
mod catalog;
mod check;
mod checkpoint;
mod engine;
mod files;
mod key_range;
mod observer;
mod open;
mod options;
mod range;
mod recovery;
mod report;
mod running;
mod store_api;
mod superblock;
mod sync_point;
mod tree;
mod tree_write;

pub use batch::Batch;
pub use key_range::KeyRange;
pub use options::{Durability, Progress, StoreOptions};
pub use range::Range;
pub use report::{CheckReport, Stats};
pub use store_api::Store;
pub use sync_point::SyncPoint;
pub use tree::{CasConflict, Tree};
