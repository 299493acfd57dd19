//! crossbeam's lock-free skip list.

use super::btreemap::IN_MEMORY;
use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use crossbeam_skiplist::SkipMap;
use std::ops::Bound;

pub struct List(SkipMap<Vec<u8>, Vec<u8>>);

pub fn open(setup: &Setup) -> Result<List> {
    if setup.direct {
        return Fail::unsupported(IN_MEMORY);
    }
    Ok(List(SkipMap::new()))
}

impl Engine for List {
    fn settings(&self) -> String {
        "crossbeam_skiplist::SkipMap<Vec<u8>, Vec<u8>>; system allocator; nothing durable".into()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(&self.0)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        while let Some((key, value)) = items.next() {
            self.0.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }
    fn len(&self) -> Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Thread<'a>(&'a SkipMap<Vec<u8>, Vec<u8>>);

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        View::get(self, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Thread(self.0)))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        if commit == Commit::Durable {
            return Fail::unsupported(IN_MEMORY);
        }
        for op in ops {
            match *op {
                Op::Put(key, value) => drop(self.0.insert(key.to_vec(), value.to_vec())),
                Op::Del(key) => drop(self.0.remove(key)),
            }
        }
        Ok(())
    }
    fn update(&mut self, _: &[u8], _: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, _: Commit) -> Result<()> {
        Fail::unsupported("no reading and writing as one step")
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        if commit == Commit::Durable {
            return Fail::unsupported(IN_MEMORY);
        }
        Ok(self.0.pop_front().map(|entry| taken(entry.key(), entry.value())).is_some())
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key).map(|entry| found(entry.value())).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        let mut at = self.0.lower_bound(Bound::Included(from));
        while seen < limit {
            let Some(entry) = at else { break };
            each(entry.key(), entry.value());
            seen += 1;
            at = entry.next();
        }
        Ok(seen)
    }
}
