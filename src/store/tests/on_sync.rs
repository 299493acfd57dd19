//! A hook in the syncs of the page file.

use super::hooked::{Hook, Target};
use crate::sync::Mutex;
use std::io;

/// Called once, in the middle of a checkpoint.
pub(super) type Once = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// One for the next sync of the page file's content, one for the next that covers its length too: that of the record of free
/// space.
#[derive(Default)]
pub(super) struct OnSync(pub(super) Once, pub(super) Once);

/// Calls it if the file is that of the pages.
pub(super) fn call(once: &Once, to: &Target) {
    let next = if to.is_pages() { once.lock().take() } else { None };
    if let Some(call) = next {
        call();
    }
}

impl Hook for OnSync {
    fn sync_data(&self, to: &Target) -> io::Result<()> {
        call(&self.0, to);
        to.file.sync_data()
    }
    fn sync_all(&self, to: &Target) -> io::Result<()> {
        call(&self.1, to);
        to.file.sync_all()
    }
}
