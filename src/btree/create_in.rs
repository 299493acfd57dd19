//! New trees that are listed in another one, both in one record.

use super::descend::{Seek, sound};
use super::mini::Part;
use super::redo::damaged;
use super::{BTree, Inner};
use crate::error::{Error, Result};
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{Content, Search, SlottedPage, ops};
use crate::pool::{Interrupt, NewPage, PageMut};
use crate::types::{Lsn, PageId, SizeClass, TreeId};
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD};

/// What the list's leaf says to an entry.
enum Room<'p> {
    /// There is room: the latched leaf, and what was reserved for the new root before it was latched.
    Yes(PageMut<'p>, NewPage<'p>),
    Full,
    Taken,
}

/// Bytes of a record that makes a root, beside those of the entry: parts for space, root and entry, the empty content.
const FRAME: usize = RECORD_OVERHEAD + 3 * PART_OVERHEAD + ops::RECORD_OVERHEAD + 256;

impl BTree {
    /// Makes an empty tree and inserts the entry `key` for it into this one, by one record (B3): there is never a root
    /// without its entry, nor an entry without its root. `entry` makes the entry's value from the new root's page; it must
    /// be equally long for every page. Returns the new tree, which shares this one's pool and log, and the record's LSN.
    ///
    /// # Errors
    /// Those of [`BTree::insert`]; `InvalidOption` if the key is there already. Nothing was made then.
    pub fn create_in(&self, key: &[u8], tree: TreeId, entry: impl Fn(PageId) -> Vec<u8>) -> Result<(BTree, Lsn)> {
        let inner = &*self.inner;
        let value_len = entry(PageId::NONE).len();
        inner.check_sizes(key, value_len)?;
        inner.pool.check_poison()?;
        let content = Content::empty_leaf(tree);
        let mut first = true;
        loop {
            let log_room = inner.reserve(FRAME + content.len() + key.len() + value_len)?;
            let room = match inner.retry(|| inner.try_list(key, value_len))? {
                Some(room) => room,
                None => inner.list_in_lane(key, value_len)?,
            };
            match room {
                Room::Taken => {
                    return Err(Error::InvalidOption { option: "name", reason: "a tree has it already".into() });
                }
                Room::Full => {
                    // Given back before a split takes its own.
                    drop(log_room);
                    inner.make_room(key, value_len, std::mem::replace(&mut first, false))?;
                }
                Room::Yes(leaf, new) => {
                    let root = new.id();
                    let mut payload = Vec::with_capacity(key.len() + value_len + ops::RECORD_OVERHEAD);
                    ops::encode_record(key, 0, &entry(root), &mut payload);
                    let root_part = Part { page: new.into_page(), op: ops::INIT, payload: &content };
                    let entry_part = Part { page: leaf, op: ops::INSERT, payload: &payload };
                    let lsn = inner.commit(log_room, vec![root_part, entry_part])?;
                    return Ok((BTree::open(inner.pool.clone(), inner.log.clone(), tree, root), lsn));
                }
            }
        }
    }
}

enum Verdict {
    Fits,
    Full,
    Taken,
}

fn verdict(node: &SlottedPage<'_>, key: &[u8], value_len: usize) -> Result<Verdict, OutOfBounds> {
    // Redo asks the same: nothing is logged for a leaf that a damaged reference led to.
    if !node.covers(key)? {
        return Err(OutOfBounds);
    }
    Ok(match node.search(key)? {
        Search::Found(_) => Verdict::Taken,
        Search::Insert(_) if node.fits_record(None, key.len(), value_len)? => Verdict::Fits,
        Search::Insert(_) => Verdict::Full,
    })
}

impl Inner {
    fn list_in_lane(&self, key: &[u8], value_len: usize) -> Result<Room<'_>> {
        self.in_lane(0, |lane| {
            let new = self.pool.reserve(SizeClass::ZERO)?;
            let page: PageMut<'_> = self.coupled(lane, Seek::Key(key), 0)?;
            let id = page.id();
            let found = SlottedPage::open(page.reader()).and_then(|node| verdict(&node, key, value_len));
            Ok(match found.map_err(|_| damaged(id, "an offset leads outside of the page"))? {
                Verdict::Fits => Room::Yes(page, new),
                Verdict::Full => Room::Full,
                Verdict::Taken => Room::Taken,
            })
        })
    }

    fn try_list(&self, key: &[u8], value_len: usize) -> Result<Room<'_>, Interrupt> {
        let view = self.descend(Seek::Key(key), 0)?.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        match sound(&view, verdict(&node, key, value_len))? {
            Verdict::Fits => {
                // Not on the way down, where frames are waited for: many who held one there would leave none to load with.
                let new = self.pool.reserve(SizeClass::ZERO)?;
                // The upgrade fails if anything changed since the view was taken.
                Ok(Room::Yes(view.try_exclusive()?, new))
            }
            Verdict::Full => {
                view.validate()?;
                Ok(Room::Full)
            }
            Verdict::Taken => {
                view.validate()?;
                Ok(Room::Taken)
            }
        }
    }
}
