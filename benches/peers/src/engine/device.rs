//! The bare device: the reads, writes and syncs that a workload asks for, with no engine between.
//!
//! Records lie in a file at the place their number gives, none across a block. A write puts the record there (page cache)
//! and, as an engine's log would, one group of whole blocks into a preallocated log file; when it has to be durable the
//! group is written with `RWF_DSYNC`, one sync a commit. There is no index, no removal and no order.

use super::memory::keys_of;
use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use crate::data::Keys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const BLOCK: usize = 4096;
const LOG_BYTES: u64 = 64 << 20;

pub struct Device {
    data: File,
    log: File,
    /// Where the next group goes, counted on beyond the file's end.
    next: AtomicU64,
    /// One more than the greatest number written.
    count: AtomicU64,
    count_file: PathBuf,
    keys: Keys,
    value_len: usize,
    direct: bool,
}

pub fn open(setup: &Setup) -> Result<Device> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    if setup.direct {
        options.custom_flags(libc::O_DIRECT);
    }
    let data = options.open(setup.dir.join("data"))?;
    let log = options.open(setup.dir.join("log"))?;
    if log.metadata()?.len() < LOG_BYTES {
        // Written once, so that a commit changes no metadata.
        let zeros = Blocks::new(1 << 20);
        for at in (0..LOG_BYTES).step_by(1 << 20) {
            log.write_all_at(zeros.bytes(), at)?;
        }
        log.sync_all()?;
    }
    let count_file = setup.dir.join("count");
    let count = match std::fs::read_to_string(&count_file) {
        Ok(text) => text.trim().parse()?,
        Err(_) => 0,
    };
    Ok(Device {
        data,
        log,
        next: AtomicU64::new(0),
        count: AtomicU64::new(count),
        count_file,
        keys: keys_of(setup.longest.0),
        value_len: setup.longest.1,
        direct: setup.direct,
    })
}

/// Memory aligned to a block, as direct I/O wants it.
struct Blocks {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Blocks {
    fn new(len: usize) -> Blocks {
        let len = len.next_multiple_of(BLOCK);
        let memory = vec![0; len + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Blocks { memory, start, len }
    }
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
    fn at_least(&mut self, len: usize) {
        if self.len < len {
            *self = Blocks::new(len);
        }
    }
}

/// Writes `bytes` at `at`, durably if asked for.
fn write_log(file: &File, bytes: &[u8], at: u64, commit: Commit) -> Result<()> {
    if commit == Commit::Buffered {
        return Ok(file.write_all_at(bytes, at)?);
    }
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the descriptor and the one part are valid for the call, which only reads the bytes.
    let n = unsafe { libc::pwritev2(file.as_raw_fd(), &part, 1, i64::try_from(at)?, libc::RWF_DSYNC) };
    match usize::try_from(n) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(n) => Err(Fail::failed(format!("{n} of {} bytes written", bytes.len()))),
        Err(_) => Err(io::Error::last_os_error().into()),
    }
}

impl Device {
    /// Where record `id` lies: no value crosses a block unless it is larger than one.
    fn place(&self, id: u64) -> u64 {
        let block = BLOCK as u64;
        let len = self.value_len.max(1) as u64;
        if len > block {
            return id * len.next_multiple_of(block);
        }
        let per_block = block / len;
        id / per_block * block + id % per_block * len
    }

    fn id(&self, key: &[u8]) -> Result<u64> {
        self.keys.id(key).ok_or_else(|| Fail::Unsupported("keys without a number".into()))
    }

    /// Puts a value into its place. Direct I/O reads and writes the whole blocks around it.
    fn put(&self, id: u64, value: &[u8], blocks: &mut Blocks) -> Result<()> {
        let at = self.place(id);
        if self.direct {
            let first = at / BLOCK as u64 * BLOCK as u64;
            let skip = (at - first) as usize;
            let len = (skip + value.len()).next_multiple_of(BLOCK);
            blocks.at_least(len);
            let bytes = &mut blocks.bytes_mut()[..len];
            let read = self.data.read_at(bytes, first)?;
            bytes[read..].fill(0);
            bytes[skip..skip + value.len()].copy_from_slice(value);
            self.data.write_all_at(bytes, first)?;
        } else {
            self.data.write_all_at(value, at)?;
        }
        self.count.fetch_max(id + 1, Ordering::Relaxed);
        Ok(())
    }
}

/// A part of the data file, a mebibyte or more, that is filled in memory and written at once.
struct Window<'a> {
    device: &'a Device,
    start: u64,
    /// Bytes of it that are there; 0 if it is nowhere.
    len: usize,
    blocks: Blocks,
}

impl<'a> Window<'a> {
    fn new(device: &'a Device) -> Window<'a> {
        Window { device, start: 0, len: 0, blocks: Blocks::new((1 << 20) + device.value_len.next_multiple_of(BLOCK)) }
    }

    /// Puts a value into the window, which moves to it if the record follows the last one; false if it does not.
    fn put(&mut self, id: u64, value: &[u8], follows: bool) -> Result<bool> {
        let at = self.device.place(id);
        let inside = |w: &Window<'_>| at >= w.start && at + value.len() as u64 <= w.start + w.len as u64;
        if !inside(self) {
            self.write()?;
            if !follows {
                return Ok(false);
            }
            (self.start, self.len) = (at / BLOCK as u64 * BLOCK as u64, self.blocks.len);
            let bytes = self.blocks.bytes_mut();
            let read = self.device.data.read_at(bytes, self.start)?;
            bytes[read..].fill(0);
        }
        let at = (at - self.start) as usize;
        self.blocks.bytes_mut()[at..at + value.len()].copy_from_slice(value);
        Ok(true)
    }

    fn write(&mut self) -> Result<()> {
        self.device.data.write_all_at(&self.blocks.bytes()[..self.len], self.start)?;
        self.len = 0;
        Ok(())
    }
}

impl Engine for Device {
    fn settings(&self) -> String {
        format!(
            "preallocated log of {} MiB, groups of 4 KiB blocks; durable: pwritev2 with RWF_DSYNC; buffered: pwrite; {}",
            LOG_BYTES >> 20,
            if self.direct { "direct I/O" } else { "page cache" }
        )
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread { device: self, blocks: Blocks::new(BLOCK), group: Blocks::new(BLOCK) }))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        // One copy in place; what an engine's log would add is left out, as bulk paths leave it out. Records that follow
        // each other in number are written together.
        let (mut blocks, mut window) = (Blocks::new(BLOCK), Window::new(self));
        let mut before = None;
        while let Some((key, value)) = items.next() {
            let id = self.id(key)?;
            let follows = before.is_none_or(|before: u64| before + 1 == id);
            if !window.put(id, value, follows)? {
                self.put(id, value, &mut blocks)?;
            }
            self.count.fetch_max(id + 1, Ordering::Relaxed);
            before = Some(id);
        }
        window.write()?;
        self.sync()
    }
    fn len(&self) -> Result<u64> {
        Ok(self.count.load(Ordering::Relaxed))
    }
    fn sync(&self) -> Result<()> {
        std::fs::write(&self.count_file, self.count.load(Ordering::Relaxed).to_string())?;
        self.log.sync_data()?;
        Ok(self.data.sync_data()?)
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct Thread<'a> {
    device: &'a Device,
    /// Blocks read.
    blocks: Blocks,
    /// A group for the log.
    group: Blocks,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        View::get(self, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Thread { device: self.device, blocks: Blocks::new(BLOCK), group: Blocks::new(BLOCK) }))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        let sizes = ops.iter().map(|op| match op {
            Op::Put(key, value) => key.len() + value.len(),
            Op::Del(key) => key.len(),
        });
        self.group.at_least(sizes.sum());
        let mut len = 0;
        for op in ops {
            let Op::Put(key, value) = *op else { return Fail::unsupported("the bare device removes nothing") };
            let bytes = self.group.bytes_mut();
            bytes[len..len + key.len()].copy_from_slice(key);
            bytes[len + key.len()..len + key.len() + value.len()].copy_from_slice(value);
            len += key.len() + value.len();
            let id = self.device.id(key)?;
            self.device.put(id, value, &mut self.blocks)?;
        }
        let len = len.next_multiple_of(BLOCK);
        for part in self.group.bytes()[..len].chunks((LOG_BYTES / 4) as usize) {
            let at = self.device.next.fetch_add(part.len() as u64, Ordering::Relaxed) % LOG_BYTES;
            let at = if at + part.len() as u64 > LOG_BYTES { 0 } else { at };
            write_log(&self.device.log, part, at, commit)?;
        }
        Ok(())
    }
    fn update(&mut self, _: &[u8], _: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, _: Commit) -> Result<()> {
        Fail::unsupported("the bare device has no reading and writing as one step")
    }
    fn pop_first(&mut self, _commit: Commit, _taken: Each<'_>) -> Result<bool> {
        Fail::unsupported("the bare device has no order")
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Thread { device, blocks, .. } = self;
        let at = device.place(device.id(key)?);
        let block = BLOCK as u64;
        let (first, skip) = if device.direct { (at / block * block, (at % block) as usize) } else { (at, 0) };
        let end = skip + device.value_len;
        let len = if device.direct { end.next_multiple_of(BLOCK) } else { end };
        blocks.at_least(len);
        let bytes = &mut blocks.bytes_mut()[..len];
        let read = device.data.read_at(bytes, first)?;
        if read < end {
            return Ok(false);
        }
        found(&bytes[skip..end]);
        Ok(true)
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let device = self.device;
        if !from.is_empty() && device.keys != Keys::Dense8 {
            return Fail::unsupported("the bare device has no order but that of numbers");
        }
        let (first, count) = (if from.is_empty() { 0 } else { device.id(from)? }, device.len()?);
        let end = first.saturating_add(limit).min(count);
        // A range is one read; a long one, reads of a mebibyte.
        let per_read = ((1 << 20) / device.value_len.max(1) as u64).max(1);
        let mut id = first;
        while id < end {
            let last = (id + per_read).min(end);
            let (start, stop) = (device.place(id), device.place(last - 1) + device.value_len as u64);
            let block = BLOCK as u64;
            let start = start / block * block;
            let len = ((stop - start) as usize).next_multiple_of(BLOCK);
            self.blocks.at_least(len);
            let bytes = &mut self.blocks.bytes_mut()[..len];
            let read = device.data.read_at(bytes, start)?;
            if read < (stop - start) as usize {
                return Err(Fail::failed("a short read"));
            }
            for id in id..last {
                let at = (device.place(id) - start) as usize;
                each(&device.keys.key(id), &bytes[at..at + device.value_len]);
            }
            id = last;
        }
        Ok(end.saturating_sub(first))
    }
}
