//! Who is at work in the store, so that closing it can wait for them.
//!
//! Writers, and whoever does I/O of the store's own, count themselves in striped slots: one increment and one decrement of
//! a line that a thread mostly has to itself. Reads do not count: they look at a flag before and after, and answer
//! `Closed` if it was set meanwhile; what they touch stays mapped as long as they hold a handle.
//!
//! Callbacks are noted per thread: closing from inside of one is refused, since the call that runs it cannot end before
//! the callback does.

use crate::error::{Error, Result};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::telemetry::{STRIPES, stripe};
use crossbeam_utils::CachePadded;
use std::cell::RefCell;
use std::time::Duration;

/// The count of running calls and the flag that ends them.
#[derive(Debug)]
pub(crate) struct Running {
    closed: AtomicBool,
    slots: [CachePadded<AtomicU64>; STRIPES],
    left: Mutex<()>,
    leaving: Condvar,
}

/// One running call.
#[must_use = "the call counts until this is dropped"]
pub(crate) struct Call<'a> {
    running: &'a Running,
    slot: usize,
}

impl Running {
    pub(crate) fn new() -> Running {
        Running {
            closed: AtomicBool::new(false),
            slots: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
            left: Mutex::new(()),
            leaving: Condvar::new(),
        }
    }

    /// Counts a call in.
    ///
    /// # Errors
    /// `Closed`.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Call<'_>> {
        let slot = stripe();
        // SeqCst, with the load below, against the SeqCst store and loads of `close`: either this call is counted there,
        // or it sees the flag here.
        self.slots[slot].fetch_add(1, Ordering::SeqCst);
        let call = Call { running: self, slot };
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(call) }
    }

    /// What a read does, before and after.
    ///
    /// # Errors
    /// `Closed`.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        // Acquire: pairs with the store in `close`; what a read saw before this load, it saw before the closing ended.
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Sets the flag and waits for all who are counted in. False if somebody else did so before.
    pub(crate) fn close(&self) -> bool {
        // SeqCst: see `enter`.
        if self.closed.swap(true, Ordering::SeqCst) {
            return false;
        }
        let mut left = self.left.lock();
        while self.slots.iter().any(|slot| slot.load(Ordering::SeqCst) != 0) {
            // The timeout covers a leaver that saw the flag too early to tell.
            self.leaving.wait_for(&mut left, Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Call<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release is part of SeqCst: what the call did lies before what `close` does next.
        self.running.slots[self.slot].fetch_sub(1, Ordering::SeqCst);
        // Relaxed: advice; the timeout in `close` covers the rest.
        if self.running.closed.load(Ordering::Relaxed) {
            self.running.tell();
        }
    }
}

impl Running {
    #[cold]
    fn tell(&self) {
        drop(self.left.lock());
        self.leaving.notify_all();
    }
}

thread_local! {
    /// The stores whose callbacks run on this thread, innermost last.
    static CALLBACKS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, a callback of the store `id` runs on this thread.
pub(crate) struct InCallback(());

impl InCallback {
    #[inline]
    pub(crate) fn of(id: usize) -> InCallback {
        // A thread that is ending has none any more: it waits for itself if it closes the store in there.
        let _ = CALLBACKS.try_with(|stack| stack.borrow_mut().push(id));
        InCallback(())
    }
}

impl Drop for InCallback {
    fn drop(&mut self) {
        let _ = CALLBACKS.try_with(|stack| stack.borrow_mut().pop());
    }
}

/// Whether a callback of the store `id` runs on this thread.
pub(crate) fn in_callback_of(id: usize) -> bool {
    CALLBACKS.try_with(|stack| stack.borrow().contains(&id)).unwrap_or(false)
}
