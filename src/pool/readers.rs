//! Who reads a large value at this moment: what they may still read is not reused (V3).
//!
//! A reader that found a reference reads the pages behind it with no latch on the leaf. Between the two the value may be
//! overwritten, and its place given to another. So it registers the append position as of some moment at which the
//! reference was still there; whatever is freed later is freed by a record that ends beyond that position, and the
//! allocator keeps such space pending until the reader is gone.
//!
//! **Why no reader is missed.** The reader stores its position, then a SeqCst fence, then validates the leaf. The
//! allocator, under its mutex, in which it also learnt of every free, has a SeqCst fence, then loads the slots. If a load
//! misses the store, the allocator's fence came first, and the validation sees the latch that the freeing writer took
//! before it told the allocator: the reader starts again. If the position that the reader stored already covers the free,
//! the record was appended before, under that latch, and again the validation fails.

use crate::sync::{Arc, AtomicU64, Mutex, Ordering, fence};
use crate::types::Lsn;
use crossbeam_utils::CachePadded;

/// Readers that register without a lock; more than that at once share a list.
const SLOTS: usize = 32;

/// The registry of a pool.
#[derive(Debug)]
pub struct Readers {
    /// A reader's position and one, or zero.
    slots: [CachePadded<AtomicU64>; SLOTS],
    crowd: Mutex<Vec<u64>>,
    /// Where to look for a free slot first.
    next: AtomicU64,
}

/// One registered reader; dropping it lets go. Whoever keeps it long keeps freed space from being reused, nothing else.
#[derive(Debug)]
#[must_use = "what is read is safe only as long as this lives"]
pub struct Reader {
    readers: Arc<Readers>,
    position: u64,
    slot: Option<usize>,
}

impl Readers {
    pub(crate) fn new() -> Arc<Readers> {
        Arc::new(Readers {
            slots: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
            crowd: Mutex::new(Vec::new()),
            next: AtomicU64::new(0),
        })
    }

    /// Registers a reader at `position`, an append position read just before. What it found before counts only if it is
    /// validated after this call, or if the leaf is latched meanwhile.
    pub fn enter(self: &Arc<Readers>, position: Lsn) -> Reader {
        let word = position.get().saturating_add(1);
        // Relaxed: where to start looking.
        let first = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let slot = (0..SLOTS).map(|i| (first + i) % SLOTS).find(|&slot| {
            // Relaxed: the fence below orders the registration before the validation.
            self.slots[slot].compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        if slot.is_none() {
            self.crowd.lock().push(word);
        }
        // SeqCst: pairs with the fence in `oldest`.
        fence(Ordering::SeqCst);
        Reader { readers: self.clone(), position: word, slot }
    }

    /// The least position at which somebody registered who is still there; [`Lsn::MAX`] if nobody is.
    #[must_use]
    pub fn oldest(&self) -> Lsn {
        // SeqCst: pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        let crowd = self.crowd.lock().iter().copied().min().unwrap_or(u64::MAX);
        // Acquire: pairs with the Release in `Reader::drop`: what a reader that has gone read, it read before the reuse.
        let words = self.slots.iter().map(|slot| slot.load(Ordering::Acquire)).filter(|&word| word != 0);
        match words.fold(crowd, u64::min) {
            u64::MAX => Lsn::MAX,
            word => Lsn::new(word - 1),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        match self.slot {
            // Release: pairs with the Acquire in `oldest`.
            Some(slot) => self.readers.slots[slot].store(0, Ordering::Release),
            None => {
                let mut crowd = self.readers.crowd.lock();
                if let Some(at) = crowd.iter().position(|&word| word == self.position) {
                    crowd.swap_remove(at);
                }
            }
        }
    }
}
