//! Buffers that live with the thread, so that the steady state allocates nothing. Re-entrant: an inner use gets another one. A
//! thread that is ending, in whose thread-locals' destructors a tree may be used still, has none any more and allocates.

use std::cell::RefCell;

/// How many buffers a thread keeps, and how large they may be.
const KEEP: usize = 8;
const KEEP_BYTES: usize = 256 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with an empty buffer.
pub(crate) fn with<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten().unwrap_or_default();
    let result = f(&mut buffer);
    buffer.clear();
    if buffer.capacity() <= KEEP_BYTES {
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEEP {
                pool.push(buffer);
            }
        });
    }
    result
}
