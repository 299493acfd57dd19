//! Redo of a tree's records: the same functions that made the changes, on the bytes the log holds.

use crate::error::{Error, Result, Site};
use crate::page::bytes::PageWriter;
use crate::page::slotted::{EditError, ops};
use crate::types::{Lsn, PageId};
use crate::wal::{Part, RedoHandler};

/// The redo handler for pages of kind [`PageKind::BTREE`](crate::PageKind::BTREE). Needs no tree: every part is
/// self-contained.
#[derive(Clone, Copy, Debug, Default)]
pub struct BTreeRedo;

impl RedoHandler for BTreeRedo {
    fn redo(&self, page: &mut [u8], lsn: Lsn, part: &Part<'_>) -> Result<()> {
        redo_part(PageWriter::from_slice(page), lsn, part)
    }
}

/// [`BTreeRedo`] in the page where it lies.
pub(crate) fn redo_part(page: PageWriter<'_>, lsn: Lsn, part: &Part<'_>) -> Result<()> {
    ops::apply(part.op, page, part.page, part.payload)
        .map_err(|error| damaged(part.page, &format!("redo of {lsn}, op {}: {}", part.op, reason(error))))
}

pub(super) fn reason(error: EditError) -> &'static str {
    match error {
        EditError::Full => "no room for it",
        EditError::Damaged(what) => what,
    }
}

pub(super) fn damaged(page: PageId, detail: &str) -> Error {
    Error::corrupted(Site::Page(page), detail)
}
