//! Futures that wait for an LSN: their wakers, woken when it is durable or the log is poisoned.

use super::log::Wal;
use crate::error::Result;
use crate::types::Lsn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

/// The wakers registered, in no order.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    list: Vec<(WakerKey, Lsn, Waker)>,
    next: u64,
}

/// Names a registered waker, so that polling again replaces it and dropping the future takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakerKey(u64);

impl Wal {
    /// Polls for the durability of `lsn`, without doing any I/O: `Ready` with the durable LSN, or with the poison.
    /// Otherwise the context's waker is registered under `key` (in place of an earlier one) and woken when either comes.
    /// Someone must flush: see [`request_flush`](Wal::request_flush).
    pub fn poll_durable(&self, lsn: Lsn, key: &mut Option<WakerKey>, context: &Context<'_>) -> Poll<Result<Lsn>> {
        if let Some(done) = self.durable_or_poisoned(lsn) {
            self.forget_waker(key);
            return Poll::Ready(done);
        }
        // Foreign code, outside of the lock: so is the drop of the waker that this one replaces, which may be all that
        // keeps another future.
        let waker = context.waker().clone();
        let mut wakers = self.wakers.lock();
        // Again under the lock: a flush that published before it took the lock would not see this waker.
        if let Some(done) = self.durable_or_poisoned(lsn) {
            drop(wakers);
            self.forget_waker(key);
            return Poll::Ready(done);
        }
        let known = key.and_then(|key| wakers.list.iter_mut().find(|entry| entry.0 == key));
        let replaced = match known {
            Some(entry) => {
                entry.1 = lsn;
                Some(std::mem::replace(&mut entry.2, waker))
            }
            None => {
                let fresh = WakerKey(wakers.next);
                wakers.next += 1;
                wakers.list.push((fresh, lsn, waker));
                *key = Some(fresh);
                None
            }
        };
        drop(wakers);
        drop(replaced);
        Poll::Pending
    }

    /// Takes back a waker that is no longer wanted (its future was dropped).
    pub fn forget_waker(&self, key: &mut Option<WakerKey>) {
        let Some(gone) = key.take() else { return };
        let mut wakers = self.wakers.lock();
        let at = wakers.list.iter().position(|entry| entry.0 == gone);
        // Dropped outside of the lock: a waker is foreign code.
        let entry = at.map(|at| wakers.list.swap_remove(at));
        drop(wakers);
        drop(entry);
    }

    fn durable_or_poisoned(&self, lsn: Lsn) -> Option<Result<Lsn>> {
        let durable = self.durable_lsn();
        if durable >= lsn { Some(Ok(durable)) } else { self.poison.error().map(Err) }
    }

    /// Wakes whoever has what it waits for. Foreign code runs, outside of every lock.
    pub(crate) fn wake_ready(&self) {
        let mut wakers = self.wakers.lock();
        if wakers.list.is_empty() {
            return;
        }
        let durable = self.durable_lsn();
        let all = self.poison.is_set();
        let mut ready = Vec::new();
        let mut i = 0;
        while i < wakers.list.len() {
            if all || wakers.list[i].1 <= durable {
                ready.push(wakers.list.swap_remove(i).2);
            } else {
                i += 1;
            }
        }
        drop(wakers);
        for waker in ready {
            // One that panics is its owner's trouble: the others are woken, and the thread, perhaps the store's own, goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}
