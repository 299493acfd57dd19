//! The bytes of one file, in shared chunks: a copy costs a reference count, a write copies what it touches.
//!
//! That is what makes a snapshot every few operations, and a crash state for each of a hundred thousand seeds, cheap.
//! Bytes at and beyond the length are always zero, so growing needs no work.

use std::sync::{Arc, OnceLock};

/// Bytes in a chunk: also the unit in which the disk counts space.
pub(super) const CHUNK: usize = 4096;
/// Bytes in a sector: what a crash keeps or loses as one.
pub(super) const SECTOR: usize = 512;

type Chunk = [u8; CHUNK];

/// A file's content and length.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
    len: u64,
    allocated: u64,
}

fn zero_chunk() -> Arc<Chunk> {
    static ZERO: OnceLock<Arc<Chunk>> = OnceLock::new();
    Arc::clone(ZERO.get_or_init(|| Arc::new([0; CHUNK])))
}

/// The parts of `len` bytes at `offset`, by chunk: chunk number, where in the chunk, how many bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (mut at, mut left) = (offset as usize, len);
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let within = at % CHUNK;
        let n = left.min(CHUNK - within);
        let piece = (at / CHUNK, within, n);
        at += n;
        left -= n;
        Some(piece)
    })
}

impl Image {
    /// The length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the disk that the content takes.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.allocated * CHUNK as u64
    }

    /// Reads what there is of `buf.len()` bytes at `offset`; returns how much.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        self.peek(&mut buf[..there], offset);
        there
    }

    /// Fills `buf` from `offset` on; zeros beyond the end.
    pub(super) fn peek(&self, buf: &mut [u8], offset: u64) {
        let mut done = 0;
        for (chunk, within, n) in pieces(offset, buf.len()) {
            let out = &mut buf[done..done + n];
            match self.chunks.get(chunk) {
                Some(Some(bytes)) => out.copy_from_slice(&bytes[within..within + n]),
                _ => out.fill(0),
            }
            done += n;
        }
    }

    /// Writes `bytes` at `offset`, extending the file if need be.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.len = self.len.max(offset + bytes.len() as u64);
        self.overlay(bytes, offset);
    }

    /// Writes what of `bytes` at `offset` lies within the length.
    pub(super) fn overlay(&mut self, bytes: &[u8], offset: u64) {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        if there == 0 {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        let last = (offset as usize + there).div_ceil(CHUNK);
        if chunks.len() < last {
            chunks.resize(last, None);
        }
        let mut done = 0;
        for (chunk, within, n) in pieces(offset, there) {
            let slot = &mut chunks[chunk];
            self.allocated += u64::from(slot.is_none());
            match <&Chunk>::try_from(&bytes[done..done + n]) {
                Ok(whole) => *slot = Some(Arc::new(*whole)),
                Err(_) => {
                    let target = Arc::make_mut(slot.get_or_insert_with(zero_chunk));
                    target[within..within + n].copy_from_slice(&bytes[done..done + n]);
                }
            }
            done += n;
        }
    }

    /// Sets what of `len` bytes at `offset` lies within the length to zero.
    pub(super) fn overlay_zeros(&mut self, offset: u64, len: u64) {
        let end = self.len.min(offset + len);
        if end <= offset {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        for (chunk, within, n) in pieces(offset, (end - offset) as usize) {
            if let Some(Some(bytes)) = chunks.get_mut(chunk) {
                if n == CHUNK {
                    *bytes = zero_chunk();
                } else {
                    Arc::make_mut(bytes)[within..within + n].fill(0);
                }
            }
        }
    }

    /// Cuts, or extends with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = (len as usize).div_ceil(CHUNK);
            let chunks = Arc::make_mut(&mut self.chunks);
            while chunks.len() > keep {
                self.allocated -= u64::from(chunks.pop().flatten().is_some());
            }
            let within = len as usize % CHUNK;
            if within > 0
                && let Some(Some(last)) = chunks.get_mut(keep - 1)
            {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Takes space for `len` bytes at `offset`, extending the file if need be.
    pub(super) fn reserve(&mut self, offset: u64, len: u64) {
        self.len = self.len.max(offset + len);
        let chunks = Arc::make_mut(&mut self.chunks);
        let (first, last) = (offset as usize / CHUNK, (offset + len).div_ceil(CHUNK as u64) as usize);
        if chunks.len() < last {
            chunks.resize(last, None);
        }
        for slot in &mut chunks[first..last] {
            if slot.is_none() {
                self.allocated += 1;
                *slot = Some(zero_chunk());
            }
        }
    }

    /// How many of `len` bytes at `offset`, from the first on, can be written when `free` bytes of the disk are left.
    pub(super) fn fits(&self, offset: u64, len: u64, free: u64) -> u64 {
        let (mut free, mut fits) = (free / CHUNK as u64, 0);
        for (chunk, _, n) in pieces(offset, len as usize) {
            if !matches!(self.chunks.get(chunk), Some(Some(_))) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            fits += n as u64;
        }
        fits
    }

    /// All bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; self.len as usize];
        self.peek(&mut all, 0);
        all
    }
}
