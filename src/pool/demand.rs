//! How work is asked of a thread that does it in the background, if there is one.

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use std::time::Duration;

/// One kind of work, and the thread that waits for it.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    asked: Mutex<bool>,
    wake: Condvar,
    served: AtomicBool,
}

impl Demand {
    /// Asks for the work, where somebody does it.
    pub(super) fn ask(&self) {
        // Relaxed: whether to notify at all is advice; the timeout of who waits covers a lost one.
        if self.served.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Whether somebody does it.
    pub(super) fn is_served(&self) -> bool {
        // Relaxed: see `ask`.
        self.served.load(Ordering::Relaxed)
    }

    /// Wakes the thread that waits, also for nothing but to see that it is to end.
    #[cold]
    pub(super) fn wake(&self) {
        *self.asked.lock() = true;
        self.wake.notify_one();
    }

    /// For that thread: waits until the work is asked for or `timeout` has passed.
    pub(super) fn wait(&self, timeout: Duration) {
        // Relaxed: see `ask`.
        self.served.store(true, Ordering::Relaxed);
        let mut asked = self.asked.lock();
        if !*asked {
            self.wake.wait_for(&mut asked, timeout);
        }
        *asked = false;
    }
}
