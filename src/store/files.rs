//! The store's directory: what may be in it, its lock, and the creation of its files.
//!
//! | name | what |
//! |---|---|
//! | `pages` | superblocks, pages; its presence says that there is a store |
//! | `pages.tmp` | the same while it is being created |
//! | `double-write` | copies of pages that are being overwritten (P7, P11); without it, there are none |
//! | `wal/` | log segments |
//! | `lock` | locked by whoever has the store open; its content means nothing |
//!
//! **Creation**, under the lock: both superblocks into `pages.tmp`, synced; `wal/` made and synced; `pages.tmp` renamed to
//! `pages`, last; directory synced. So a directory with only these names and no `pages` is a creation that did not end,
//! and is begun again. A directory with other names and no `pages` is somebody else's: nothing in it is touched.
//!
//! A process may end between giving a name and syncing its directory, and the system go on: then the name is there, but not
//! durable, and whoever opens the store next owes it the sync, before anything is acknowledged. So every open for writing
//! syncs the directory, and every creation the one above what it finds (F2). `double-write` is made by whatever open for writing
//! does not find it, before that sync.

use super::options::{DEFAULT_PAGE_SIZE, StoreOptions};
use super::superblock::Superblock;
use crate::error::{Error, Result, Site};
use crate::io::{Disk, DiskLock, FileKind, LockKind, OpenMode};
use crate::pool::FilePageStore;
use crate::sync::Arc;
use crate::types::{Lsn, PageId, TreeId};
use crate::wal::{Wal, WalOptions, WalPosition};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The paths of a store's files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) pages: PathBuf,
    pub(crate) wal: PathBuf,
    pub(crate) copies: PathBuf,
    creating: PathBuf,
    lock: PathBuf,
}

/// How long to rest between attempts at the lock.
const LOCK_REST: Duration = Duration::from_millis(5);

impl Files {
    pub(crate) fn new(dir: &Path) -> Files {
        Files {
            dir: dir.into(),
            pages: dir.join("pages"),
            wal: dir.join("wal"),
            copies: dir.join("double-write"),
            creating: dir.join("pages.tmp"),
            lock: dir.join("lock"),
        }
    }

    /// Whether there is a store; before the lock, so that nothing is touched in a directory that is not ours.
    ///
    /// # Errors
    /// `Io` (not a directory), `InvalidOption` (somebody else's directory), `Corrupted` (`pages` is not a file).
    pub(crate) fn inspect(&self, disk: &dyn Disk) -> Result<bool> {
        match self.kind(disk, &self.dir)? {
            None => return Ok(false),
            Some(FileKind::Directory) => {}
            Some(_) => return Err(Error::io("open store", Some(&self.dir), ErrorKind::NotADirectory.into())),
        }
        match self.kind(disk, &self.pages)? {
            Some(FileKind::File) => return Ok(true),
            Some(_) => return Err(Error::corrupted(Site::File(self.pages.clone()), "not a regular file")),
            None => {}
        }
        let names = disk.list(&self.dir).map_err(|e| Error::io("list directory", Some(&self.dir), e))?;
        for name in names {
            if !["pages.tmp", "wal", "lock", "double-write"].iter().any(|ours| name.as_os_str() == *ours) {
                let reason = format!("{} is not a store: it holds {}", self.dir.display(), name.display());
                return Err(Error::InvalidOption { option: "dir", reason });
            }
        }
        Ok(false)
    }

    fn kind(&self, disk: &dyn Disk, path: &Path) -> Result<Option<FileKind>> {
        disk.kind(path).map_err(|e| Error::io("look up", Some(path), e))
    }

    /// The directory, made if it is not there, with its parents. On return their names are durable, as far as they may be
    /// ours.
    pub(crate) fn make_dir(&self, disk: &dyn Disk) -> Result<()> {
        let mut missing = Vec::new();
        let mut at = Some(self.dir.as_path());
        while let Some(dir) = at.filter(|dir| !dir.as_os_str().is_empty()) {
            if self.kind(disk, dir)?.is_some() {
                self.sync_parent(disk, dir)?;
                break;
            }
            missing.push(dir);
            at = dir.parent();
        }
        for dir in missing.into_iter().rev() {
            match disk.create_dir(dir) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::io("create directory", Some(dir), e));
                }
                _ => {}
            }
            if let Some(parent) = dir.parent() {
                disk.sync_dir(parent).map_err(|e| Error::io("sync directory", Some(parent), e))?;
            }
        }
        Ok(())
    }

    /// Makes the name of a directory that was found durable: an earlier creation may have made it and ended before its sync.
    /// Above it there is no such name: each directory's is synced before the next is made.
    fn sync_parent(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
        let Some(parent) = dir.parent() else { return Ok(()) };
        match disk.sync_dir(parent) {
            // Where there is no such sync to be had, no creation of ours made a directory: it would have failed too.
            Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported) => Ok(()),
            result => result.map_err(|e| Error::io("sync directory", Some(parent), e)),
        }
    }

    /// Makes the names of a store's files durable, and the file for copies of pages if there is none.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub(crate) fn settle_names(&self, disk: &dyn Disk) -> Result<()> {
        let made = disk.open(&self.copies, OpenMode::Create);
        made.map_err(|e| Error::io("make the double-write file", Some(&self.copies), e))?;
        self.sync_names(disk)
    }

    fn sync_names(&self, disk: &dyn Disk) -> Result<()> {
        disk.sync_dir(&self.dir).map_err(|e| Error::io("sync directory", Some(&self.dir), e))
    }

    /// Takes the lock, waiting at most `timeout` for whoever has it.
    ///
    /// # Errors
    /// `Locked`, `Io`.
    pub(crate) fn take_lock(&self, disk: &dyn Disk, kind: LockKind, timeout: Duration) -> Result<Box<dyn DiskLock>> {
        let started = Instant::now();
        loop {
            let create = kind == LockKind::Exclusive;
            let lock = disk.lock(&self.lock, kind, create).map_err(|e| Error::io("lock store", Some(&self.lock), e))?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if disk.deterministic() || started.elapsed() >= timeout {
                return Err(Error::Locked { path: self.dir.clone() });
            }
            std::thread::sleep(LOCK_REST.min(timeout.saturating_sub(started.elapsed())));
        }
    }

    /// Creates a store's files; the lock is held. What an unfinished creation left is replaced.
    ///
    /// # Errors
    /// `Corrupted` if there is a log with records but no page file; `NoSpace`, `Io`.
    pub(crate) fn create(&self, disk: &Arc<dyn Disk>, options: &StoreOptions, wal: WalOptions) -> Result<()> {
        let page_size = options.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        let store_id = new_store_id(&**disk, &self.dir);
        let first = FilePageStore::first_page_of(page_size);
        let superblock = Superblock {
            page_size: page_size as u32,
            store_id,
            sequence: 1,
            incarnation: 1,
            redo: Lsn::FIRST,
            place: WalPosition::FIRST,
            accepted_end: Lsn::FIRST,
            durable: Lsn::FIRST,
            snapshot_lsn: Lsn::FIRST,
            snapshot_page: PageId::NONE,
            snapshot_units: 0,
            retired_batch: 0,
            catalog_root: first,
            file_end: first,
            next_tree: TreeId::CATALOG.get() + 1,
            closed: false,
        };
        self.write_page_file(&**disk, &superblock, first.get() * page_size as u64)?;
        self.ask_medium(&**disk, options)?;
        drop(Wal::create(disk.clone(), &self.wal, store_id, 1, wal)?);
        disk.rename(&self.creating, &self.pages).map_err(|e| Error::io("name the page file", Some(&self.pages), e))?;
        self.settle_names(&**disk).inspect_err(|_| {
            // A later sync that succeeds would not say that this name is durable: the next creation gives it anew.
            let _ = disk.rename(&self.pages, &self.creating);
        })
    }

    /// What only the medium knows whether it can: before a name is given, and with nothing left behind that was refused.
    fn ask_medium(&self, disk: &dyn Disk, options: &StoreOptions) -> Result<()> {
        let direct = disk.open_direct(&self.creating, OpenMode::ReadWrite);
        let direct = direct.map_err(|e| Error::io("open the page file", Some(&self.creating), e))?;
        let asked = options.check_direct(&*direct, &self.creating).and_then(|()| options.sync_method.check(&*direct));
        asked.inspect_err(|_| {
            // Best effort: what stays is an unfinished creation.
            let _ = disk.remove(&self.creating);
        })
    }

    fn write_page_file(&self, disk: &dyn Disk, superblock: &Superblock, len: u64) -> Result<()> {
        let failed = |e| Error::io("create the page file", Some(&self.creating), e);
        match disk.remove(&self.creating) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let file = disk.open(&self.creating, OpenMode::CreateNew).map_err(failed)?;
        file.allocate(0, len).map_err(failed)?;
        for index in 0..2 {
            superblock.write(&*file, index)?;
        }
        file.sync_all().map_err(failed)
    }
}

/// A number unlike that of any other store: from the process's random hash keys, the time and the path. Where a seed
/// decides everything, from the path alone.
fn new_store_id(disk: &dyn Disk, dir: &Path) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher};
    let mut hasher: Box<dyn Hasher> = if disk.deterministic() {
        Box::new(std::hash::DefaultHasher::new())
    } else {
        Box::new(std::hash::RandomState::new().build_hasher())
    };
    if !disk.deterministic() {
        hasher.write_u128(std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()));
        hasher.write_u32(std::process::id());
    }
    dir.as_os_str().hash(&mut hasher);
    hasher.finish().max(1)
}
