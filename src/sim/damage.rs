//! Bytes changed behind the program's back, for tests of what it makes of damage.
//!
//! Meant for a disk at rest: the file a helper names is first made durable as it is seen. The change is of the medium, not
//! an operation: crash states of moments before it do not show it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::disk::{find_file, place_for};
use super::names::{Entry, Place};
use super::{Inner, SimDisk};

impl Inner {
    fn settle(&mut self, at: &Place, entry: Entry) {
        self.state.names.settle(at, Some(entry));
        let inode = self.state.inode(entry.ino);
        inode.writes.clear();
        inode.lens.clear();
        inode.durable = inode.live.clone();
    }

    fn damage(&mut self, path: &Path, change: impl FnOnce(&mut super::image::Image)) -> io::Result<()> {
        let (at, ino) = find_file(&self.state.names.live, path)?;
        self.settle(&at, Entry { ino, directory: false });
        let inode = self.state.inode(ino);
        change(&mut inode.live);
        inode.durable = inode.live.clone();
        self.history.snapshot(&self.state);
        Ok(())
    }
}

impl SimDisk {
    /// Inverts bit `bit` (0 to 7) of the byte at `offset`. `InvalidInput` beyond the end.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u32) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let path = path.as_ref();
        let (_, ino) = find_file(&inner.state.names.live, path)?;
        if inner.state.inodes.get(&ino).is_none_or(|inode| inode.live.len() <= offset) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "beyond the end of the file"));
        }
        inner.damage(path, |image| {
            let mut byte = [0];
            image.peek(&mut byte, offset);
            image.overlay(&[byte[0] ^ (1 << (bit & 7))], offset);
        })
    }

    /// Sets the length of a file, growing with zeros.
    pub fn truncate(&self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        self.shared.lock().damage(path.as_ref(), |image| image.set_len(len))
    }

    /// Takes a file's name away, durably.
    pub fn erase(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let (at, _) = find_file(&inner.state.names.live, path.as_ref())?;
        inner.state.names.settle(&at, None);
        inner.collect();
        let inner = &mut *inner;
        inner.history.snapshot(&inner.state);
        Ok(())
    }

    /// The durable bytes of a file: those that a crash leaves if nothing pending survives.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let inner = self.shared.lock();
        let (_, ino) = find_file(&inner.state.names.live, path.as_ref())?;
        Ok(inner.state.inodes.get(&ino).map(|inode| inode.durable.to_vec()).unwrap_or_default())
    }

    /// Makes a file hold exactly `bytes`, durably, and creates it if need be; its directory must exist.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let path = path.as_ref();
        if find_file(&inner.state.names.live, path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            let at = place_for(&inner.state.names.live, path)?;
            let entry = Entry { ino: inner.state.next_ino, directory: false };
            inner.state.next_ino += 1;
            inner.state.names.settle(&at, Some(entry));
            inner.state.inode(entry.ino).path = super::disk::full(path);
        }
        let bytes: Arc<[u8]> = bytes.into();
        inner.damage(path, |image| {
            image.set_len(0);
            image.write(&bytes, 0);
        })
    }
}
