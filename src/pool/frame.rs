//! Frames: page-sized memory, and one cache line of header each.

use super::headers::Headers;
use super::region::Region;
use crate::error::Result;
use crate::latch::HybridLatch;
use crate::sync::{AtomicU8, AtomicU64, Mutex, Ordering};
use crate::types::{FrameId, Lsn, PageId, SizeClass};

/// The page differs from its image on disk.
pub(crate) const DIRTY: u8 = 1;
/// A copy of the page is on its way to disk (P4).
pub(crate) const WRITING: u8 = 2;

/// Dirty ever since the record that initialized the page, and never written (P10).
pub(crate) const FRESH: u8 = 4;

/// Warmth of a leaf or other page when touched.
pub(crate) const WARM: u8 = 1;
/// Warmth of an inner node when touched: it survives more rounds of the hand.
pub(crate) const WARM_INNER: u8 = 4;

/// What the pool knows of one frame: exactly one cache line. All zeros when new ([`Headers`]).
#[repr(C, align(64))]
pub(crate) struct FrameHeader {
    pub(crate) latch: HybridLatch,
    /// The page the frame holds; [`PageId::NONE`] if none. Changes only under the exclusive latch (P1).
    page: AtomicU64,
    /// Where redo must start for this page; meaningful while `DIRTY` is set (W6).
    recovery: AtomicU64,
    /// `DIRTY`, `WRITING`, `FRESH`.
    flags: AtomicU8,
    /// Rounds of the clock hand the frame survives untouched.
    heat: AtomicU8,
    /// What a touch gives beyond [`WARM`]: more for inner nodes.
    extra: AtomicU8,
}

// A model's latch is larger.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<FrameHeader>() == 64);

// A new header is zeros: the rest of it are integers that start at zero.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(HybridLatch::NEW_IS_ZEROS);

impl FrameHeader {
    /// The header of a free frame.
    #[cfg(any(loom, shuttle))]
    pub(super) fn new() -> FrameHeader {
        FrameHeader {
            latch: HybridLatch::new(),
            page: AtomicU64::new(0),
            recovery: AtomicU64::new(0),
            flags: AtomicU8::new(0),
            heat: AtomicU8::new(0),
            extra: AtomicU8::new(0),
        }
    }

    /// The page held. Under an optimistic guard, trusted after validation (P1).
    #[inline(always)]
    pub(crate) fn page(&self) -> PageId {
        // Relaxed: ordered by the latch's version, which is odd around every change (P1).
        PageId::new(self.page.load(Ordering::Relaxed))
    }

    /// Sets the page held; the caller holds the exclusive latch (P1).
    pub(crate) fn set_page(&self, id: PageId) {
        debug_assert!(self.latch.version() % 2 == 1, "P1: the page id changes only under the exclusive latch");
        // Relaxed: published by the Release with which the latch's version becomes even (P1).
        self.page.store(id.get(), Ordering::Relaxed);
    }

    /// Notes a use: writes only if the frame had gone cold, so that a hit on a warm frame writes nothing shared.
    #[inline(always)]
    pub(crate) fn touch(&self) {
        // Relaxed: warmth is advice; losing or duplicating a touch harms nothing.
        if self.heat.load(Ordering::Relaxed) == 0 {
            self.heat.store(WARM + self.extra.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Takes one round of warmth; returns what was there before.
    pub(crate) fn cool(&self) -> u8 {
        // Relaxed: see `touch`.
        let heat = self.heat.load(Ordering::Relaxed);
        if heat > 0 {
            self.heat.store(heat - 1, Ordering::Relaxed);
        }
        heat
    }

    /// [`FrameHeader::set_warmth`], which writes only where something changes: the line stays shared between readers.
    #[inline(always)]
    pub(crate) fn keep_warm(&self, warmth: u8) {
        // Relaxed: see `touch`.
        if WARM + self.extra.load(Ordering::Relaxed) != warmth || self.heat.load(Ordering::Relaxed) != warmth {
            self.set_warmth(warmth);
        }
    }

    /// Sets the warmth that a touch gives, and gives it.
    pub(crate) fn set_warmth(&self, warmth: u8) {
        // Relaxed: see `touch`.
        self.extra.store(warmth - WARM, Ordering::Relaxed);
        self.heat.store(warmth, Ordering::Relaxed);
    }

    /// Leaves it cold, as what nobody has used yet, with the warmth of a leaf to come.
    pub(crate) fn set_cold(&self) {
        // Relaxed: see `touch`.
        self.extra.store(0, Ordering::Relaxed);
        self.heat.store(0, Ordering::Relaxed);
    }

    /// Whether all of `bits` are set. Exact under a latch, a hint otherwise.
    #[inline]
    pub(crate) fn has(&self, bits: u8) -> bool {
        // Acquire: pairs with the Release of `set` and `clear`, so that a frame seen clean has its write behind it.
        self.flags.load(Ordering::Acquire) & bits == bits
    }

    pub(crate) fn set(&self, bits: u8) -> u8 {
        // AcqRel: pairs with `has`; DIRTY is set under the exclusive latch, WRITING under the shared one.
        self.flags.fetch_or(bits, Ordering::AcqRel)
    }

    pub(crate) fn clear(&self, bits: u8) {
        // Release: pairs with `has`.
        self.flags.fetch_and(!bits, Ordering::Release);
    }

    /// The recovery LSN if the frame is dirty.
    pub(crate) fn recovery_lsn(&self) -> Option<Lsn> {
        // `has` acquires, so the LSN stored before the flag is seen (W6).
        self.has(DIRTY).then(|| Lsn::new(self.recovery.load(Ordering::Relaxed)))
    }

    /// Replaces the recovery LSN. Under the exclusive latch, or under the shared one by the writer of the frame.
    pub(crate) fn set_recovery_lsn(&self, lsn: Lsn) {
        // Relaxed: published by the Release of `set(DIRTY)`, or by the append that follows (W6).
        self.recovery.store(lsn.get(), Ordering::Relaxed);
    }
}

/// The frames of one size class.
pub(crate) struct Frames {
    pub(crate) class: SizeClass,
    pub(crate) bytes: usize,
    region: Region,
    headers: Headers,
    free: Mutex<FreeFrames>,
    /// Where the clock hand is.
    pub(crate) hand: AtomicU64,
    /// Whether memory is committed ahead of its first use ([`Frames::prepare_ahead`]).
    ahead: bool,
}

/// How far ahead of the frames in use memory is committed, in bytes: a few huge pages, some milliseconds of inserts.
const PREPARE_AHEAD: usize = 8 << 20;
/// Memory is committed in pieces of about this many bytes: a huge page.
const PREPARE_STEP: usize = 2 << 20;

/// A frame that holds no page and that nobody else will take: claimed from the free ones, or by evicting its page. Dropping
/// it gives it back, on every way out.
pub(crate) struct ClaimedFrame<'p> {
    frames: &'p Frames,
    frame: FrameId,
}

impl<'p> ClaimedFrame<'p> {
    /// Which frame it is.
    pub(crate) fn id(&self) -> FrameId {
        self.frame
    }

    /// Its size class.
    pub(crate) fn class(&self) -> SizeClass {
        self.frames.class
    }

    /// The frame holds a page now: it is the page table's.
    pub(crate) fn hand_over(self) -> FrameId {
        let frame = self.frame;
        std::mem::forget(self);
        frame
    }

    /// Gives the frame back, and its memory to the system.
    pub(crate) fn discard(self) {
        let frames: &'p Frames = self.frames;
        let frame = self.hand_over();
        frames.region.discard(frame.get() as usize * frames.bytes, frames.bytes);
        frames.free.lock().discarded.push(frame.get());
    }
}

impl Drop for ClaimedFrame<'_> {
    fn drop(&mut self) {
        debug_assert!(
            self.frames.header(self.frame).is_some_and(|h| h.page().is_none()),
            "a claimed frame holds a page"
        );
        self.frames.free.lock().resident.push(self.frame.get());
    }
}

struct FreeFrames {
    /// Free frames whose memory is committed.
    resident: Vec<u32>,
    /// Free frames whose memory was given back.
    discarded: Vec<u32>,
    /// Frames from here on were never used.
    unused: u32,
    /// Frames from `unused` to here have committed memory, and it is accounted for.
    prepared: u32,
}

impl FreeFrames {
    /// How many frames that were never used have committed memory.
    fn ready(&self) -> usize {
        self.prepared.saturating_sub(self.unused) as usize
    }
}

impl Frames {
    pub(crate) fn new(class: SizeClass, page_size: usize, budget: usize, huge: bool) -> Result<Frames> {
        let bytes = page_size << class.get();
        let count = (budget / bytes).min((1 << 24) - 1);
        let huge = huge && budget >= 64 << 20;
        Ok(Frames {
            class,
            bytes,
            region: Region::map(count * bytes, huge)?,
            headers: Headers::new(count, huge)?,
            free: Mutex::new(FreeFrames {
                resident: Vec::with_capacity(count),
                discarded: Vec::new(),
                unused: 0,
                prepared: 0,
            }),
            hand: AtomicU64::new(0),
            ahead: huge && class == SizeClass::ZERO,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.headers.len()
    }

    /// The header of a frame; `None` if there is no such frame (S2).
    #[inline(always)]
    pub(crate) fn header(&self, frame: FrameId) -> Option<&FrameHeader> {
        self.headers.get(frame.get() as usize)
    }

    /// The memory of a frame that exists.
    #[inline(always)]
    pub(crate) fn data(&self, frame: FrameId) -> *mut u8 {
        self.region.at(frame.get() as usize * self.bytes)
    }

    /// A free frame whose memory is committed already.
    pub(crate) fn take_resident(&self) -> Option<ClaimedFrame<'_>> {
        let mut free = self.free.lock();
        let frame = match free.resident.pop() {
            Some(frame) => frame,
            None if free.ready() > 0 => {
                free.unused += 1;
                free.unused - 1
            }
            None => return None,
        };
        Some(self.claimed(FrameId::new(frame)))
    }

    /// A free frame whose memory is not committed; the caller has accounted for it.
    pub(crate) fn take_uncommitted(&self) -> Option<ClaimedFrame<'_>> {
        let mut free = self.free.lock();
        if let Some(frame) = free.discarded.pop() {
            return Some(self.claimed(FrameId::new(frame)));
        }
        if (free.unused as usize) < self.headers.len() {
            free.unused += 1;
            return Some(self.claimed(FrameId::new(free.unused - 1)));
        }
        None
    }

    /// Whether memory should be committed ahead: half of what there was of it is used up.
    pub(crate) fn wants_preparing(&self) -> bool {
        self.ahead && {
            let free = self.free.lock();
            free.ready() < self.ahead_of(free.unused) / 2
        }
    }

    /// How many frames beyond those in use should be prepared: as many again, up to a bound.
    fn ahead_of(&self, used: u32) -> usize {
        (used as usize).min(PREPARE_AHEAD / self.bytes)
    }

    /// Commits memory ahead of the frames in use, so that who uses one first need not wait for the system to clear it.
    /// `commit` accounts for that many bytes, if the budget has room, `uncommit` takes back. For one thread in the background.
    pub(crate) fn prepare_ahead(&self, commit: impl Fn(u64) -> bool, uncommit: impl Fn(u64)) {
        if !self.ahead {
            return;
        }
        loop {
            let (from, to) = {
                let free = self.free.lock();
                let from = free.prepared.max(free.unused) as usize;
                let step = PREPARE_STEP / self.bytes;
                (from, (free.unused as usize + self.ahead_of(free.unused)).min(from + step).min(self.count()))
            };
            if from >= to || !commit(((to - from) * self.bytes) as u64) {
                return;
            }
            self.region.populate(from * self.bytes, (to - from) * self.bytes);
            let mut free = self.free.lock();
            // Those that were taken meanwhile have been accounted for by their takers.
            let taken = (free.unused as usize).clamp(from, to) - from;
            free.prepared = free.prepared.max(to as u32);
            drop(free);
            uncommit((taken * self.bytes) as u64);
        }
    }

    /// How many frames that were never used have committed memory.
    #[cfg(test)]
    pub(crate) fn prepared(&self) -> usize {
        self.free.lock().ready()
    }

    /// The frame, whose page the caller has just taken out of it.
    pub(crate) fn claimed(&self, frame: FrameId) -> ClaimedFrame<'_> {
        ClaimedFrame { frames: self, frame }
    }

    /// How many frames have committed memory, free or not.
    pub(crate) fn committed(&self) -> usize {
        let free = self.free.lock();
        free.unused.max(free.prepared) as usize - free.discarded.len()
    }

    /// How many free frames have committed memory.
    pub(crate) fn free_resident(&self) -> usize {
        let free = self.free.lock();
        free.resident.len() + free.ready()
    }

    /// Frames below this number may hold a page.
    pub(crate) fn used(&self) -> usize {
        self.free.lock().unused as usize
    }

    /// The numbers of all free frames that were used before.
    #[cfg(test)]
    pub(crate) fn free_numbers(&self) -> Vec<u32> {
        let free = self.free.lock();
        free.resident.iter().chain(&free.discarded).copied().collect()
    }
}
