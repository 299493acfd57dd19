//! Named background threads that can be told to stop.

use crate::error::{Error, Result};
use crate::sync::thread::{Builder, JoinHandle, ThreadId, current};
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};
use std::time::{Duration, Instant};

/// Tells background threads to stop, and lets them sleep until then or until they are woken.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    stopped: AtomicBool,
    woken: Mutex<bool>,
    wake: Condvar,
}

impl StopSignal {
    pub(crate) fn is_stopped(&self) -> bool {
        // Acquire: pairs with the Release in `stop`.
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells everybody to stop.
    pub(crate) fn stop(&self) {
        // Release: pairs with the Acquire in `is_stopped`.
        self.stopped.store(true, Ordering::Release);
        *self.woken.lock() = true;
        self.wake.notify_all();
    }

    /// Ends one sleep, present or next.
    pub(crate) fn wake(&self) {
        *self.woken.lock() = true;
        // All: one of them may only be waiting for the end.
        self.wake.notify_all();
    }

    /// Sleeps until stopped, whatever wakes it before.
    pub(crate) fn sleep_until_stopped(&self) {
        let mut woken = self.woken.lock();
        while !self.is_stopped() {
            self.wake.wait(&mut woken);
        }
    }

    /// Sleeps until stopped, `timeout` has passed, or somebody is woken, who then finds that he is.
    pub(crate) fn rest(&self, timeout: Duration) {
        let mut woken = self.woken.lock();
        if !self.is_stopped() {
            self.wake.wait_for(&mut woken, timeout);
        }
    }

    /// Sleeps for `time` or until stopped, whoever is woken.
    pub(crate) fn rest_for(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut woken = self.woken.lock();
        while !self.is_stopped() && !self.wake.wait_until(&mut woken, until).timed_out() {}
    }

    /// Sleeps until woken, stopped, or `timeout` has passed; true if woken.
    pub(crate) fn sleep(&self, timeout: Duration) -> bool {
        let mut woken = self.woken.lock();
        if !*woken && !self.is_stopped() {
            self.wake.wait_for(&mut woken, timeout);
        }
        std::mem::take(&mut *woken)
    }
}

/// Starts a thread called `name`.
///
/// # Errors
/// `Io` if the system has no thread to give.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(run).map_err(|e| Error::io("start a thread", None, e))
}

/// Background threads of one owner.
#[derive(Debug)]
pub(crate) struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<StopSignal>,
}

impl Threads {
    /// None yet; they will end when `stop` says so.
    pub(crate) fn new(stop: Arc<StopSignal>) -> Threads {
        Threads { handles: Mutex::default(), stop }
    }

    /// Starts a thread called `name` that ends when it sees the stop signal.
    ///
    /// # Errors
    /// As [`spawn`].
    pub(crate) fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let handle = spawn(name, run)?;
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Tells all to end and waits until they have; not for the one that calls this, if it is one of them (a waker
    /// that drops the last handle of a store does so on the flusher's thread).
    pub(crate) fn join(&self) {
        self.stop.stop();
        let me: ThreadId = current().id();
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            if handle.thread().id() != me {
                // A panic in a background thread has poisoned what it was working on.
                let _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_when_told_and_end_when_stopped() {
        let threads = Threads::new(Arc::default());
        let (tell, told) = std::sync::mpsc::channel();
        let stop = threads.stop.clone();
        threads
            .start("pagebox-test", move || {
                while !stop.is_stopped() {
                    if stop.sleep(Duration::from_secs(60)) {
                        tell.send(std::thread::current().name().map(String::from)).unwrap();
                    }
                }
            })
            .unwrap();
        threads.stop.wake();
        let name = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(name.as_deref(), Some("pagebox-test"));
        threads.join();
    }
}
