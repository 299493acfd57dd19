//! scc's `TreeIndex`: a concurrent B+ tree whose readers take no lock.

use super::btreemap::IN_MEMORY;
use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use scc::{Guard, TreeIndex};
use std::ops::Bound;

type Tree = TreeIndex<Vec<u8>, Vec<u8>>;

pub struct Index(Tree);

pub fn open(setup: &Setup) -> Result<Index> {
    if setup.direct {
        return Fail::unsupported(IN_MEMORY);
    }
    Ok(Index(Tree::new()))
}

impl Engine for Index {
    fn settings(&self) -> String {
        "scc::TreeIndex<Vec<u8>, Vec<u8>>; system allocator; nothing durable".into()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(&self.0)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        while let Some((key, value)) = items.next() {
            self.0.upsert_sync(key.to_vec(), value.to_vec());
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

struct Thread<'a>(&'a Tree);

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
                Op::Put(key, value) => self.0.upsert_sync(key.to_vec(), value.to_vec()),
                Op::Del(key) => drop(self.0.remove_sync(key)),
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
        let guard = Guard::new();
        while let Some((key, value)) = self.0.iter(&guard).next() {
            if self.0.remove_sync(key) {
                taken(key, value);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.peek_with(key, |_, value| found(value)).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let guard = Guard::new();
        let mut seen = 0;
        let mut take = |records: &mut dyn Iterator<Item = (&Vec<u8>, &Vec<u8>)>| {
            while seen < limit {
                let Some((key, value)) = records.next() else { break };
                each(key, value);
                seen += 1;
            }
        };
        if from.is_empty() {
            take(&mut self.0.iter(&guard));
        } else {
            take(&mut self.0.range::<[u8], _>((Bound::Included(from), Bound::Unbounded), &guard));
        }
        Ok(seen)
    }
}
