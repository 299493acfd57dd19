//! A time limit that fails instead of hanging.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Ends the process, loudly, if nobody fed it for so long; dropping it sends it home.
pub struct Watchdog {
    fed: Arc<AtomicU64>,
    doing: Arc<Mutex<String>>,
    // Dropped with the watchdog: that is the sign to go.
    _leash: Sender<()>,
}

impl Watchdog {
    pub fn new(what: &str, limit: Duration) -> Watchdog {
        let (leash, gone) = channel();
        let fed = Arc::new(AtomicU64::new(0));
        let doing = Arc::new(Mutex::new(what.to_owned()));
        let (meals, what) = (fed.clone(), doing.clone());
        std::thread::spawn(move || {
            let mut seen = 0;
            while gone.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let now = meals.load(Ordering::Relaxed);
                if now == seen {
                    let what = what.lock().map_or_else(|e| e.into_inner().clone(), |what| what.clone());
                    eprintln!("HANGS: {what}: nothing happened for {limit:?}");
                    std::process::exit(101);
                }
                seen = now;
            }
        });
        // The first meal: a limit that starts in the middle of a period would be shorter than promised otherwise.
        fed.store(1, Ordering::Relaxed);
        Watchdog { fed, doing, _leash: leash }
    }

    /// Something happened.
    pub fn feed(&self) {
        self.fed.fetch_add(1, Ordering::Relaxed);
    }

    /// What is under way from now on, for the report.
    pub fn says(&self, what: String) {
        *self.doing.lock().unwrap_or_else(|e| e.into_inner()) = what;
        self.feed();
    }
}
