//! Ranges of keys as arguments.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The two ends of a range, owned.
pub type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

mod sealed {
    pub trait Sealed {
        /// The two ends, copied.
        fn bounds(self) -> super::Bounds;
    }
}
pub(crate) use sealed::Sealed;

/// A range of keys: `a..b`, `a..=b`, `a..`, `..b`, `..=b`, `..`, or a pair of [`Bound`]s, of anything that is bytes.
///
/// Keys are ordered as byte strings. A range whose end lies before its start is empty. Sealed: no other types.
pub trait KeyRange: Sealed {}

fn own<K: AsRef<[u8]>>(key: K) -> Vec<u8> {
    key.as_ref().to_vec()
}

fn own_bound<K: AsRef<[u8]>>(bound: Bound<K>) -> Bound<Vec<u8>> {
    match bound {
        Bound::Included(key) => Bound::Included(own(key)),
        Bound::Excluded(key) => Bound::Excluded(own(key)),
        Bound::Unbounded => Bound::Unbounded,
    }
}

macro_rules! key_range {
    ($ty:ident<K>, $r:ident => $low:expr, $high:expr) => {
        impl<K: AsRef<[u8]>> KeyRange for $ty<K> {}
        impl<K: AsRef<[u8]>> Sealed for $ty<K> {
            fn bounds(self) -> Bounds {
                let $r = self;
                ($low, $high)
            }
        }
    };
}

key_range!(Range<K>, r => Bound::Included(own(r.start)), Bound::Excluded(own(r.end)));
key_range!(RangeFrom<K>, r => Bound::Included(own(r.start)), Bound::Unbounded);
key_range!(RangeTo<K>, r => Bound::Unbounded, Bound::Excluded(own(r.end)));
key_range!(RangeToInclusive<K>, r => Bound::Unbounded, Bound::Included(own(r.end)));
key_range!(RangeInclusive<K>, r => Bound::Included(own(r.start())), Bound::Included(own(r.end())));

impl KeyRange for RangeFull {}
impl Sealed for RangeFull {
    fn bounds(self) -> Bounds {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

impl<K: AsRef<[u8]>> KeyRange for (Bound<K>, Bound<K>) {}
impl<K: AsRef<[u8]>> Sealed for (Bound<K>, Bound<K>) {
    fn bounds(self) -> Bounds {
        (own_bound(self.0), own_bound(self.1))
    }
}

/// The keys that begin with `prefix`: up to the shortest key greater than all of them, if there is one.
pub(crate) fn prefix_bounds(prefix: &[u8]) -> Bounds {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}

/// The same range as a half-open one: from the first key on, and up to the first key beyond (`None`: no end). Exact,
/// because the key right after `k` is `k` with a zero byte appended. `None` if the range is empty.
pub(crate) fn half_open(bounds: Bounds) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let after = |mut key: Vec<u8>| {
        key.push(0);
        key
    };
    let low = match bounds.0 {
        Bound::Included(key) => key,
        Bound::Excluded(key) => after(key),
        Bound::Unbounded => Vec::new(),
    };
    let high = match bounds.1 {
        Bound::Included(key) => Some(after(key)),
        Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    };
    match high {
        Some(high) if high <= low => None,
        high => Some((low, high)),
    }
}
