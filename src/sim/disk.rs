//! The simulated disk as a [`Disk`]: paths, opening, entries and locks.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::fault::FaultOp;
use super::file::SimFile;
use super::names::{Change, Entry, Ino, Place, ROOT, Tree};
use super::state::Op;
use super::{Held, Inner, Shared, SimDisk};
use crate::io::{Disk, DiskFile, DiskLock, FileKind, LockKind, OpenMode, WriteObserver};

fn no(kind: ErrorKind, text: &'static str) -> io::Error {
    io::Error::new(kind, text)
}

/// The names on the way from the root.
fn names(path: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => {
                names.pop();
            }
            _ => {}
        }
    }
    names
}

/// The path as the disk itself writes it.
pub(super) fn full(path: &Path) -> PathBuf {
    std::iter::once(OsString::from("/")).chain(names(path)).collect()
}

/// Where a path's last name is; `None` for the root.
fn place(tree: &Tree, path: &Path) -> io::Result<Option<Place>> {
    let mut names = names(path);
    let Some(last) = names.pop() else { return Ok(None) };
    let mut dir = ROOT;
    for name in names {
        match tree.get(&(dir, name)) {
            None => return Err(no(ErrorKind::NotFound, "no such directory")),
            Some(entry) if !entry.directory => return Err(no(ErrorKind::NotADirectory, "not a directory")),
            Some(entry) => dir = entry.ino,
        }
    }
    Ok(Some((dir, last)))
}

/// What a path names.
pub(super) fn find(tree: &Tree, path: &Path) -> io::Result<Option<Entry>> {
    match place(tree, path)? {
        None => Ok(Some(Entry { ino: ROOT, directory: true })),
        Some(place) => Ok(tree.get(&place)),
    }
}

/// Where a file is, and its number.
pub(super) fn find_file(tree: &Tree, path: &Path) -> io::Result<(Place, Ino)> {
    let place = place(tree, path)?.ok_or_else(|| no(ErrorKind::IsADirectory, "the root directory"))?;
    match tree.get(&place) {
        None => Err(no(ErrorKind::NotFound, "no such file")),
        Some(entry) if entry.directory => Err(no(ErrorKind::IsADirectory, "a directory")),
        Some(entry) => Ok((place, entry.ino)),
    }
}

/// Where a path's last name is or could be.
pub(super) fn place_for(tree: &Tree, path: &Path) -> io::Result<Place> {
    place(tree, path)?.ok_or_else(|| no(ErrorKind::AlreadyExists, "the root directory"))
}

fn find_dir(tree: &Tree, path: &Path) -> io::Result<Ino> {
    match find(tree, path)? {
        None => Err(no(ErrorKind::NotFound, "no such directory")),
        Some(entry) if !entry.directory => Err(no(ErrorKind::NotADirectory, "not a directory")),
        Some(entry) => Ok(entry.ino),
    }
}

impl Inner {
    fn create(&mut self, path: &Path, at: Place, directory: bool) -> io::Result<Ino> {
        self.faults.check(FaultOp::Create, path)?;
        let entry = Entry { ino: self.state.next_ino, directory };
        self.commit(Op::Entry { change: Change::Create { at, entry }, path: full(path) });
        Ok(entry.ino)
    }

    /// The number of the file to open, created if the mode says so.
    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<Ino> {
        let tree = &self.state.names.live;
        let there = find(tree, path)?;
        match (there, mode) {
            (Some(_), OpenMode::CreateNew) => Err(no(ErrorKind::AlreadyExists, "there is something of that name")),
            (Some(entry), _) if entry.directory => {
                Err(no(ErrorKind::InvalidInput, "not a regular file but a directory"))
            }
            (Some(entry), _) => Ok(entry.ino),
            (None, OpenMode::Read | OpenMode::ReadWrite) => Err(no(ErrorKind::NotFound, "no such file")),
            (None, OpenMode::CreateNew | OpenMode::Create) => {
                let at = place_for(tree, path)?;
                self.create(path, at, false)
            }
        }
    }
}

impl SimDisk {
    fn open_file(&self, path: &Path, mode: OpenMode, direct: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.shared.lock();
        let ino = inner.open(path, mode)?;
        *inner.open.entry(ino).or_default() += 1;
        let direct = direct && inner.direct;
        drop(inner);
        Ok(Arc::new(SimFile::new(Arc::clone(&self.shared), ino, mode != OpenMode::Read, direct)))
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(path, mode, false)
    }

    fn open_direct(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(path, mode, true)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        match find(&self.shared.lock().state.names.live, path) {
            Ok(found) => Ok(found.map(|entry| if entry.directory { FileKind::Directory } else { FileKind::File })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let at = place_for(&inner.state.names.live, path)?;
        if inner.state.names.live.get(&at).is_some() {
            return Err(no(ErrorKind::AlreadyExists, "there is something of that name"));
        }
        inner.create(path, at, true).map(|_| ())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.shared.lock();
        let tree = &inner.state.names.live;
        let dir = find_dir(tree, dir)?;
        Ok(tree.list(dir).map(|(name, _)| PathBuf::from(name)).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let tree = &inner.state.names.live;
        let (from_place, ino) = find_file(tree, from)?;
        let to_place = place_for(tree, to)?;
        if tree.get(&to_place).is_some_and(|entry| entry.directory) {
            return Err(no(ErrorKind::IsADirectory, "the target is a directory"));
        }
        inner.faults.check(FaultOp::Rename, from)?;
        if from_place != to_place {
            let change = Change::Rename { from: from_place, to: to_place, ino };
            inner.commit(Op::Entry { change, path: full(to) });
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let (at, ino) = find_file(&inner.state.names.live, path)?;
        inner.faults.check(FaultOp::Remove, path)?;
        inner.commit(Op::Entry { change: Change::Remove { at, ino }, path: full(path) });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let ino = find_dir(&inner.state.names.live, dir)?;
        inner.stats.dir_syncs += 1;
        let fault = inner.faults.check(FaultOp::SyncDir, dir);
        inner.commit(Op::SyncDir { dir: ino, ok: fault.is_ok() });
        inner.collect();
        fault
    }

    fn lock(&self, path: &Path, kind: LockKind, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut inner = self.shared.lock();
        let ino = inner.open(path, if create { OpenMode::Create } else { OpenMode::Read })?;
        let next = match (inner.locks.get(&ino), kind) {
            (None, LockKind::Exclusive) => Held::Exclusive,
            (None, LockKind::Shared) => Held::Shared(1),
            (Some(Held::Shared(n)), LockKind::Shared) => Held::Shared(n + 1),
            (Some(_), _) => return Ok(None),
        };
        inner.locks.insert(ino, next);
        Ok(Some(Box::new(SimLock { shared: Arc::clone(&self.shared), ino })))
    }

    fn deterministic(&self) -> bool {
        true
    }

    /// Shows `observer`, instead of any earlier one, every write before it happens; its `Err` is a panic.
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        *self.shared.observer.lock().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }
}

/// A held lock.
struct SimLock {
    shared: Arc<Shared>,
    ino: Ino,
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLock").field("ino", &self.ino).finish_non_exhaustive()
    }
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        match inner.locks.get(&self.ino).copied() {
            Some(Held::Shared(n)) if n > 1 => {
                inner.locks.insert(self.ino, Held::Shared(n - 1));
            }
            _ => {
                inner.locks.remove(&self.ino);
            }
        }
    }
}
