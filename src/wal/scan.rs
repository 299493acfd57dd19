//! Reading groups back: bounds, CRC and chain checked before a byte of a group is believed.

use super::group::{BLOCK, GroupHeader, HEADER};
use super::place::{WalPosition, segment_path};
use crate::error::{Error, Result};
use crate::io::{Disk, DiskFile, OpenMode};
use crate::sync::Arc;
use std::io::ErrorKind;
use std::path::Path;

/// How much is read at once, before a group's length is known and when blocks are searched.
const READ_BYTES: usize = 64 << 10;

/// A segment that is open for reading.
#[derive(Debug)]
struct Source {
    seq: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
}

/// Reads groups from a log's segments, one in memory at a time.
pub(crate) struct Scanner<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    source: Option<Source>,
    /// The bytes read last, from the loaded group's header on.
    buf: Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, dir: &'a Path) -> Scanner<'a> {
        Scanner { disk, dir, source: None, buf: Vec::new() }
    }

    /// Opens segment `seq`; `None` if there is no such file.
    fn source(&mut self, seq: u64) -> Result<Option<(Arc<dyn DiskFile>, u64)>> {
        if self.source.as_ref().is_none_or(|source| source.seq != seq) {
            let path = segment_path(self.dir, seq);
            let file = match self.disk.open(&path, OpenMode::Read) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io("open log segment", Some(&path), e)),
            };
            let len = file.len().map_err(|e| Error::io("read log segment length", Some(&path), e))?;
            self.source = Some(Source { seq, file, len });
        }
        Ok(self.source.as_ref().map(|source| (Arc::clone(&source.file), source.len)))
    }

    /// Whether segment `seq` is there.
    pub(crate) fn exists(&mut self, seq: u64) -> Result<bool> {
        Ok(self.source(seq)?.is_some())
    }

    /// Loads the group at `offset` of segment `seq`, if one with a fitting CRC is there that `wanted` likes by its header: of
    /// any other no more than that is read.
    pub(crate) fn load(
        &mut self,
        seq: u64,
        offset: u64,
        wanted: impl Fn(&GroupHeader) -> bool,
    ) -> Result<Option<GroupHeader>> {
        let Some((file, len)) = self.source(seq)? else { return Ok(None) };
        let rest = len.saturating_sub(offset);
        if rest < HEADER as u64 {
            return Ok(None);
        }
        let failed = |e| Error::io("read log segment", Some(&segment_path(self.dir, seq)), e);
        let first = rest.min(READ_BYTES as u64) as usize;
        self.buf.clear();
        self.buf.resize(first, 0);
        let got = file.read_at(&mut self.buf, offset).map_err(failed)?;
        self.buf.truncate(got);
        let Some(header) = GroupHeader::parse(&self.buf).filter(wanted) else { return Ok(None) };
        // `parse` bounds the length; the file does so too, before memory is taken.
        let whole = HEADER + header.len as usize;
        if whole as u64 > rest {
            return Ok(None);
        }
        if whole > self.buf.len() {
            let have = self.buf.len();
            self.buf.resize(whole, 0);
            let got = file.read_at(&mut self.buf[have..], offset + have as u64).map_err(failed)?;
            if got < whole - have {
                return Ok(None);
            }
        }
        Ok(header.verify(&self.buf).then_some(header))
    }

    /// The records of the group loaded last.
    pub(crate) fn records(&self, header: &GroupHeader) -> &[u8] {
        self.buf.get(HEADER..HEADER + header.len as usize).unwrap_or_default()
    }

    /// The group loaded last as it lies in its file, padding included.
    pub(crate) fn whole(&mut self, header: &GroupHeader) -> &[u8] {
        self.buf.truncate(HEADER + header.len as usize);
        self.buf.resize(header.file_bytes() as usize, 0);
        &self.buf
    }

    /// Loads the group that continues the log at `at`: there, or at the start of the next segment; `accept` judges what
    /// is particular to the caller. Returns its place, and the place behind it.
    pub(crate) fn next(
        &mut self,
        at: &WalPosition,
        accept: impl Fn(&GroupHeader) -> bool,
    ) -> Result<Option<(GroupHeader, WalPosition, WalPosition)>> {
        let Some(after) = at.segment.checked_add(1) else { return Ok(None) };
        for (segment, offset) in [(at.segment, at.offset), (after, 0)] {
            let continues =
                |header: &GroupHeader| header.start == at.lsn && header.prev_crc == at.prev_crc && accept(header);
            let Some(header) = self.load(segment, offset, continues)? else { continue };
            let place = WalPosition { segment, offset, ..*at };
            let offset = offset.saturating_add(header.file_bytes());
            let behind = WalPosition { lsn: header.end(), segment, offset, prev_crc: header.crc };
            return Ok(Some((header, place, behind)));
        }
        Ok(None)
    }

    /// Looks in segment `seq`, from `offset` on, for a group with a fitting CRC that `wanted` likes by its header.
    pub(crate) fn find(
        &mut self,
        seq: u64,
        offset: u64,
        wanted: impl Fn(&GroupHeader) -> bool,
    ) -> Result<Option<GroupHeader>> {
        let Some((file, len)) = self.source(seq)? else { return Ok(None) };
        let mut chunk = vec![0; READ_BYTES];
        let mut at = offset.next_multiple_of(BLOCK);
        while at < len {
            let got = file
                .read_at(&mut chunk, at)
                .map_err(|e| Error::io("read log segment", Some(&segment_path(self.dir, seq)), e))?;
            for (i, block) in chunk[..got].chunks(BLOCK as usize).enumerate() {
                let Some(header) = GroupHeader::parse(block).filter(&wanted) else { continue };
                let place = at + i as u64 * BLOCK;
                if self.load(seq, place, &wanted)?.is_some() {
                    return Ok(Some(header));
                }
            }
            if got < chunk.len() {
                break;
            }
            at += got as u64;
        }
        Ok(None)
    }
}
