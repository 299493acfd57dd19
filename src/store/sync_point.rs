//! Waiting for durability apart from writing.

use super::running::InCallback;
use super::store_api::Inner;
use crate::error::{Error, Result};
use crate::sync::Arc;
use crate::types::Lsn;
use crate::wal::WakerKey;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A promise that everything written before [`Store::sync_async`](crate::Store::sync_async) gets durable: a future, or
/// something to [`wait`](SyncPoint::wait) for. Dropping it cancels nothing.
#[must_use = "a sync point says nothing unless it is awaited or waited for"]
pub struct SyncPoint {
    inner: Arc<Inner>,
    /// What was appended when it was made; or why there is nothing to wait for.
    target: Result<Lsn>,
    waker: Option<WakerKey>,
}

impl SyncPoint {
    /// Captures the append position and asks for a flush up to there.
    pub(crate) fn new(inner: Arc<Inner>) -> SyncPoint {
        let target = Self::ask(&inner);
        SyncPoint { inner, target, waker: None }
    }

    fn ask(inner: &Inner) -> Result<Lsn> {
        let engine = &inner.engine;
        let _call = engine.running.enter()?;
        let wal = engine.log()?;
        let target = wal.position();
        if engine.deterministic {
            // Nobody else is there to do it. A failure poisons the log, and the waiting finds that.
            let _callback = InCallback::of(engine.id());
            let _ = wal.commit(target);
        } else {
            wal.request_flush(target);
        }
        Ok(target)
    }

    /// Blocks until it is so; the LSN up to which the log is durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the log could not be made durable, [`Error::Closed`] if the store was closed before the
    /// sync point was made, [`Error::ReadOnly`].
    pub fn wait(self) -> Result<Lsn> {
        let target = self.target.clone()?;
        let wal = self.inner.engine.log()?;
        // A store that was closed since has made everything durable, or is poisoned: this does no I/O then, and close waited for what
        // was under way.
        wal.wait_durable(target)
    }
}

impl Future for SyncPoint {
    type Output = Result<Lsn>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Lsn>> {
        let this = self.get_mut();
        match &this.target {
            Err(error) => Poll::Ready(Err(error.clone())),
            Ok(target) => match &this.inner.engine.wal {
                Some(wal) => wal.poll_durable(*target, &mut this.waker, context),
                None => Poll::Ready(Err(Error::ReadOnly)),
            },
        }
    }
}

impl Drop for SyncPoint {
    fn drop(&mut self) {
        if let Some(wal) = &self.inner.engine.wal {
            wal.forget_waker(&mut self.waker);
        }
    }
}

impl std::fmt::Debug for SyncPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncPoint").field("target", &self.target).finish_non_exhaustive()
    }
}
