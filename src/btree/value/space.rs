//! Allocations and frees of runs of pages in records: parts of kind `SPACE` whose payload is the run's length.
//!
//! Without a payload such a part is about one page of its class.

use crate::error::{Error, Result, Site};
use crate::pool::Extent;
use crate::types::{PageId, PageKind, SizeClass};
use crate::wal::{PART_OVERHEAD, Part, RecordBuilder};

/// The bytes that one such part takes in a record.
pub(crate) const SPACE_PART: usize = PART_OVERHEAD + 4;

fn part(record: &mut RecordBuilder<'_>, op: u8, extent: Extent) {
    record.begin_part(PageKind::SPACE, op, SizeClass::ZERO, false, extent.start);
    record.put_u32(extent.units as u32);
}

/// Adds the allocation of a run to a record.
pub(super) fn allocation_part(record: &mut RecordBuilder<'_>, extent: Extent) {
    part(record, super::super::mini::ALLOCATE, extent);
}

/// Adds the free of a run to a record.
pub(crate) fn free_part(record: &mut RecordBuilder<'_>, extent: Extent) {
    part(record, super::super::mini::RELEASE, extent);
}

/// The run of pages that a part of kind `SPACE` is about.
///
/// # Errors
/// `Corrupted` if its payload is none.
pub(crate) fn extent_of(part: &Part<'_>) -> Result<Extent> {
    let units = match part.payload {
        [] => part.class.units(),
        &[a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => 0,
    };
    let extent = Extent::new(part.page, units);
    if units == 0 || extent.end() > PageId::MAX {
        return Err(Error::corrupted(Site::Page(part.page), "the log allocates or frees what is no extent"));
    }
    Ok(extent)
}
