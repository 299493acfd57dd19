//! Real files: the system calls of a Unix, and no cleverness.
//!
//! What is opened is a regular file or an error. A name in a store's directory may have been replaced by anything (a
//! pipe nobody writes to, a device, a link to somewhere else), so a file is opened without following a link, without
//! waiting and without becoming a terminal's owner, and then the descriptor itself, not the name, is asked what it is.
//!
//! Past the page cache (`O_DIRECT`) go whole blocks of a file that was opened for it: through a second descriptor of the same
//! file, since the first serves all that is no whole block. A log and a double-write area are written once and read after a
//! crash, so a cache has no use for them, and the copy into it costs as much as the write (docs/design.md has the figures).
//!
//! Durability is what the system calls say: `fdatasync`, `fsync` and, for one synced write, `pwritev2` with `RWF_DSYNC`
//! where there is such a call. A failed sync is reported once and never retried: what the page cache says afterwards
//! proves nothing about the disk.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::aligned::ALIGN;
use super::{Disk, DiskFile, DiskLock, FileKind, LockKind, OpenMode, os};
use crate::sync::{Arc, AtomicBool, Ordering, StdMutex};

/// The operating system's files. Has no state: every value is as good as another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileDisk;

impl FileDisk {
    /// The one there is.
    #[must_use]
    pub fn new() -> FileDisk {
        FileDisk
    }
}

/// An open regular file.
#[derive(Debug)]
struct RealFile {
    file: File,
    /// The same one, for transfers past the cache.
    direct: Option<File>,
    /// Set once the file system refused one.
    no_direct: AtomicBool,
    /// Serialises the zero-filling that stands in for `fallocate`, which must know where the file ends.
    growing: StdMutex<()>,
    /// Set once the file system refused `fallocate`.
    no_fallocate: AtomicBool,
    /// Set once the file system refused a synced write.
    no_dsync: AtomicBool,
}

/// Opens `path` and makes sure it is a regular file. Never waits for a peer of a pipe, never follows a link.
pub(super) fn open_regular(path: &Path, mode: OpenMode) -> io::Result<File> {
    // Opening a device can already act on it (a tape rewinds), so look first. The check that counts is the later one.
    if mode != OpenMode::CreateNew
        && let Ok(found) = fs::symlink_metadata(path)
    {
        refuse_irregular(&found)?;
    }
    open_checked(path, mode)
}

/// Opens `path`, whatever it has become since somebody looked, and refuses what is not a regular file.
pub(super) fn open_checked(path: &Path, mode: OpenMode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    match mode {
        OpenMode::Read => {}
        OpenMode::ReadWrite => {
            options.write(true);
        }
        OpenMode::CreateNew => {
            options.write(true).create_new(true);
        }
        OpenMode::Create => {
            options.write(true).create(true).truncate(false);
        }
    }
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => not_regular("a symbolic link"),
        Some(libc::EISDIR) => not_regular("a directory"),
        _ => error,
    })?;
    refuse_irregular(&file.metadata()?)?;
    os::clear_nonblock(&file)?;
    Ok(file)
}

fn refuse_irregular(found: &fs::Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(not_regular(if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

fn not_regular(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not a regular file but {what}"))
}

/// The parent of a bare name is the empty path: the current directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Opens the file that `file` is, which was opened by the name `path`, for transfers past the cache; `None` where that is
/// not to be had, or the name is another's by now.
fn reopen_direct(file: &File, path: &Path, mode: OpenMode) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(mode != OpenMode::Read);
    options.custom_flags(os::O_DIRECT? | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let direct = options.open(path).ok()?;
    let (one, other) = (file.metadata().ok()?, direct.metadata().ok()?);
    os::clear_nonblock(&direct).ok()?;
    ((one.dev(), one.ino()) == (other.dev(), other.ino())).then_some(direct)
}

impl Disk for FileDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile::new(open_regular(path, mode)?)))
    }

    fn open_direct(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = open_regular(path, mode)?;
        let direct = reopen_direct(&file, path, mode);
        Ok(Arc::new(RealFile { direct, ..RealFile::new(file) }))
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        let path = or_here(path);
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.is_file() {
            return Ok(Some(FileKind::File));
        }
        // A store's directory may be reached through a link; a file is never opened through one.
        let directory =
            found.is_dir() || (found.is_symlink() && fs::metadata(path).is_ok_and(|behind| behind.is_dir()));
        Ok(Some(if directory { FileKind::Directory } else { FileKind::Other }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names: io::Result<Vec<OsString>> =
            fs::read_dir(or_here(dir))?.map(|entry| Ok(entry?.file_name())).collect();
        let mut names = names?;
        names.sort_unstable();
        Ok(names.into_iter().map(PathBuf::from).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let flags = libc::O_DIRECTORY | libc::O_NONBLOCK;
        OpenOptions::new().read(true).custom_flags(flags).open(or_here(dir))?.sync_all()
    }

    fn lock(&self, path: &Path, kind: LockKind, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        Ok(super::lock::FileLock::take(path, kind, create)?.map(|lock| Box::new(lock) as Box<dyn DiskLock>))
    }
}

impl RealFile {
    fn new(file: File) -> RealFile {
        RealFile {
            file,
            direct: None,
            no_direct: AtomicBool::new(false),
            growing: StdMutex::new(()),
            no_fallocate: AtomicBool::new(false),
            no_dsync: AtomicBool::new(false),
        }
    }

    /// The descriptor for a transfer of `len` bytes at `memory` past the cache, if there is one and they are whole blocks.
    fn direct_for(&self, memory: *const u8, len: usize, offset: u64) -> Option<&File> {
        let direct = self.direct.as_ref().filter(|_| !self.no_direct.load(Ordering::Relaxed))?;
        let whole = len.is_multiple_of(ALIGN) && offset.is_multiple_of(ALIGN as u64);
        (whole && memory.align_offset(ALIGN) == 0).then_some(direct)
    }

    /// Makes a transfer past the cache. `None` if the file system does not take it, which is asked for once.
    fn past<T>(&self, transfer: impl FnOnce() -> io::Result<T>) -> Option<io::Result<T>> {
        match transfer() {
            // Some refuse only now; or their blocks are greater than ours.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.no_direct.store(true, Ordering::Relaxed);
                None
            }
            result => Some(result),
        }
    }

    /// Writes and makes durable, through `file`, in one call where there is one.
    fn write_synced(&self, file: &File, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() && !self.no_dsync.load(Ordering::Relaxed) {
            match os::write_dsync(file, &buf[done..], offset + done as u64)? {
                Some(n) => done += n,
                None => self.no_dsync.store(true, Ordering::Relaxed),
            }
        }
        if done < buf.len() {
            file.write_all_at(&buf[done..], offset + done as u64)?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// What stands in for `fallocate`: zeros written from the end of the file on. Holes below the end stay holes. Nobody
    /// may write beyond the end meanwhile.
    fn fill_with_zeros(&self, end: u64) -> io::Result<()> {
        let _growing = self.growing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = self.file.metadata()?.len();
        let zeros = vec![0u8; 1 << 20];
        let mut at = old;
        while at < end {
            let n = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            if let Err(error) = self.file.write_all_at(&zeros[..n], at) {
                // Give back what did fit, as fallocate would; that this fails too changes nothing for the caller.
                let _ = self.file.set_len(old);
                return Err(error);
            }
            at += n as u64;
        }
        Ok(())
    }
}

fn read_full(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = self.direct_for(buf.as_ptr(), buf.len(), offset)
            && let Some(result) = self.past(|| read_full(direct, buf, offset))
        {
            return result;
        }
        read_full(&self.file, buf, offset)
    }

    #[cfg(feature = "pool")]
    fn read_page(&self, page: &mut crate::page::bytes::PageWriter<'_>, offset: u64) -> io::Result<usize> {
        if let Some(direct) = self.direct_for(page.as_mut_ptr(), page.len(), offset)
            && let Some(result) = self.past(|| os::read_page(direct, page, offset))
        {
            return result;
        }
        os::read_page(&self.file, page, offset)
    }

    fn prefetch(&self, offset: u64, len: u64) {
        if !self.is_direct() {
            os::will_need(&self.file, offset, len);
        }
    }

    fn forget(&self, offset: u64, len: u64) {
        os::dont_need(&self.file, offset, len);
    }

    fn is_direct(&self) -> bool {
        self.direct.is_some() && !self.no_direct.load(Ordering::Relaxed)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = self.direct_for(buf.as_ptr(), buf.len(), offset)
            && let Some(result) = self.past(|| direct.write_all_at(buf, offset))
        {
            return result;
        }
        self.file.write_all_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let too_far = || io::Error::new(io::ErrorKind::InvalidInput, "beyond the greatest file length");
        let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok()).ok_or_else(too_far)?;
        if len == 0 {
            return Ok(());
        }
        if !self.no_fallocate.load(Ordering::Relaxed) {
            if os::fallocate(&self.file, offset, len)? {
                return Ok(());
            }
            self.no_fallocate.store(true, Ordering::Relaxed);
        }
        self.fill_with_zeros(end)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn write_at_sync(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = self.direct_for(buf.as_ptr(), buf.len(), offset)
            && let Some(result) = self.past(|| self.write_synced(direct, buf, offset))
        {
            return result;
        }
        self.write_synced(&self.file, buf, offset)
    }
}

/// A file that behaves as on a file system with neither `fallocate` nor synced writes.
#[cfg(test)]
pub(super) fn tests_without_fallocate(path: &Path) -> io::Result<impl DiskFile> {
    let file = RealFile::new(open_regular(path, OpenMode::CreateNew)?);
    file.no_fallocate.store(true, Ordering::Relaxed);
    file.no_dsync.store(true, Ordering::Relaxed);
    Ok(file)
}

/// A file that has refused a transfer past the cache.
#[cfg(test)]
pub(super) fn tests_refused_direct(path: &Path) -> io::Result<impl DiskFile> {
    let file = open_regular(path, OpenMode::CreateNew)?;
    let file = RealFile { direct: Some(file.try_clone()?), ..RealFile::new(file) };
    assert!(file.is_direct() && matches!(file.past(|| Ok(())), Some(Ok(()))) && file.is_direct());
    let refusal = || Err::<(), _>(io::Error::from_raw_os_error(libc::EINVAL));
    assert!(file.past(refusal).is_none(), "not the caller's error");
    let other = file.past(|| Err::<(), _>(io::Error::from_raw_os_error(libc::EIO)));
    assert!(other.is_some_and(|result| result.is_err()), "the caller's error");
    Ok(file)
}
