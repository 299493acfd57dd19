//! The ordered map of the standard library behind parking_lot's read-write lock: what one would write first.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use parking_lot::{RwLock, RwLockReadGuard};
use std::collections::BTreeMap;
use std::ops::Bound;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

pub struct Locked(RwLock<Map>);

/// What a structure in memory answers to a durable commit.
pub(super) const IN_MEMORY: &str = "in memory: nothing is durable";

pub fn open(setup: &Setup) -> Result<Locked> {
    if setup.direct {
        return Fail::unsupported(IN_MEMORY);
    }
    Ok(Locked(RwLock::new(Map::new())))
}

impl Engine for Locked {
    fn settings(&self) -> String {
        "parking_lot::RwLock<BTreeMap<Vec<u8>, Vec<u8>>>; system allocator; nothing durable".into()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(self)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        let mut map = self.0.write();
        while let Some((key, value)) = items.next() {
            map.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }
    fn len(&self) -> Result<u64> {
        Ok(self.0.read().len() as u64)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Thread<'a>(&'a Locked);

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.0.read().get(key).map(|value| found(value)).is_some())
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Reader(self.0.0.read())))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        if commit == Commit::Durable {
            return Fail::unsupported(IN_MEMORY);
        }
        let mut map = self.0.0.write();
        for op in ops {
            match *op {
                Op::Put(key, value) => drop(map.insert(key.to_vec(), value.to_vec())),
                Op::Del(key) => drop(map.remove(key)),
            }
        }
        Ok(())
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        if commit == Commit::Durable {
            return Fail::unsupported(IN_MEMORY);
        }
        let mut map = self.0.0.write();
        match map.get_mut(key) {
            Some(value) => *value = change(Some(value)),
            None => drop(map.insert(key.to_vec(), change(None))),
        }
        Ok(())
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        if commit == Commit::Durable {
            return Fail::unsupported(IN_MEMORY);
        }
        Ok(self.0.0.write().pop_first().map(|(key, value)| taken(&key, &value)).is_some())
    }
}

/// Holds the lock shared, as a snapshot would.
struct Reader<'a>(RwLockReadGuard<'a, Map>);

impl View for Reader<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key).map(|value| found(value)).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        for (key, value) in self.0.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if seen == limit {
                break;
            }
            each(key, value);
            seen += 1;
        }
        Ok(seen)
    }
}
