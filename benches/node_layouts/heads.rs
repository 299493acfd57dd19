//! Searches in the node as it is: its heads with and without hints, and other ways through them.

use crate::{Found, Layout};
use core::cmp::Ordering;
use pagebox::page::bytes::{OutOfBounds, PageReader, PageWords};
use pagebox::page::slotted::{Search, SlottedPage};
use std::hint::select_unpredictable;

/// Where things lie in a node: documented in `page::slotted`.
const HINTS: usize = 64;
const HINT_COUNT: usize = 16;
const SLOTS: usize = 128;

/// A node with a key to find in it.
pub struct Task<'a> {
    pub node: SlottedPage<'a>,
    pub slots: PageWords<'a>,
    pub count: usize,
    suffix: &'a [u8],
    pub head: u32,
}

fn head_of(suffix: &[u8]) -> u32 {
    if let Some(first) = suffix.first_chunk::<4>() {
        return u32::from_be_bytes(*first);
    }
    let mut bytes = [0u8; 4];
    bytes[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(bytes)
}

impl<'a> Task<'a> {
    #[inline(always)]
    pub fn new(node: &'a [u8], key: &'a [u8]) -> Result<Task<'a>, OutOfBounds> {
        let node = SlottedPage::open(PageReader::from_slice(node))?;
        let suffix = key.get(node.prefix_len()..).ok_or(OutOfBounds)?;
        let count = node.count();
        Ok(Task { node, slots: node.reader().words(SLOTS, count)?, count, suffix, head: head_of(suffix) })
    }

    #[inline(always)]
    pub fn head_at(&self, i: usize) -> u32 {
        self.slots.get(i) as u32
    }

    /// The slots that the hints leave.
    #[inline(always)]
    pub fn narrow(&self) -> Result<(usize, usize), OutOfBounds> {
        if self.count < 2 * HINT_COUNT {
            return Ok((0, self.count));
        }
        let (below, not_above) = self.node.reader().rank16(HINTS, self.head)?;
        let distance = self.count / (HINT_COUNT + 1);
        let low = if below == 0 { 0 } else { below * distance + 1 };
        let high = if not_above >= HINT_COUNT { self.count } else { (not_above + 1) * distance };
        Ok((low, high))
    }

    /// The key of a slot, whose head equals, against the one to find.
    #[inline(always)]
    fn rest(&self, word: u64) -> Result<Ordering, OutOfBounds> {
        let (at, n) = (usize::from((word >> 32) as u16) + 2, usize::from((word >> 48) as u16 & 0x3fff));
        if n <= 4 || self.suffix.len() <= 4 {
            return Ok(n.cmp(&self.suffix.len()));
        }
        self.node.reader().compare(at + 4, n - 4, &self.suffix[4..])
    }

    /// Whether slot `i` has the key: head and length first, they lie in the slot.
    #[inline(always)]
    pub fn is(&self, i: usize) -> Result<bool, OutOfBounds> {
        let word = self.slots.get(i);
        let n = usize::from((word >> 48) as u16 & 0x3fff);
        Ok(word as u32 == self.head && n == self.suffix.len() && self.rest(word)?.is_eq())
    }

    /// Three-way binary search between two slots.
    #[inline(always)]
    fn three_way(&self, mut low: usize, mut high: usize) -> Found {
        while low < high {
            let middle = (low + high) / 2;
            let word = self.slots.get(middle);
            match (word as u32).cmp(&self.head) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => match self.rest(word)? {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => return Ok(Some(middle)),
                },
            }
        }
        Ok(None)
    }

    /// The first of the slots between `low` and `high` whose head is not below `head`, without a branch on heads.
    #[inline(always)]
    fn lower_bound(&self, mut low: usize, high: usize, head: u32) -> usize {
        let mut n = high - low;
        while n > 1 {
            let half = n / 2;
            low = select_unpredictable(self.head_at(low + half - 1) < head, low + half, low);
            n -= half;
        }
        low + usize::from(n == 1 && self.head_at(low) < head)
    }

    /// Finds the key, given the first slot whose head is not below its.
    #[inline(always)]
    pub fn settle(&self, first: usize) -> Found {
        if first >= self.count || self.head_at(first) != self.head {
            return Ok(None);
        }
        match self.rest(self.slots.get(first))? {
            Ordering::Equal => Ok(Some(first)),
            Ordering::Greater => Ok(None),
            Ordering::Less => {
                let end = match self.head.checked_add(1) {
                    Some(above) => self.lower_bound(first + 1, self.count, above),
                    None => self.count,
                };
                self.three_way(first + 1, end)
            }
        }
    }
}

macro_rules! plain {
    ($(#[$doc:meta])* $name:ident, $text:literal, $find:expr) => {
        $(#[$doc])*
        pub struct $name;

        impl Layout for $name {
            const NAME: &'static str = $text;
            const STORE: &'static str = "plain";

            #[inline(never)]
            fn find(page: &[u8], _aux: usize, key: &[u8]) -> Found {
                $find(page, key)
            }
        }
    };
}

plain!(
    /// The crate's own search.
    Node, "node", |page, key| {
        let node = SlottedPage::open(PageReader::from_slice(page))?;
        Ok(match node.search(key)? {
            Search::Found(i) => Some(i),
            Search::Insert(_) => None,
        })
    }
);

plain!(
    /// The same without its hints.
    NoHints, "no hints", |page, key| {
        let task = Task::new(page, key)?;
        task.three_way(0, task.count)
    }
);

plain!(
    /// A branchless lower bound over all heads.
    LowerBound, "lower bound", |page, key| {
        let task = Task::new(page, key)?;
        task.settle(task.lower_bound(0, task.count, task.head))
    }
);

plain!(
    /// Hints, then a branchless lower bound.
    HintsLowerBound, "hints + lower bound", |page, key| {
        let task = Task::new(page, key)?;
        let (low, high) = task.narrow()?;
        task.settle(task.lower_bound(low, high, task.head))
    }
);

plain!(
    /// Binary search over the keys themselves; the prefix is cut off all the same.
    FullKeys, "full keys", |page, key| {
        let task = Task::new(page, key)?;
        let (mut low, mut high) = (0, task.count);
        while low < high {
            let middle = (low + high) / 2;
            let word = task.slots.get(middle);
            let (at, n) = (usize::from((word >> 32) as u16) + 2, usize::from((word >> 48) as u16 & 0x3fff));
            match task.node.reader().compare(at, n, task.suffix)? {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }
);

plain!(
    /// Hints, then all heads that they leave compared four at a time, in the slots where they are.
    HintsVector, "hints + vector", |page, key| {
        let task = Task::new(page, key)?;
        let (low, high) = task.narrow()?;
        task.settle(low + crate::vector::slots_below(page, SLOTS + low * 8, high - low, task.head))
    }
);

plain!(
    /// One guess by interpolation, steps that double from there, then a branchless lower bound.
    Interpolation, "interpolation", |page, key| {
        let task = Task::new(page, key)?;
        if task.count == 0 {
            return Ok(None);
        }
        let last = task.count - 1;
        let (least, most) = (task.head_at(0), task.head_at(last));
        if task.head <= least || most < task.head {
            return if task.head < least { Ok(None) } else { task.settle(task.lower_bound(0, task.count, task.head)) };
        }
        let share = (task.head - least) as f32 / (most - least) as f32;
        let guess = ((share * last as f32) as usize).min(last);
        let (mut low, mut high, mut step) = (0, task.count, 2);
        if task.head_at(guess) < task.head {
            low = guess + 1;
            while low + step < task.count && task.head_at(low + step) < task.head {
                low += step + 1;
                step *= 2;
            }
            high = high.min(low + step);
        } else {
            high = guess;
            while high > step && task.head_at(high - step) >= task.head {
                high -= step;
                step *= 2;
            }
            low = low.max(high.saturating_sub(step));
        }
        task.settle(task.lower_bound(low, high, task.head))
    }
);
