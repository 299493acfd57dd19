//! temp
#![allow(missing_docs, unsafe_code, clippy::all)]
use crate::types::*;
use std::sync::atomic::*;
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swip(u64);
#[repr(transparent)]
pub struct AtomicSwip(AtomicU64);
impl Swip {
    pub fn from_bits(b: u64) -> Self {
        Swip(b)
    }
    pub fn to_bits(self) -> u64 {
        self.0
    }
    pub fn frame(self) -> FrameId {
        FrameId::new(self.0 as u32)
    }
    pub fn page(self) -> PageId {
        PageId::new((self.0 >> 24) & PageId::MAX.get())
    }
    pub fn class(self) -> SizeClass {
        SizeClass::new((self.0 >> 58 & 15) as u8).unwrap()
    }
    pub fn with_frame(p: PageId, c: SizeClass, f: FrameId) -> Self {
        Swip(f.get() as u64 | p.get() << 24 | (c.get() as u64) << 58)
    }
    pub fn evicted(p: PageId, c: SizeClass) -> Self {
        Self::with_frame(p, c, FrameId::NONE)
    }
    pub fn masked(self) -> Self {
        Self::evicted(self.page(), self.class())
    }
}
impl AtomicSwip {
    pub fn new(s: Swip) -> Self {
        AtomicSwip(AtomicU64::new(s.0))
    }
    pub fn load(&self) -> Swip {
        Swip(self.0.load(Ordering::Acquire))
    }
    pub fn repair(&self, e: Swip, f: FrameId) -> bool {
        self.0
            .compare_exchange(e.0, Swip::with_frame(e.page(), e.class(), f).0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
    pub unsafe fn from_ptr<'a>(p: *mut u64) -> &'a AtomicSwip {
        unsafe { &*p.cast() }
    }
}
