//! Where the slots lie: in a file of their own, behind a head that says how long they are, or one of them in the page file. That one
//! has room since the page file was made; a store uses it when the disk is too full for a file of its own.
//!
//! | offset | bytes | head of the file |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 8 | store id |
//! | 16 | 8 | length of a slot in bytes |
//! | 24 | 4 | CRC-32 of bytes 0..24 |
//! | 4096 | | the first slot |
//!
//! How long slots are depends on the budget with which the store was opened. The head lies in one sector and is written anew when
//! nothing in the file is needed any more.

use super::{DOUBLE_WRITE_BYTES, DOUBLE_WRITE_START, word};
use crate::error::{Error, Result};
use crate::io::{AlignedBuf, DiskFile};
use crate::sync::Arc;

const MAGIC: u64 = u64::from_le_bytes(*b"PBXcopys");
const HEAD_BYTES: usize = 4096;
const SUM: usize = 24;

#[derive(Clone, Debug)]
pub(in crate::pool) struct Area {
    file: Arc<dyn DiskFile>,
    start: u64,
    slot_bytes: u64,
    /// Whether the file holds nothing else.
    own: bool,
}

impl Area {
    /// The one slot in a page file.
    pub(in crate::pool) fn in_page_file(file: Arc<dyn DiskFile>) -> Area {
        Area { file, start: DOUBLE_WRITE_START, slot_bytes: DOUBLE_WRITE_BYTES, own: false }
    }

    /// The slots of a file as it was left; `None` if it says nothing of any.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::pool) fn found(file: &Arc<dyn DiskFile>, store_id: u64) -> Result<Option<Area>> {
        let mut head = AlignedBuf::zeroed(HEAD_BYTES);
        let n = file.read_at(&mut head, 0).map_err(|e| Error::io("read the double-write file", None, e))?;
        let sound = n == HEAD_BYTES
            && word(&head, 0) == MAGIC
            && word(&head, 8) == store_id
            && word(&head, SUM) as u32 == crc32fast::hash(&head[..SUM]);
        let slot_bytes = word(&head, 16);
        let sound = sound && (1..=DOUBLE_WRITE_BYTES).contains(&slot_bytes);
        Ok(sound.then(|| Area { file: file.clone(), start: HEAD_BYTES as u64, slot_bytes, own: true }))
    }

    /// Slots of `slot_bytes` from here on, one at least, in a file that holds nothing that is needed.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub(in crate::pool) fn make(file: Arc<dyn DiskFile>, store_id: u64, slot_bytes: u64) -> Result<Area> {
        let mut head = AlignedBuf::zeroed(HEAD_BYTES);
        head[..8].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..16].copy_from_slice(&store_id.to_le_bytes());
        head[16..SUM].copy_from_slice(&slot_bytes.to_le_bytes());
        let sum = crc32fast::hash(&head[..SUM]);
        head[SUM..SUM + 4].copy_from_slice(&sum.to_le_bytes());
        file.write_at_sync(&head, 0).map_err(|e| Error::io("write the double-write file", None, e))?;
        let area = Area { file, start: HEAD_BYTES as u64, slot_bytes, own: true };
        if area.whole_slots()? == 0 {
            area.make_room(0)?;
        }
        Ok(area)
    }

    pub(in crate::pool) fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    pub(in crate::pool) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// Whether it can have more slots than there are.
    pub(in crate::pool) fn is_own(&self) -> bool {
        self.own
    }

    /// Where a slot starts, in bytes of the file.
    pub(in crate::pool) fn at(&self, slot: usize) -> u64 {
        self.start + slot as u64 * self.slot_bytes
    }

    /// Slots that may have something in them: the last one may be cut off.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::pool) fn slots(&self) -> Result<usize> {
        Ok(self.slots_len()?.map_or(1, |len| len.div_ceil(self.slot_bytes) as usize))
    }

    /// Slots that there is room for without asking the disk for more.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::pool) fn whole_slots(&self) -> Result<usize> {
        Ok(self.slots_len()?.map_or(1, |len| (len / self.slot_bytes) as usize))
    }

    /// How long the slots of a file of their own are together.
    fn slots_len(&self) -> Result<Option<u64>> {
        if !self.own {
            return Ok(None);
        }
        let len = self.file.len().map_err(|e| Error::io("read length", None, e))?;
        Ok(Some(len.saturating_sub(self.start)))
    }

    /// Gives up all slots but the first `keep`, if there are more: nothing relies on them any more. Whether the file is shorter now.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::pool) fn cut(&self, keep: usize) -> Result<bool> {
        if self.slots_len()?.is_none_or(|len| len <= keep as u64 * self.slot_bytes) {
            return Ok(false);
        }
        self.file.set_len(self.at(keep)).map_err(|e| Error::io("cut the double-write file", None, e))?;
        Ok(true)
    }

    /// Makes room for one slot more than there are.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub(in crate::pool) fn make_room(&self, slots: usize) -> Result<()> {
        let made = self.file.allocate(self.at(slots), self.slot_bytes);
        made.map_err(|e| Error::io("extend the double-write file", None, e))
    }
}
