//! The few system calls that std does not offer, each behind a safe function.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The flag for transfers past the cache.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) const O_DIRECT: Option<libc::c_int> = Some(libc::O_DIRECT);
/// There is no such flag here.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) const O_DIRECT: Option<libc::c_int> = None;

/// Makes later calls on `file` wait as usual: it was opened so that opening would not.
pub(super) fn clear_nonblock(file: &File) -> io::Result<()> {
    // SAFETY: F1: the descriptor is open for as long as `file` is borrowed; F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: F1: as above; F_SETFL takes an integer.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// The plain ones have 32 bits on some machines.
#[cfg(all(feature = "pool", not(target_os = "linux")))]
use libc::{off_t as Offset, pread};
#[cfg(all(feature = "pool", target_os = "linux"))]
use libc::{off64_t as Offset, pread64 as pread};

/// Reads at `offset` until the page is full or the file ends; returns how many bytes were read. The system writes to the page's
/// memory as its holder would.
#[cfg(feature = "pool")]
pub(super) fn read_page(file: &File, page: &mut crate::page::bytes::PageWriter<'_>, offset: u64) -> io::Result<usize> {
    let (len, mut done) = (page.len(), 0);
    while done < len {
        let Ok(at) = Offset::try_from(offset + done as u64) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: F1: the descriptor is open for as long as `file` is borrowed. The `len - done` bytes written to are the
        // page's, which its writer has for itself (L3) and which stays mapped (P3); no slice is made of them (U1).
        let n = unsafe { pread(file.as_raw_fd(), page.as_mut_ptr().add(done).cast(), len - done, at) };
        match usize::try_from(n) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(done)
}

/// Reserves blocks for `len` bytes at `offset` and extends the file; `false` if the file system cannot.
#[cfg(target_os = "linux")]
pub(super) fn fallocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    let (Ok(offset), Ok(len)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(len)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    loop {
        // SAFETY: F1: the descriptor is open for as long as `file` is borrowed; no memory is passed.
        if unsafe { libc::fallocate64(file.as_raw_fd(), 0, offset, len) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(false),
            _ => return Err(error),
        }
    }
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub(super) fn fallocate(_file: &File, _offset: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// Writes some of `buf`, not empty, and makes that much durable; returns how much, or `None` if there is no such call.
#[cfg(target_os = "linux")]
pub(super) fn write_dsync(file: &File, buf: &[u8], offset: u64) -> io::Result<Option<usize>> {
    let Ok(offset) = libc::off64_t::try_from(offset) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let vector = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    loop {
        // SAFETY: F1: the descriptor is open for as long as `file` is borrowed; `vector` is one element that names
        // `buf`, which is borrowed for the call and only read by it.
        let n = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const vector, 1, offset, libc::RWF_DSYNC) };
        match usize::try_from(n) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => return Ok(Some(n)),
            Err(_) => {}
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // Sandboxes that do not know the call answer EPERM, kernels that do not know the flag EINVAL. If it was something else
            // that they did not like, the plain write that follows will say so.
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM | libc::EINVAL) => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub(super) fn write_dsync(_file: &File, _buf: &[u8], _offset: u64) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Asks the system to read these bytes into its cache, without waiting. Only a hint: a failure changes nothing.
#[cfg(target_os = "linux")]
pub(super) fn will_need(file: &File, offset: u64, len: u64) {
    advise(file, offset, len, libc::POSIX_FADV_WILLNEED);
}

/// Asks the system to drop these bytes from its cache, where they are clean. Only a hint: a failure changes nothing.
#[cfg(target_os = "linux")]
pub(super) fn dont_need(file: &File, offset: u64, len: u64) {
    advise(file, offset, len, libc::POSIX_FADV_DONTNEED);
}

#[cfg(target_os = "linux")]
fn advise(file: &File, offset: u64, len: u64, advice: libc::c_int) {
    let (Ok(offset), Ok(len)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(len)) else { return };
    // SAFETY: F1: the descriptor is open for as long as `file` is borrowed; no memory is passed.
    unsafe { libc::posix_fadvise64(file.as_raw_fd(), offset, len, advice) };
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub(super) fn will_need(_file: &File, _offset: u64, _len: u64) {}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub(super) fn dont_need(_file: &File, _offset: u64, _len: u64) {}
