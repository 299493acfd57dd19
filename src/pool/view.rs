//! A page in hand, in one of the latch's three modes.

use super::BufferPool;
#[cfg(feature = "btree")]
use super::frame::FRESH;
use super::frame::{DIRTY, FrameHeader, WARM_INNER};
use crate::error::Error;
use crate::latch::{ExclusiveGuard, OptimisticGuard, Restart, SharedGuard};
use crate::page::bytes::{PageReader, PageWriter};
use crate::page::header;
use crate::swip::AtomicSwip;
use crate::types::{Lsn, PageId, SizeClass};

/// Why an optimistic operation stopped: it has to start again, or it failed.
#[derive(Clone, Debug)]
pub enum Interrupt {
    /// Something changed underneath: start again from the root.
    Restart,
    /// A real failure: give it to the caller.
    Failed(Error),
}

impl From<Restart> for Interrupt {
    fn from(_: Restart) -> Interrupt {
        Interrupt::Restart
    }
}

impl From<Error> for Interrupt {
    fn from(error: Error) -> Interrupt {
        Interrupt::Failed(error)
    }
}

/// A page read optimistically: nothing is held, and nothing read counts before [`PageView::validate`] (L4).
#[derive(Clone, Copy)]
pub struct PageView<'p> {
    pub(super) pool: &'p BufferPool,
    pub(super) header: &'p FrameHeader,
    pub(super) data: *const u8,
    pub(super) id: PageId,
    pub(super) class: SizeClass,
    pub(super) bytes: u32,
    /// The latch's version when the view was taken.
    pub(super) version: u64,
}

/// A page under its shared latch: it does not change but for swip hints, and it stays where it is.
pub struct PageRef<'p> {
    pub(super) pool: &'p BufferPool,
    pub(super) data: *const u8,
    pub(super) id: PageId,
    pub(super) class: SizeClass,
    pub(super) guard: SharedGuard<'p>,
}

/// A page under its exclusive latch.
///
/// A change follows W5: [`PageMut::begin_change`] with the append position, append, apply through [`PageMut::writer`],
/// [`PageMut::finish_change`] with the record's LSN, drop. A panic between begin and finish poisons the pool before the
/// latch is released.
pub struct PageMut<'p> {
    pub(super) pool: &'p BufferPool,
    pub(super) header: &'p FrameHeader,
    pub(super) data: *mut u8,
    pub(super) id: PageId,
    pub(super) class: SizeClass,
    pub(super) changing: bool,
    /// Released when the struct is dropped, after `Drop::drop` has run.
    pub(super) guard: Option<ExclusiveGuard<'p>>,
}

impl<'p> PageView<'p> {
    /// The page's id.
    #[must_use]
    #[inline(always)]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// The page's size class.
    #[must_use]
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// The page's bytes; what is read from them counts only after validation.
    #[must_use]
    #[inline(always)]
    pub fn reader(&self) -> PageReader<'p> {
        // SAFETY: frame memory stays mapped while the pool lives (P3), which `'p` borrows; it changes only as U1 and L3 allow.
        unsafe { PageReader::new(self.data, self.bytes as usize) }
    }

    #[inline(always)]
    fn guard(&self) -> OptimisticGuard<'p> {
        self.header.latch.resume(self.version)
    }

    /// Whether everything read so far was there at one moment (L4). Cost: a fence and a load.
    ///
    /// # Errors
    /// [`Restart`] if the page changed or left its frame.
    #[inline(always)]
    pub fn validate(&self) -> Result<(), Restart> {
        self.guard().validate()
    }

    /// The shared latch, without waiting, if nothing changed since the view was taken.
    ///
    /// # Errors
    /// [`Restart`] if the latch is held exclusively or the page changed.
    #[inline]
    pub fn try_shared(self) -> Result<PageRef<'p>, Restart> {
        let guard = self.guard().try_upgrade_shared()?;
        Ok(PageRef { pool: self.pool, data: self.data, id: self.id, class: self.class, guard })
    }

    /// The exclusive latch, without waiting, if nothing changed since the view was taken.
    ///
    /// # Errors
    /// [`Restart`] if the latch is held or the page changed.
    #[inline]
    pub fn try_exclusive(self) -> Result<PageMut<'p>, Restart> {
        let guard = self.guard().try_upgrade()?;
        Ok(PageMut::new(self.pool, self.header, self.data.cast_mut(), self.id, self.class, guard))
    }

    /// Marks the page as an inner node: it stays in memory for more rounds of the clock hand than others.
    #[inline]
    pub fn prefer(&self) {
        self.header.keep_warm(WARM_INNER);
    }
}

impl PageRef<'_> {
    /// The page's id.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// The page's size class.
    #[must_use]
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// The page's bytes. Swip hints in them may change; nothing else does while the latch is held.
    #[must_use]
    #[inline]
    pub fn reader(&self) -> PageReader<'_> {
        // SAFETY: the memory stays mapped (P3), and under the shared latch only swip hints change (L3).
        unsafe { PageReader::new(self.data, self.pool.page_bytes(self.class)) }
    }

    /// The swip at byte `at` of the page, for repairing its hint; `None` unless `at` is aligned and inside of the page.
    #[must_use]
    pub fn swip(&self, at: usize) -> Option<&AtomicSwip> {
        if !at.is_multiple_of(8) || at + 8 > self.pool.page_bytes(self.class) {
            return None;
        }
        // SAFETY: aligned and inside of the page, as just checked; frames are page-aligned. Swip words are only accessed
        // as one atomic word while others may touch them (L3, U1), and the memory outlives the guard (P3).
        Some(unsafe { AtomicSwip::from_ptr(self.data.cast_mut().add(at).cast()) })
    }

    /// Bytes of a page that is never changed while it is in a frame: a large value's content. Panics outside of the page.
    pub(super) fn content(&self, at: usize, len: usize) -> &[u8] {
        assert!(
            at <= self.pool.page_bytes(self.class) && len <= self.pool.page_bytes(self.class) - at,
            "outside of the page"
        );
        // SAFETY: the range was just checked against the mapped page (P3). Under the shared latch nobody writes it: such
        // pages have no swips, so not even hints are repaired (V2, L3); concurrent optimistic reads are reads (U1).
        unsafe { std::slice::from_raw_parts(self.data.add(at), len) }
    }

    /// The frame header's version, the same while the latch is held.
    pub(super) fn version(&self) -> u64 {
        self.guard.version()
    }
}

impl<'p> PageMut<'p> {
    pub(super) fn new(
        pool: &'p BufferPool,
        header: &'p FrameHeader,
        data: *mut u8,
        id: PageId,
        class: SizeClass,
        guard: ExclusiveGuard<'p>,
    ) -> PageMut<'p> {
        PageMut { pool, header, data, id, class, changing: false, guard: Some(guard) }
    }

    /// The page's id.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// The page's size class.
    #[must_use]
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// The page's bytes for reading.
    #[must_use]
    #[inline]
    pub fn reader(&self) -> PageReader<'_> {
        // SAFETY: the memory stays mapped (P3), and only this holder of the exclusive latch changes it (L3).
        unsafe { PageReader::new(self.data, self.pool.page_bytes(self.class)) }
    }

    /// The page's bytes for writing; only between [`PageMut::begin_change`] and [`PageMut::finish_change`].
    #[must_use]
    #[inline]
    pub fn writer(&mut self) -> PageWriter<'_> {
        debug_assert!(self.changing, "W5: a page is changed between begin_change and finish_change");
        // SAFETY: this holds the page's exclusive latch (L3), and the memory stays mapped (P3).
        unsafe { PageWriter::new(self.data, self.pool.page_bytes(self.class)) }
    }

    /// The page's LSN: the end of the last record applied to it.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.reader().u64(header::LSN).unwrap_or(0))
    }

    /// Before the append: `position` is an append position read under this latch, so no later than the record (W6).
    /// The page counts as dirty from here on, with `position` as its recovery LSN if it was clean.
    #[inline]
    pub fn begin_change(&mut self, position: Lsn) {
        self.changing = true;
        if !self.header.has(DIRTY) {
            self.header.set_recovery_lsn(position);
            self.header.set(DIRTY);
        }
    }

    /// As [`PageMut::begin_change`], but asks for the append position only if the page is clean: all threads that write share it.
    #[cfg(feature = "btree")]
    #[inline(always)]
    pub(crate) fn begin_change_at(&mut self, position: impl FnOnce() -> Lsn) {
        if self.header.has(DIRTY) {
            self.changing = true;
        } else {
            self.begin_change(position());
        }
    }

    /// As [`PageMut::begin_change`], for a change by a logged record that initializes the page: until it is first written, a
    /// torn image of it is no loss (P10).
    #[cfg(feature = "btree")]
    pub(crate) fn begin_life(&mut self, position: Lsn) {
        let fresh = !self.header.has(DIRTY) && position != Lsn::NONE;
        self.begin_change(position);
        if fresh {
            self.header.set(FRESH);
        }
    }

    /// After the change was applied: stamps the page with the record's LSN ([`Lsn::NONE`] for unlogged pages).
    #[inline]
    pub fn finish_change(&mut self, lsn: Lsn) {
        debug_assert!(self.changing);
        if lsn != Lsn::NONE {
            self.writer().set_u64(header::LSN, lsn.get());
        }
        self.changing = false;
    }

    /// Recovery only: the page counts as dirty from `first` on, whether or not a record changed it. What the cache holds
    /// after a failed sync is not proof of being on disk.
    pub fn redo_dirty(&mut self, first: Lsn) {
        match self.header.recovery_lsn() {
            Some(there) if there <= first => {}
            _ => {
                self.header.set_recovery_lsn(first);
                self.header.set(DIRTY);
            }
        }
    }

    /// Edits the page through a private copy in `scratch`: for code that wants a slice (redo handlers). Only between
    /// [`PageMut::begin_change`] and [`PageMut::finish_change`]. Cost: two copies of the page.
    pub fn edit<R>(&mut self, scratch: &mut Vec<u8>, f: impl FnOnce(&mut [u8]) -> R) -> R {
        scratch.clear();
        let bytes = self.pool.page_bytes(self.class);
        self.reader().append_to(0, bytes, scratch).unwrap_or_else(|_| unreachable!("the whole page is in the page"));
        let result = f(scratch);
        self.writer().write(0, scratch);
        result
    }

    /// Marks the page as an inner node: it stays in memory for more rounds of the clock hand than others.
    pub fn prefer(&self) {
        self.header.set_warmth(WARM_INNER);
    }
}

impl Drop for PageMut<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.changing {
            self.abandon();
        }
        self.guard = None;
    }
}

impl PageMut<'_> {
    #[cold]
    fn abandon(&self) {
        self.pool.poison("a thread panicked in the middle of a change of a page");
    }
}
