//! temp
#![allow(missing_docs, unsafe_code, clippy::all)]
use parking_lot::*;
use std::sync::atomic::*;
#[derive(Debug, Clone, Copy)]
pub struct Restart;
pub struct HybridLatch {
    v: AtomicU64,
    l: parking_lot::RwLock<()>,
}
#[derive(Clone, Copy)]
pub struct OptimisticGuard<'a> {
    l: &'a HybridLatch,
    v: u64,
}
pub struct SharedGuard<'a> {
    _l: RwLockReadGuard<'a, ()>,
    v: u64,
}
pub struct ExclusiveGuard<'a> {
    l: &'a HybridLatch,
    _g: RwLockWriteGuard<'a, ()>,
}
impl HybridLatch {
    pub fn new() -> Self {
        HybridLatch { v: AtomicU64::new(0), l: RwLock::new(()) }
    }
    pub fn version(&self) -> u64 {
        self.v.load(Ordering::Relaxed)
    }
    pub fn optimistic(&self) -> OptimisticGuard<'_> {
        loop {
            let v = self.v.load(Ordering::Acquire);
            if v % 2 == 0 {
                return OptimisticGuard { l: self, v };
            }
            drop(self.shared());
        }
    }
    pub fn shared(&self) -> SharedGuard<'_> {
        let g = self.l.read();
        SharedGuard { _l: g, v: self.version() }
    }
    pub fn try_shared(&self) -> Option<SharedGuard<'_>> {
        self.l.try_read().map(|g| SharedGuard { _l: g, v: self.version() })
    }
    fn ex<'a>(&'a self, g: RwLockWriteGuard<'a, ()>) -> ExclusiveGuard<'a> {
        let v = self.version();
        self.v.store(v + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        ExclusiveGuard { l: self, _g: g }
    }
    pub fn exclusive(&self) -> ExclusiveGuard<'_> {
        let g = self.l.write();
        self.ex(g)
    }
    pub fn try_exclusive(&self) -> Option<ExclusiveGuard<'_>> {
        self.l.try_write().map(|g| self.ex(g))
    }
}
impl<'a> OptimisticGuard<'a> {
    pub fn validate(&self) -> Result<(), Restart> {
        fence(Ordering::Acquire);
        if self.l.version() == self.v { Ok(()) } else { Err(Restart) }
    }
    pub fn try_upgrade(self) -> Result<ExclusiveGuard<'a>, Restart> {
        let Some(g) = self.l.l.try_write() else { return Err(Restart) };
        if self.l.version() != self.v {
            return Err(Restart);
        }
        Ok(self.l.ex(g))
    }
    pub fn try_upgrade_shared(self) -> Result<SharedGuard<'a>, Restart> {
        let g = self.l.try_shared().ok_or(Restart)?;
        if g.v != self.v {
            return Err(Restart);
        }
        Ok(g)
    }
}
impl SharedGuard<'_> {
    pub fn version(&self) -> u64 {
        self.v
    }
}
impl Drop for ExclusiveGuard<'_> {
    fn drop(&mut self) {
        let v = self.l.version();
        self.l.v.store(v + 1, Ordering::Release);
    }
}
