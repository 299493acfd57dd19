//! A disk between a store and another disk: what a test wants to see, hold up or fail passes its hook, all else goes
//! through.

// Included by tests of the crate's inside too; each uses its own part of it.
#![allow(dead_code)]

use pagebox::io::{Disk, DiskFile, DiskLock, FileKind, LockKind, OpenMode, WriteObserver};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What happens in the place of a call: without a word of the test's, the call.
pub trait Hook: Send + Sync + 'static {
    fn read(&self, to: &Target, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        to.file.read_at(buf, offset)
    }
    fn write(&self, to: &Target, buf: &[u8], offset: u64) -> io::Result<()> {
        to.file.write_at(buf, offset)
    }
    fn allocate(&self, to: &Target, offset: u64, len: u64) -> io::Result<()> {
        to.file.allocate(offset, len)
    }
    fn sync_data(&self, to: &Target) -> io::Result<()> {
        to.file.sync_data()
    }
    fn sync_all(&self, to: &Target) -> io::Result<()> {
        to.file.sync_all()
    }
    fn create_dir(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk.create_dir(path)
    }
    fn rename(&self, disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
        disk.rename(from, to)
    }
    fn sync_dir(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        disk.sync_dir(dir)
    }
}

/// The file that a call is for.
pub struct Target {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
}

impl Target {
    pub fn is_pages(&self) -> bool {
        self.path.ends_with("pages")
    }
    pub fn is_log(&self) -> bool {
        self.path.parent().is_some_and(|dir| dir.ends_with("wal"))
    }
}

pub struct HookedDisk<H> {
    disk: Arc<dyn Disk>,
    hook: Arc<H>,
}

impl<H: Hook> HookedDisk<H> {
    pub fn over(disk: impl Disk + 'static, hook: Arc<H>) -> HookedDisk<H> {
        HookedDisk { disk: Arc::new(disk), hook }
    }

    pub fn hook(&self) -> &H {
        &self.hook
    }
}

struct HookedFile<H> {
    to: Target,
    hook: Arc<H>,
}

impl<H> Clone for HookedDisk<H> {
    fn clone(&self) -> HookedDisk<H> {
        HookedDisk { disk: self.disk.clone(), hook: self.hook.clone() }
    }
}

impl<H> std::fmt::Debug for HookedDisk<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(f)
    }
}

impl<H> std::fmt::Debug for HookedFile<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to.file.fmt(f)
    }
}

impl<H: Hook> DiskFile for HookedFile<H> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.hook.read(&self.to, buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.hook.write(&self.to, buf, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.to.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.to.file.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.hook.allocate(&self.to, offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.hook.sync_data(&self.to)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.hook.sync_all(&self.to)
    }
}

impl<H: Hook> Disk for HookedDisk<H> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let to = Target { path: path.into(), file: self.disk.open(path, mode)? };
        Ok(Arc::new(HookedFile { to, hook: self.hook.clone() }))
    }
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.disk.kind(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.hook.create_dir(&*self.disk, path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hook.rename(&*self.disk, from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.hook.sync_dir(&*self.disk, dir)
    }
    fn lock(&self, path: &Path, kind: LockKind, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(path, kind, create)
    }
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        self.disk.observe(observer);
    }
}
