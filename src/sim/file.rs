//! Open files of the simulated disk.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::disk::find;
use super::fault::FaultOp;
use super::inode::Fate;
use super::names::Ino;
use super::state::Op;
use super::{Inner, Shared};
use crate::io::DiskFile;

/// The greatest length of a file, in bytes: far more than a test writes, little enough to index chunks by.
const MAX_LEN: u64 = 1 << 36;

pub(super) struct SimFile {
    shared: Arc<Shared>,
    ino: Ino,
    writable: bool,
    /// What it says of itself; it is no different.
    direct: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("ino", &self.ino).field("writable", &self.writable).finish_non_exhaustive()
    }
}

impl Inner {
    fn path(&self, ino: Ino) -> PathBuf {
        self.state.inodes.get(&ino).map(|inode| inode.path.clone()).unwrap_or_default()
    }

    fn fault(&mut self, op: FaultOp, ino: Ino) -> io::Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let path = self.path(ino);
        self.faults.check(op, &path)
    }

    /// Forgets files that nothing leads to any more.
    pub(super) fn collect(&mut self) {
        let open = &self.open;
        self.state.collect(|ino| open.contains_key(&ino));
    }

    fn sync(&mut self, ino: Ino) -> io::Result<()> {
        self.stats.syncs += 1;
        let fault = self.fault(FaultOp::Sync, ino);
        self.commit(Op::Sync { ino, ok: fault.is_ok() });
        fault
    }

    fn write(&mut self, ino: Ino, buf: &[u8], offset: u64, synced: bool) -> io::Result<()> {
        self.stats.writes += 1;
        self.stats.syncs += u64::from(synced);
        self.fault(FaultOp::Write, ino)?;
        let free = self.free_bytes();
        let fits = match self.space_limit {
            Some(_) => self.state.inode(ino).live.fits(offset, buf.len() as u64, free) as usize,
            None => buf.len(),
        };
        let full = fits < buf.len();
        let failed = if synced && !full { self.fault(FaultOp::Sync, ino).err() } else { None };
        let fate = match (synced && !full, &failed) {
            (false, _) => Fate::Pending,
            (true, None) => Fate::Durable,
            (true, Some(_)) => Fate::Orphaned,
        };
        if fits > 0 {
            self.stats.written_bytes += fits as u64;
            self.commit(Op::Write { ino, offset, data: buf[..fits].into(), fate });
        }
        match failed {
            Some(error) => Err(error),
            None if full => Err(io::Error::new(ErrorKind::StorageFull, "the simulated disk is full")),
            None => Ok(()),
        }
    }
}

impl SimFile {
    /// The caller has counted the file as open.
    pub(super) fn new(shared: Arc<Shared>, ino: Ino, writable: bool, direct: bool) -> SimFile {
        SimFile { shared, ino, writable, direct }
    }

    fn may_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "opened for reading only"));
        }
        match offset.checked_add(len) {
            Some(end) if end <= MAX_LEN => Ok(()),
            _ => Err(io::Error::new(ErrorKind::FileTooLarge, "beyond the greatest file length")),
        }
    }

    /// Asks the observer. No lock of the disk is held meanwhile: it may use the disk itself.
    fn announce(&self, buf: &[u8], offset: u64) {
        let observer = self.shared.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observer) = observer {
            let path = self.shared.lock().path(self.ino);
            if let Err(broken) = observer.on_write(&path, offset, buf) {
                panic!("{broken}");
            }
        }
    }

    fn write(&self, buf: &[u8], offset: u64, synced: bool) -> io::Result<()> {
        self.may_write(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        self.announce(buf, offset);
        self.shared.lock().write(self.ino, buf, offset, synced)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.shared.lock();
        inner.stats.reads += 1;
        inner.fault(FaultOp::Read, self.ino)?;
        let n = inner.state.inodes.get(&self.ino).map_or(0, |inode| inode.live.read(buf, offset));
        inner.stats.read_bytes += n as u64;
        Ok(n)
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write(buf, offset, false)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.shared.lock().state.inodes.get(&self.ino).map_or(0, |inode| inode.live.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.may_write(len, 0)?;
        let mut inner = self.shared.lock();
        inner.fault(FaultOp::SetLen, self.ino)?;
        inner.commit(Op::SetLen { ino: self.ino, len });
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.may_write(offset, len)?;
        let mut inner = self.shared.lock();
        inner.fault(FaultOp::Allocate, self.ino)?;
        if len == 0 {
            return Ok(());
        }
        let free = inner.free_bytes();
        if inner.state.inode(self.ino).live.fits(offset, len, free) < len {
            return Err(io::Error::new(ErrorKind::StorageFull, "the simulated disk is full"));
        }
        inner.commit(Op::Allocate { ino: self.ino, offset, len });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.lock().sync(self.ino)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.shared.lock().sync(self.ino)
    }

    fn write_at_sync(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write(buf, offset, true)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        let left = inner.open.get(&self.ino).map_or(0, |n| n - 1);
        if left > 0 {
            inner.open.insert(self.ino, left);
            return;
        }
        inner.open.remove(&self.ino);
        let path = inner.path(self.ino);
        let named = find(&inner.state.names.live, &path).ok().flatten().is_some_and(|entry| entry.ino == self.ino);
        if !named {
            inner.collect();
        }
    }
}
