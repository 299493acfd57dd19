//! Runs of page ids, and sets of them that coalesce.

use crate::types::PageId;
use std::collections::BTreeMap;

/// A run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// The first page.
    pub start: PageId,
    /// How many class 0 pages long it is.
    pub units: u64,
}

impl Extent {
    /// `units` pages from `start` on.
    #[must_use]
    pub fn new(start: PageId, units: u64) -> Extent {
        Extent { start, units }
    }

    /// The first page behind it.
    #[must_use]
    pub fn end(&self) -> PageId {
        PageId::new(self.start.get().saturating_add(self.units))
    }
}

/// Disjoint extents; neighbours are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExtentSet {
    by_start: BTreeMap<u64, u64>,
}

impl ExtentSet {
    /// Adds an extent; false, and nothing changed, if any of it is there already.
    pub(super) fn insert(&mut self, extent: Extent) -> bool {
        let (mut start, mut units) = (extent.start.get(), extent.units);
        if units == 0 {
            return true;
        }
        let Some(end) = start.checked_add(units) else { return false };
        let before = self.by_start.range(..end).next_back().map(|(&s, &n)| (s, n));
        if let Some((s, n)) = before
            && s + n > start
        {
            return false;
        }
        if let Some((s, n)) = before
            && s + n == start
        {
            self.by_start.remove(&s);
            start = s;
            units += n;
        }
        if let Some(n) = self.by_start.remove(&end) {
            units += n;
        }
        self.by_start.insert(start, units);
        true
    }

    /// Removes an extent; false, and nothing changed, unless all of it is there.
    pub(super) fn remove(&mut self, extent: Extent) -> bool {
        if extent.units == 0 {
            return true;
        }
        let (start, end) = (extent.start.get(), extent.end().get());
        let Some((s, n)) = self.by_start.range(..=start).next_back().map(|(&s, &n)| (s, n)) else { return false };
        if s + n < end {
            return false;
        }
        self.by_start.remove(&s);
        if s < start {
            self.by_start.insert(s, start - s);
        }
        if end < s + n {
            self.by_start.insert(end, s + n - end);
        }
        true
    }

    /// Removes whatever part of an extent is there.
    pub(super) fn remove_overlap(&mut self, extent: Extent) {
        let (start, end) = (extent.start.get(), extent.end().get());
        let touched: Vec<(u64, u64)> =
            self.by_start.range(..end).rev().map(|(&s, &n)| (s, n)).take_while(|&(s, n)| s + n > start).collect();
        for (s, n) in touched {
            let (from, to) = (s.max(start), (s + n).min(end));
            self.remove(Extent::new(PageId::new(from), to - from));
        }
    }

    /// Takes `units` pages from the lowest place that has them.
    pub(super) fn take(&mut self, units: u64) -> Option<Extent> {
        let start = self.by_start.iter().find(|&(_, &n)| n >= units).map(|(&s, _)| s)?;
        let extent = Extent::new(PageId::new(start), units);
        self.remove(extent);
        Some(extent)
    }

    /// How many pages there are right in front of `end`.
    pub(super) fn ending_at(&self, end: PageId) -> u64 {
        match self.by_start.range(..end.get()).next_back() {
            Some((&s, &n)) if s + n == end.get() => n,
            _ => 0,
        }
    }

    /// The length of the longest extent; 0 if there is none.
    pub(super) fn longest(&self) -> u64 {
        self.by_start.values().copied().max().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        self.by_start.iter().map(|(&s, &n)| Extent::new(PageId::new(s), n))
    }

    pub(super) fn units(&self) -> u64 {
        self.by_start.values().sum()
    }

    /// How many pages of an extent are there.
    pub(super) fn overlap(&self, extent: Extent) -> u64 {
        let (start, end) = (extent.start.get(), extent.end().get());
        let touched = self.by_start.range(..end).rev().map(|(&s, &n)| (s, s + n)).take_while(|&(_, e)| e > start);
        touched.map(|(s, e)| e.min(end) - s.max(start)).sum()
    }
}
