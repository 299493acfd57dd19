//! The bare memory: all records in one array, found by their number. What a walk over it reaches is the bandwidth that
//! this machine gives one thread; what a read reaches, its latency.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use crate::data::Keys;
use std::sync::OnceLock;

pub struct Array {
    records: OnceLock<Vec<u8>>,
    keys: Keys,
    value_len: usize,
}

const READ_ONLY: &str = "an array that is only read";

/// The form of keys of that length.
pub(super) fn keys_of(len: usize) -> Keys {
    if len == 8 { Keys::Dense8 } else { Keys::Random24 }
}

pub fn open(setup: &Setup) -> Result<Array> {
    if setup.direct {
        return Fail::unsupported("in memory");
    }
    Ok(Array { records: OnceLock::new(), keys: keys_of(setup.longest.0), value_len: setup.longest.1 })
}

impl Array {
    fn record_len(&self) -> usize {
        self.keys.len() + self.value_len
    }
    fn records(&self) -> Result<&[u8]> {
        self.records.get().map(Vec::as_slice).ok_or_else(|| Fail::Unsupported(READ_ONLY.into()))
    }
}

impl Engine for Array {
    fn settings(&self) -> String {
        "one array of all records, in the order of their numbers; found by number".into()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        self.records()?;
        Ok(Box::new(Thread(self)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        let len = self.record_len();
        let mut records: Vec<u8> = Vec::new();
        while let Some((key, value)) = items.next() {
            let Some(id) = self.keys.id(key) else { return Fail::unsupported("keys without a number") };
            let at = usize::try_from(id)? * len;
            if records.len() < at + len {
                records.resize(at + len, 0);
            }
            records[at..at + key.len()].copy_from_slice(key);
            records[at + key.len()..at + len].copy_from_slice(value);
        }
        self.records.set(records).map_err(|_| Fail::Unsupported(READ_ONLY.into()))
    }
    fn len(&self) -> Result<u64> {
        Ok((self.records()?.len() / self.record_len()) as u64)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Thread<'a>(&'a Array);

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        View::get(self, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Thread(self.0)))
    }
    fn write(&mut self, _ops: &[Op<'_>], _commit: Commit) -> Result<()> {
        Fail::unsupported(READ_ONLY)
    }
    fn update(&mut self, _: &[u8], _: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, _: Commit) -> Result<()> {
        Fail::unsupported(READ_ONLY)
    }
    fn pop_first(&mut self, _commit: Commit, _taken: Each<'_>) -> Result<bool> {
        Fail::unsupported(READ_ONLY)
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let len = self.0.record_len();
        let id = self.0.keys.id(key).and_then(|id| usize::try_from(id).ok());
        let record = id.and_then(|id| self.0.records.get()?.get(id * len..)?.get(..len));
        Ok(record.map(|record| found(&record[self.0.keys.len()..])).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        if !from.is_empty() {
            return Fail::unsupported("an array by number has no order of keys");
        }
        let mut seen = 0;
        for record in self.0.records()?.chunks_exact(self.0.record_len()) {
            if seen == limit {
                break;
            }
            let (key, value) = record.split_at(self.0.keys.len());
            each(key, value);
            seen += 1;
        }
        Ok(seen)
    }
}
