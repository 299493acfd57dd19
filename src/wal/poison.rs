//! The log's poison: set once, by the first failed write or sync, and never taken back.

use crate::error::Error;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

#[derive(Debug)]
pub(crate) struct Poison {
    set: AtomicBool,
    cause: Mutex<Option<Arc<str>>>,
}

impl Poison {
    pub(crate) fn new() -> Poison {
        Poison { set: AtomicBool::new(false), cause: Mutex::new(None) }
    }

    /// Sets it; a later cause changes nothing.
    pub(crate) fn set(&self, cause: Arc<str>) {
        self.cause.lock().get_or_insert(cause);
        // Release: pairs with the Acquire of `is_set`; who sees the flag finds the cause.
        self.set.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Acquire: pairs with the Release of `set`.
        self.set.load(Ordering::Acquire)
    }

    pub(crate) fn error(&self) -> Option<Error> {
        if !self.is_set() {
            return None;
        }
        self.cause.lock().clone().map(|cause| Error::Poisoned { cause })
    }

    /// `Ok` unless it is set.
    #[inline]
    pub(crate) fn check(&self) -> crate::Result<()> {
        match self.error() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}
