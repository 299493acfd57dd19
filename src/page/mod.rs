//! What a page is: the header every page carries, its checksum, and the slotted layout of B+tree nodes.
//!
//! All access to frame bytes that other threads may touch goes through [`bytes`]: never a slice (invariant U1).

#![allow(unsafe_code)]

pub mod bytes;
pub mod header;
pub mod slotted;
pub mod value;

mod rank;
#[cfg(test)]
mod tests;
