//! What the kernel knows: of this process, of a directory, of the machine.

use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Processor time of this process so far, all threads, in seconds.
pub fn cpu_seconds() -> f64 {
    // SAFETY: a struct of integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live struct of the right type.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The number behind `field` in a file of `field: number` lines.
fn field(path: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes this process caused to be written to storage (pages it dirtied or wrote directly), by the kernel's count.
pub fn written_bytes() -> u64 {
    field("/proc/self/io", "write_bytes").unwrap_or(0)
}

/// The resident set of this process: its own memory and the file pages mapped into it.
pub fn rss_bytes() -> u64 {
    field("/proc/self/status", "VmRSS").unwrap_or(0) << 10
}

/// Bytes on disk of everything below `dir`: blocks allocated, not lengths, so that holes do not count.
pub fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// Asks the kernel to drop what it caches of the files below `dir`; what is dirty is written first.
pub fn drop_page_cache(dir: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_page_cache(&entry.path())?;
        } else {
            let file = fs::File::open(entry.path())?;
            file.sync_all()?;
            // SAFETY: a plain call on a descriptor that is open for its duration.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
    }
    Ok(())
}

/// Reads every file below `dir`, so that the kernel's page cache has it, as far as it fits.
pub fn fill_page_cache(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fill_page_cache(&entry.path())?;
        } else {
            std::io::copy(&mut fs::File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

/// The machine a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// File system type and mount point of the data directory.
    pub disk: String,
    /// Compiler that built this program's dependencies' standard library.
    pub rustc: String,
    /// The load average of the last minute when the run began.
    pub load: String,
}

impl Machine {
    /// This one; the data lies in `dir`.
    pub fn here(dir: &Path) -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name));
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Machine {
            processor: name.unwrap_or("unknown").trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, |n| n.get()),
            memory_mib: field("/proc/meminfo", "MemTotal").unwrap_or(0) >> 10,
            kernel: read("/proc/sys/kernel/osrelease"),
            disk: disk_of(dir),
            rustc: env!("PEERS_RUSTC").to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The mount that `dir` lies on.
fn disk_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let parts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, mount, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(mount).then_some((mount.len(), format!("{kind} on {device}")))
    });
    parts.max_by_key(|part| part.0).map_or_else(|| "unknown".to_owned(), |part| part.1)
}
