//! One writer at a time, across processes and within this one.
//!
//! `flock` excludes other processes. Within a process it depends on the system and the file system whether a second
//! descriptor conflicts with the first, so a table of (device, inode) says who holds what here. The key cannot be reused
//! for another file while it is in the table: the lock keeps its file open.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;

use super::file::open_regular;
use super::{DiskLock, LockKind, OpenMode};
use crate::sync::StdMutex;

/// How often a lock file that is replaced under our hands is looked up again.
const ATTEMPTS: usize = 16;

type FileId = (u64, u64);

#[derive(Clone, Copy, Debug)]
enum Held {
    Shared(usize),
    Exclusive,
}

static HELD: StdMutex<BTreeMap<FileId, Held>> = StdMutex::new(BTreeMap::new());

/// A held lock on a real file.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    id: FileId,
}

impl DiskLock for FileLock {}

impl FileLock {
    /// Takes the lock without waiting; `None` if somebody has it.
    pub(super) fn take(path: &Path, kind: LockKind, create: bool) -> io::Result<Option<FileLock>> {
        for _ in 0..ATTEMPTS {
            let file = open_lock_file(path, kind, create)?;
            let found = file.metadata()?;
            let id = (found.dev(), found.ino());
            let Some(lock) = FileLock::take_open(file, id, kind)? else { return Ok(None) };
            // Whoever removed or replaced the file since it was opened locks another one than we did.
            match fs::symlink_metadata(path) {
                Ok(now) if (now.dev(), now.ino()) == id => return Ok(Some(lock)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn take_open(file: File, id: FileId, kind: LockKind) -> io::Result<Option<FileLock>> {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match (held.get(&id), kind) {
            (None, LockKind::Exclusive) => Held::Exclusive,
            (None, LockKind::Shared) => Held::Shared(1),
            (Some(Held::Shared(n)), LockKind::Shared) => Held::Shared(n + 1),
            (Some(_), _) => return Ok(None),
        };
        let taken = match kind {
            LockKind::Exclusive => file.try_lock(),
            LockKind::Shared => file.try_lock_shared(),
        };
        match taken {
            Ok(()) => {
                held.insert(id, next);
                Ok(Some(FileLock { file, id }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        // Explicitly, for a child that was forked meanwhile shares the descriptor. Closing it is the second attempt.
        let _ = self.file.unlock();
        match held.get(&self.id).copied() {
            Some(Held::Shared(n)) if n > 1 => {
                held.insert(self.id, Held::Shared(n - 1));
            }
            _ => {
                held.remove(&self.id);
            }
        }
    }
}

/// Opens the lock file for as much as the lock and the medium need.
fn open_lock_file(path: &Path, kind: LockKind, create: bool) -> io::Result<File> {
    if create {
        return open_regular(path, OpenMode::Create);
    }
    if kind == LockKind::Shared {
        return open_regular(path, OpenMode::Read);
    }
    match open_regular(path, OpenMode::ReadWrite) {
        // Some network file systems want a writable descriptor for an exclusive lock; a read-only medium has none.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            open_regular(path, OpenMode::Read)
        }
        opened => opened,
    }
}

/// Whether nobody in this process holds the file at `path`.
#[cfg(test)]
pub(super) fn table_is_without(path: &Path) -> bool {
    let found = fs::symlink_metadata(path).expect("a lock file");
    !HELD.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&(found.dev(), found.ino()))
}
