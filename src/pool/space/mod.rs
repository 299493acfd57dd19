//! Which pages of the page file are free.
//!
//! The state on disk is a *snapshot* plus the allocations and frees that ride in the log records of whoever makes them, from
//! the snapshot's own LSN on. In memory an extent is in one of four states:
//!
//! | state | meaning | in a snapshot |
//! |---|---|---|
//! | free | can be given out | free |
//! | reserved | given out, no record names it yet; also: holds a snapshot | free (A3) |
//! | allocated | a record allocated it: in none of the maps | absent |
//! | pending | a record freed it at an LSN that a crash could still bring back | pending, with that LSN |
//!
//! Pending extents become free when the redo LSN of both superblocks is beyond their LSN (A1): only then can no recovery
//! want the page's old life back.

mod allocator;
mod extents;
mod places;
mod runs;
mod snapshot;
#[cfg(test)]
mod tests;

pub use allocator::{Allocator, GateGuard, SpaceMap};
pub use extents::Extent;
pub use snapshot::Snapshot;
