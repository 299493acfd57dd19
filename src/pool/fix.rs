//! From a reference to its page: the hot path, and the latched forms by page id.

use super::BufferPool;
use super::frame::FrameHeader;
use super::view::{Interrupt, PageMut, PageRef, PageView};
use crate::error::Result;
use crate::prefetch::prefetch_line;
use crate::swip::{AtomicSwip, Swip};
use crate::types::{FrameId, PageId, SizeClass};

/// Bytes of a page that are asked for as soon as its frame is guessed, beside the frame's header: the page's own header and
/// what follows it. In a B+tree node of 16 KiB that is the hints and most slots: the lines a search reads one after the
/// other come together. Measured, 2 M records of 24 + 150 bytes: a quarter of the time of a lookup.
const AHEAD: [usize; 6] = [0, 64, 128, 256, 384, 512];

/// Where a page most likely is, as addresses that are only ever asked for.
#[cfg(feature = "btree")]
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    header: *const u8,
    data: *const u8,
}

#[cfg(feature = "btree")]
impl Ahead {
    /// Nothing to ask for.
    pub(crate) const NOWHERE: Ahead = Ahead { header: std::ptr::null(), data: std::ptr::null() };

    /// Asks for the frame's header and the page's first `lines` cache lines; waits for nothing.
    #[inline(always)]
    pub(crate) fn prefetch(self, lines: usize) {
        prefetch_line(self.header);
        for line in 0..lines {
            prefetch_line(self.data.wrapping_add(line * 64));
        }
    }
}

impl BufferPool {
    /// The page that `swip` refers to: for references outside of pages, such as that of a root. Loads it if need be; waits
    /// for a writer; holds nothing on return. Repairs the hint.
    ///
    /// # Errors
    /// What loading the page can give: `Io`, `Corrupted`, `PoolExhausted`, `Poisoned`.
    #[inline]
    pub fn view(&self, swip: &AtomicSwip) -> Result<PageView<'_>> {
        let word = swip.load();
        if let Some(view) = self.hinted::<true>(word) {
            return Ok(view);
        }
        self.view_slow(swip, word)
    }

    /// The child of `parent` whose swip lies at byte `at`. The child's version is read, then its page id, then the parent
    /// is validated: so the view is of the page the parent referred to at a moment when both were as read.
    ///
    /// On a miss the page is loaded with nothing held, and the parent's hint repaired under its shared latch if it is
    /// still as it was.
    ///
    /// # Errors
    /// [`Interrupt::Restart`] if the parent changed; [`Interrupt::Failed`] with what loading can give.
    #[inline(always)]
    pub fn try_child<'p>(&'p self, parent: &PageView<'p>, at: usize) -> Result<PageView<'p>, Interrupt> {
        let Ok(bits) = parent.reader().u64(at) else {
            return Err(self.bad_place(parent, at));
        };
        let word = Swip::from_bits(bits);
        if let Some(view) = self.hinted::<true>(word) {
            if !cfg!(pagebox_break = "child_unvalidated") {
                parent.validate()?;
            }
            return Ok(view);
        }
        self.child_slow(parent, at, word)
    }

    /// Where [`BufferPool::try_child`] will look for the reference at byte `at` of `parent`, if its hint is good: to be asked
    /// for ahead. Reads nothing but the reference.
    #[inline(always)]
    #[cfg(feature = "btree")]
    pub(crate) fn ahead(&self, parent: &PageView<'_>, at: usize) -> Ahead {
        let place = parent.reader().u64(at).ok().and_then(|bits| {
            let word = Swip::from_bits(bits);
            let frames = self.frames.get(word.class().get() as usize)?;
            Some(Ahead {
                header: std::ptr::from_ref(frames.header(word.frame())?).cast(),
                data: frames.data(word.frame()),
            })
        });
        place.unwrap_or(Ahead::NOWHERE)
    }

    /// As [`BufferPool::try_child`], but for pages in memory only: `None` for another one, which the store is asked to read
    /// ahead. Waits for nobody but a writer of that very page, or a thread that is loading it.
    ///
    /// # Errors
    /// As [`BufferPool::try_child`].
    #[inline(always)]
    pub fn try_resident_child<'p>(
        &'p self,
        parent: &PageView<'p>,
        at: usize,
    ) -> Result<Option<PageView<'p>>, Interrupt> {
        let Ok(bits) = parent.reader().u64(at) else {
            return Err(self.bad_place(parent, at));
        };
        let word = Swip::from_bits(bits);
        if let Some(view) = self.hinted::<false>(word) {
            parent.validate()?;
            return Ok(Some(view));
        }
        self.resident_slow(parent, at, word)
    }

    #[cold]
    fn resident_slow<'p>(
        &'p self,
        parent: &PageView<'p>,
        at: usize,
        word: Swip,
    ) -> Result<Option<PageView<'p>>, Interrupt> {
        // The word may be torn or stale: nothing is asked for because of it before it is known to be true (L4).
        parent.validate()?;
        if self.is_resident(word.page()) || word.page().is_none() {
            return self.child_slow(parent, at, word).map(Some);
        }
        self.store.prefetch(word.page(), self.page_bytes(word.class()));
        Ok(None)
    }

    /// As [`BufferPool::try_child`], but only if the hint leads to the child: nothing is loaded, no table is asked.
    ///
    /// # Errors
    /// [`Interrupt::Restart`] if the parent changed.
    #[cfg(feature = "btree")]
    pub(crate) fn hinted_child<'p>(
        &'p self,
        parent: &PageView<'p>,
        at: usize,
    ) -> Result<Option<PageView<'p>>, Interrupt> {
        let view = parent.reader().u64(at).ok().and_then(|bits| self.hinted::<true>(Swip::from_bits(bits)));
        parent.validate()?;
        Ok(view)
    }

    /// The frame that the hint names, if it holds the page (S2). Waits for a writer of that very page. `ASK`: the page's first
    /// lines were not asked for before.
    #[inline(always)]
    fn hinted<const ASK: bool>(&self, word: Swip) -> Option<PageView<'_>> {
        let frames = self.frames.get(word.class().get() as usize)?;
        let header = frames.header(word.frame())?;
        let data = frames.data(word.frame());
        if ASK {
            for line in AHEAD {
                prefetch_line(data.wrapping_add(line));
            }
        }
        let id = word.page();
        if header.page() != id || id.is_none() {
            return None;
        }
        self.look(header, data, id, word.class())
    }

    /// A view of `header` if it holds `id` once its version was read: the order makes the id part of what is validated (P1).
    #[inline(always)]
    fn look<'p>(
        &'p self,
        header: &'p FrameHeader,
        data: *const u8,
        id: PageId,
        class: SizeClass,
    ) -> Option<PageView<'p>> {
        let guard = header.latch.optimistic();
        if header.page() != id && !cfg!(pagebox_break = "hint_unverified") {
            return None;
        }
        header.touch();
        let bytes = self.page_bytes(class) as u32;
        Some(PageView { pool: self, header, data, id, class, bytes, version: guard.version() })
    }

    #[cold]
    fn bad_place(&self, parent: &PageView<'_>, at: usize) -> Interrupt {
        match parent.validate() {
            Ok(()) => Interrupt::Failed(self.bad_swip(parent.id, at)),
            Err(restart) => restart.into(),
        }
    }

    #[cold]
    fn bad_swip(&self, page: PageId, at: usize) -> crate::error::Error {
        crate::error::Error::corrupted(
            crate::error::Site::Page(page),
            format!("the reference at byte {at} lies outside of the page"),
        )
    }

    #[cold]
    fn view_slow(&self, swip: &AtomicSwip, word: Swip) -> Result<PageView<'_>> {
        loop {
            let (frame, view) = self.find_or_load(word.page(), word.class(), None)?;
            swip.repair(swip.load(), frame);
            if let Some(view) = view {
                return Ok(view);
            }
        }
    }

    #[cold]
    fn child_slow<'p>(&'p self, parent: &PageView<'p>, at: usize, word: Swip) -> Result<PageView<'p>, Interrupt> {
        // The word may be torn or stale: nothing is loaded because of it before it is known to be true (L4).
        parent.validate()?;
        if word.page().is_none() || !at.is_multiple_of(8) || word.class().get() as usize >= self.frames.len() {
            return Err(Interrupt::Failed(self.bad_swip(parent.id, at)));
        }
        let (frame, view) = match self.find_or_load(word.page(), word.class(), None) {
            Ok(found) => found,
            Err(error) => {
                // The place may have become something else since the parent was validated: then nothing is damaged.
                parent.validate()?;
                return Err(Interrupt::Failed(error));
            }
        };
        // The repair needs the shared latch: without it the word could meanwhile be other bytes of the page (L3).
        if let Ok(latched) = parent.try_shared()
            && let Some(swip) = latched.swip(at)
        {
            swip.repair(word, frame);
        }
        parent.validate()?;
        view.ok_or(Interrupt::Restart)
    }

    /// The page `id` under its shared latch; loads it if need be, waits for a writer.
    ///
    /// # Errors
    /// What loading the page can give: `Io`, `Corrupted`, `PoolExhausted`, `Poisoned`.
    pub fn shared(&self, id: PageId, class: SizeClass) -> Result<PageRef<'_>> {
        loop {
            let (header, data) = self.place(id, class)?;
            let guard = header.latch.shared();
            if header.page() == id {
                header.touch();
                return Ok(PageRef { pool: self, data, id, class, guard });
            }
        }
    }

    /// The page `id` under its exclusive latch; loads it if need be, waits for readers and writers.
    ///
    /// # Errors
    /// What loading the page can give: `Io`, `Corrupted`, `PoolExhausted`, `Poisoned`.
    pub fn exclusive(&self, id: PageId, class: SizeClass) -> Result<PageMut<'_>> {
        loop {
            let (header, data) = self.place(id, class)?;
            let guard = header.latch.exclusive();
            if header.page() == id {
                header.touch();
                return Ok(PageMut::new(self, header, data, id, class, guard));
            }
        }
    }

    /// Whether `id` is in memory at this moment.
    #[must_use]
    pub fn is_resident(&self, id: PageId) -> bool {
        self.table.get(id).is_some()
    }

    fn place(&self, id: PageId, class: SizeClass) -> Result<(&FrameHeader, *mut u8)> {
        let (frame, _) = self.find_or_load(id, class, None)?;
        Ok(self.frame_parts(class, frame))
    }

    /// Header and memory of a frame that the page table named.
    pub(super) fn frame_parts(&self, class: SizeClass, frame: FrameId) -> (&FrameHeader, *mut u8) {
        let frames = &self.frames[class.get() as usize];
        let header = frames.header(frame).unwrap_or_else(|| unreachable!("P2: the page table names frames that exist"));
        (header, frames.data(frame))
    }

    /// A view of the page in `frame`, if it still holds `id`.
    pub(super) fn view_of(&self, id: PageId, class: SizeClass, frame: FrameId) -> Option<PageView<'_>> {
        let frames = &self.frames[class.get() as usize];
        self.look(frames.header(frame)?, frames.data(frame), id, class)
    }
}
