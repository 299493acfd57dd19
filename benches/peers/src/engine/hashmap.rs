//! The hash map of the standard library, built once and then only read, without a lock: a floor for point reads.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use std::collections::HashMap;
use std::sync::OnceLock;

type Map = HashMap<Vec<u8>, Vec<u8>>;

pub struct Frozen(OnceLock<Map>);

const READ_ONLY: &str = "a read-only yardstick";
const UNORDERED: &str = "a hash map has no order";

pub fn open(setup: &Setup) -> Result<Frozen> {
    if setup.direct {
        return Fail::unsupported("in memory");
    }
    Ok(Frozen(OnceLock::new()))
}

impl Frozen {
    fn map(&self) -> Result<&Map> {
        self.0.get().ok_or_else(|| Fail::Unsupported(READ_ONLY.into()))
    }
}

impl Engine for Frozen {
    fn settings(&self) -> String {
        "std::collections::HashMap<Vec<u8>, Vec<u8>>, default hasher, no lock, read-only; system allocator".into()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(self.map()?)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        let mut map = Map::new();
        while let Some((key, value)) = items.next() {
            map.insert(key.to_vec(), value.to_vec());
        }
        self.0.set(map).map_err(|_| Fail::Unsupported(READ_ONLY.into()))
    }
    fn len(&self) -> Result<u64> {
        Ok(self.map()?.len() as u64)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Thread<'a>(&'a Map);

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
        Ok(self.0.get(key).map(|value| found(value)).is_some())
    }
    fn walk(&mut self, _from: &[u8], _limit: u64, _how: Walk, _each: Each<'_>) -> Result<u64> {
        Fail::unsupported(UNORDERED)
    }
}
