//! The full check of one node: what `check()` runs on every page of a tree.

use super::*;
use crate::page::header::PageHeader;
use crate::types::PageKind;

impl SlottedPage<'_> {
    /// Checks everything a node promises: header, fences as expected (B2), prefix, heads, hints, order, entries inside of
    /// the heap and apart from each other, the count of dead bytes. Allocates; meant for pages under a latch.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn verify(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<(), String> {
        let out = |_: OutOfBounds| "an offset leads outside of the page".to_string();
        let head = PageHeader::read(self.page).map_err(out)?;
        if head.kind != PageKind::BTREE {
            return Err(format!("page kind {} where a node should be", head.kind.get()));
        }
        let references = if self.is_leaf() { (0, 0) } else { (self.references_at(), self.count() + 1) };
        if (head.swip_offset, head.swip_count) != references {
            return Err(format!("references declared at {} ({})", head.swip_offset, head.swip_count));
        }
        self.verify_fences(lower, upper)?;
        self.verify_heap()?;
        self.verify_keys(lower, upper)?;
        self.verify_hints().map_err(out)?
    }

    fn verify_fences(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<(), String> {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        self.lower_fence(&mut low).map_err(|_| "lower fence outside of the page")?;
        let bounded = self.upper_fence(&mut high).map_err(|_| "upper fence outside of the page")?;
        if low != lower || bounded.then_some(high.as_slice()) != upper {
            return Err("fences are not what the parent's separators say".into());
        }
        if self.page.u64(FENCE_HEADS) != Ok(fence_heads(lower, upper)) {
            return Err("the heads of the fences are not theirs".into());
        }
        let prefix = upper.map_or(0, |upper| common_prefix(lower, upper));
        if self.prefix_len() != prefix {
            return Err(format!("prefix of {} bytes, fences share {prefix}", self.prefix_len()));
        }
        Ok(())
    }

    fn verify_heap(&self) -> Result<(), String> {
        let out = |_: OutOfBounds| "an entry outside of the page".to_string();
        let (start, dead) = self.heap().map_err(|_| "heap start or dead bytes out of range")?;
        let mut ranges = vec![self.lower_range().map_err(out)?];
        ranges.extend(self.upper_range().map_err(out)?);
        for i in 0..self.count() {
            ranges.push((self.slot(i).map_err(out)?.offset, self.entry_bytes(i).map_err(out)?));
        }
        ranges.retain(|&(_, n)| n > 0);
        ranges.sort_unstable();
        let mut end = start;
        let mut live = 0;
        for (at, n) in ranges {
            if at < end || at + n > self.page.len() {
                return Err(format!("entry at {at} overlaps another or lies outside of the heap"));
            }
            end = at + n;
            live += n;
        }
        if live + dead != self.page.len() - start {
            return Err(format!("{dead} dead bytes counted, {} are", self.page.len() - start - live));
        }
        Ok(())
    }

    fn verify_keys(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<(), String> {
        let out = |_: OutOfBounds| "a key outside of the page".to_string();
        let (mut last, mut key): (Option<Vec<u8>>, Vec<u8>) = (None, Vec::new());
        for i in 0..self.count() {
            key.clear();
            self.key(i, &mut key).map_err(out)?;
            let slot = self.slot(i).map_err(out)?;
            if slot.head != head_of(&key[self.prefix_len().min(key.len())..]) {
                return Err(format!("head of slot {i} is not its key's"));
            }
            let above = match &last {
                Some(last) => &key > last,
                None => key.as_slice() > lower || self.is_leaf() && key == lower,
            };
            if !above || upper.is_some_and(|upper| key.as_slice() >= upper) {
                return Err(format!("key of slot {i} out of order or beyond a fence"));
            }
            std::mem::swap(last.get_or_insert_default(), &mut key);
        }
        Ok(())
    }

    fn verify_hints(&self) -> Result<Result<(), String>, OutOfBounds> {
        if self.count() < HINT_MIN {
            return Ok(Ok(()));
        }
        let distance = self.count() / (HINT_COUNT + 1);
        for i in 0..HINT_COUNT {
            if self.page.u32(HINTS + i * 4)? != self.slot((i + 1) * distance)?.head {
                return Ok(Err(format!("hint {i} is not the head of its slot")));
            }
        }
        Ok(Ok(()))
    }
}
