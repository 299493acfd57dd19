//! Atomics under shuttle: std's, in memory and size what they are in a build (they lie in pages and in frame headers of one
//! cache line), with a point before each access where the checker may let another thread go on. Shuttle's threads take turns
//! on one thread of the system, so every order it can show is sequentially consistent; weaker ones are loom's business.

use super::point;
use std::sync::atomic as real;
use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $ty:ty) => {
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub(crate) struct $name(real::$name);

        impl $name {
            pub(crate) const fn new(value: $ty) -> $name {
                $name(real::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $ty {
                point();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $ty, order: Ordering) {
                point();
                self.0.store(value, order);
            }

            pub(crate) fn swap(&self, value: $ty, order: Ordering) -> $ty {
                point();
                self.0.swap(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                seen: $ty,
                new: $ty,
                set: Ordering,
                get: Ordering,
            ) -> Result<$ty, $ty> {
                point();
                self.0.compare_exchange(seen, new, set, get)
            }

            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                get: Ordering,
                f: impl FnMut($ty) -> Option<$ty>,
            ) -> Result<$ty, $ty> {
                point();
                self.0.fetch_update(set, get, f)
            }

            pub(crate) fn fetch_or(&self, value: $ty, order: Ordering) -> $ty {
                point();
                self.0.fetch_or(value, order)
            }

            pub(crate) fn fetch_and(&self, value: $ty, order: Ordering) -> $ty {
                point();
                self.0.fetch_and(value, order)
            }
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $ty:ty) => {
        atomic!($name, $ty);

        impl $name {
            pub(crate) fn fetch_add(&self, value: $ty, order: Ordering) -> $ty {
                point();
                self.0.fetch_add(value, order)
            }

            pub(crate) fn fetch_sub(&self, value: $ty, order: Ordering) -> $ty {
                point();
                self.0.fetch_sub(value, order)
            }

            pub(crate) fn fetch_max(&self, value: $ty, order: Ordering) -> $ty {
                point();
                self.0.fetch_max(value, order)
            }
        }
    };
}

atomic!(AtomicBool, bool);
arithmetic!(AtomicU8, u8);
arithmetic!(AtomicU16, u16);
arithmetic!(AtomicU32, u32);
arithmetic!(AtomicU64, u64);
arithmetic!(AtomicUsize, usize);

impl AtomicU64 {
    /// As std's.
    ///
    /// # Safety
    /// As std's.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn from_ptr<'a>(word: *mut u64) -> &'a AtomicU64 {
        // SAFETY: transparent over std's atomic, whose layout is that of the word (U1); the rest is the caller's promise.
        unsafe { &*word.cast::<AtomicU64>() }
    }
}

/// Nothing to do where all is sequentially consistent.
pub(crate) fn fence(_order: Ordering) {
    point();
}
