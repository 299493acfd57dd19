//! Pages of large values: written once ([`written`](super::written)); read through frames where the budget has room for them,
//! and in steps where it has not.
//!
//! | who | does what to the page's frame |
//! |---|---|
//! | the writer of the value | writes its image to reserved space, from a frame if memory is free; takes away frames of the place's former life; then the frame holds the page |
//! | a reader | finds it in a frame of its class, or at its second miss loads it there, and holds the shared latch while it reads (V2) |
//! | eviction, the free | the exclusive latch, by try |
//!
//! The frames of all greater classes together take at most half of the budget, so that the trees' nodes keep the rest.

use super::BufferPool;
use super::frame::ClaimedFrame;
use super::load::Loading;
#[cfg(feature = "btree")]
use super::region::Region;
use super::table::Place;
use super::view::PageRef;
use crate::error::{Error, Result, Site};
use crate::io::AlignedBuf;
use crate::page::bytes::PageWriter;
use crate::page::header::HEADER_BYTES;
use crate::page::value::ContentHeader;
use crate::sync::Ordering;
use crate::types::{PageId, SizeClass, TreeId};
use std::cell::RefCell;

/// What is read from the store at a time, in bytes.
const STEP: usize = 64 << 10;
/// The longest image that is read whole without a frame, in bytes: what a buffer that a thread keeps is worth.
const WHOLE: usize = 256 << 10;

thread_local! {
    /// What images are read into: kept, for memory that is new costs more than the read, and aligned, so that a read past the
    /// system's cache can use it.
    static BUFFER: RefCell<AlignedBuf> = RefCell::default();
}

/// Runs `f` with `len` bytes of the thread's buffer, whatever they hold. Re-entrant: an inner use gets another one.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    // A thread that is ending has none any more.
    let mut buffer = BUFFER.try_with(RefCell::take).unwrap_or_default();
    if buffer.len() < len {
        buffer = AlignedBuf::zeroed(len.next_power_of_two());
    }
    let result = f(&mut buffer[..len]);
    if buffer.len() <= WHOLE {
        let _ = BUFFER.try_with(|kept| kept.replace(buffer));
    }
    result
}

/// Runs `f` with `len` bytes of memory that is mapped for this one use, in huge pages where the system has them: 64 MiB take
/// 32 faults instead of 16,384. For values longer than what allocators keep for the next who asks.
///
/// # Errors
/// `Io` if there is no such memory; `f` was not called then.
#[cfg(feature = "btree")]
pub(crate) fn with_mapped<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
    let mut region = Region::map(len, true)?;
    Ok(f(&mut region.bytes_mut()[..len]))
}

/// How often a page is looked for in the table while somebody else is about to load or drop it.
const LOOKS: usize = 64;
/// Attempts at a frame before the page is read without one.
const ROUNDS: usize = 3;

/// A page of a large value, as its reference describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentPage {
    /// The page.
    pub id: PageId,
    /// Class 0 pages that its image takes: 1 to 256.
    pub units: u64,
    /// The tree whose value it is part of.
    pub tree: TreeId,
}

/// The content of a page of a large value, in its frame, under the shared latch: nobody changes it (V2). The frame stays
/// as long as this lives, and nobody waits for it.
pub struct ContentRef<'p> {
    page: PageRef<'p>,
    len: usize,
}

impl ContentPage {
    /// The least class that holds the image.
    #[must_use]
    pub fn class(&self) -> SizeClass {
        let class = self.units.next_power_of_two().trailing_zeros().min(SizeClass::COUNT as u32 - 1);
        SizeClass::new(class as u8).unwrap_or(SizeClass::ZERO)
    }

    pub(super) fn header(&self) -> ContentHeader {
        ContentHeader { id: self.id, class: self.class(), units: self.units, tree: self.tree }
    }

    fn damaged(&self, detail: impl Into<String>) -> Error {
        Error::corrupted(Site::Page(self.id), detail)
    }
}

impl std::ops::Deref for ContentRef<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.page.content(HEADER_BYTES, self.len - HEADER_BYTES)
    }
}

impl BufferPool {
    /// The content of `page` in a frame: one that holds it, or, with `load` and if it was missed lately, one that can be had
    /// without waiting. `None` if there is none: [`BufferPool::stream_content`] needs none.
    ///
    /// # Errors
    /// `Io`, `Corrupted`, `Poisoned`.
    pub fn content(&self, page: &ContentPage, load: bool) -> Result<Option<ContentRef<'_>>> {
        let class = page.class();
        if class.get() as usize >= self.frames.len() {
            return Ok(None);
        }
        let mut looks = 0;
        while looks < LOOKS {
            match self.table.get(page.id) {
                Some(place) if place.class == class => {
                    let (header, data) = self.frame_parts(class, place.frame);
                    // Waits at most for whoever loads it: others take this frame's latch by try (V2).
                    let guard = header.latch.shared();
                    if header.page() == page.id {
                        header.touch();
                        let page_ref = PageRef { pool: self, data, id: page.id, class, guard };
                        return Ok(Some(ContentRef { page: page_ref, len: page.units as usize * self.page_size }));
                    }
                }
                // A reader that was held up since the place's former life is finding out that it is over.
                Some(_) => crate::sync::thread::yield_now(),
                // Whoever finds its name has looked before, perhaps just now.
                None if !load || looks == 0 && !self.missed.again(page.id) => return Ok(None),
                None => {
                    let Some(frame) = self.spare_frame(class)? else { return Ok(None) };
                    self.load_content(page, frame)?;
                }
            }
            looks += 1;
        }
        Ok(None)
    }

    /// A frame for content that is free, within its share of the budget.
    pub(super) fn free_content_frame(&self, class: SizeClass) -> Option<ClaimedFrame<'_>> {
        if self.may_grow(class) {
            self.free_frame(class)
        } else {
            self.frames.get(class.get() as usize)?.take_resident()
        }
    }

    /// A frame for content that can be had without waiting and within its share of the budget.
    fn spare_frame(&self, class: SizeClass) -> Result<Option<ClaimedFrame<'_>>> {
        self.check_poison()?;
        for _ in 0..ROUNDS {
            let free = self.free_content_frame(class);
            if free.is_some() {
                return Ok(free);
            }
            match self.evict_round(class) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                // A full disk is no reason not to read.
                Ok(None) | Err(Error::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads a page into a frame of the caller's, unless somebody else does. The frame's bytes are verified before its latch
    /// is released, and it holds no page if they do not fit.
    fn load_content(&self, page: &ContentPage, claimed: ClaimedFrame<'_>) -> Result<()> {
        let (class, frame) = (page.class(), claimed.id());
        let frames = &self.frames[class.get() as usize];
        let (header, data) = self.frame_parts(class, frame);
        let guard = header.latch.exclusive();
        if self.table.insert(page.id, Place { class, frame }).is_some() {
            return Ok(());
        }
        header.set_page(page.id);
        let mut loading = Loading { pool: self, header, id: page.id, frame, done: false, _guard: guard };
        self.read_image(page, |at, bytes| {
            // SAFETY: the exclusive latch is held (L3) and the frame is mapped (P3).
            unsafe { PageWriter::new(data, frames.bytes) }.write(at, bytes);
        })?;
        header.set_warmth(super::frame::WARM);
        // Relaxed: a statistic.
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        loading.done = true;
        drop(loading);
        claimed.hand_over();
        Ok(())
    }

    /// Whether `page` is one for [`BufferPool::with_content`]: its image is of at most 256 KiB.
    #[must_use]
    pub fn is_read_whole(&self, page: &ContentPage) -> bool {
        page.units as usize * self.page_size <= WHOLE
    }

    /// Calls `f` with the content of `page`, read whole and past the frames into a buffer that the thread keeps. Cost: one read.
    ///
    /// # Errors
    /// `Io`, `Corrupted`, `Poisoned`; `f` was not called then.
    pub fn with_content<R>(&self, page: &ContentPage, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.check_poison()?;
        if page.units == 0 {
            return Err(page.damaged("a page of no length"));
        }
        with_buffer(page.units as usize * self.page_size, |image| {
            self.store.read(page.id, image)?;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&image[4..]);
            let sound = page.header().verify(&image[..HEADER_BYTES], hasher.finalize());
            sound.map_err(|detail| page.damaged(detail))?;
            Ok(f(&image[HEADER_BYTES..]))
        })
    }

    /// Reads the content of `page` from the store in steps, past the frames: `f` gets each step's bytes and where in the
    /// content they lie. They count only if the call succeeds: the checksum is known at the end. Memory: the thread's buffer,
    /// 64 KiB of it.
    ///
    /// # Errors
    /// `Io`, `Corrupted`, `Poisoned`.
    pub fn stream_content(&self, page: &ContentPage, mut f: impl FnMut(usize, &[u8])) -> Result<()> {
        self.check_poison()?;
        self.read_image(page, |at, bytes| match at.checked_sub(HEADER_BYTES) {
            Some(at) => f(at, bytes),
            None => f(0, bytes.get(HEADER_BYTES - at..).unwrap_or_default()),
        })
    }

    /// Reads an image in steps and verifies it.
    fn read_image(&self, page: &ContentPage, f: impl FnMut(usize, &[u8])) -> Result<()> {
        let len = page.units as usize * self.page_size;
        with_buffer(len.min(STEP.max(self.page_size)), |buffer| self.read_steps(page, buffer, f))
    }

    fn read_steps(&self, page: &ContentPage, buffer: &mut [u8], mut f: impl FnMut(usize, &[u8])) -> Result<()> {
        let len = page.units as usize * self.page_size;
        let mut hasher = crc32fast::Hasher::new();
        let mut head = [0; HEADER_BYTES];
        let mut at = 0;
        while at < len {
            let n = buffer.len().min(len - at);
            let step = &mut buffer[..n];
            self.store.read(PageId::new(page.id.get() + (at / self.page_size) as u64), step)?;
            if at == 0 {
                head.copy_from_slice(&step[..HEADER_BYTES]);
            }
            hasher.update(if at == 0 { &step[4..] } else { step });
            f(at, step);
            at += n;
        }
        page.header().verify(&head, hasher.finalize()).map_err(|detail| page.damaged(detail))
    }
}
