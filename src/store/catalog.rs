//! The catalog: the tree, number 1, that maps names to trees.
//!
//! An entry's key is the name; its value is 12 bytes: tree id (4), root page id (8), little-endian; the top bit of the page
//! id says that the tree was dropped and is still being freed ([`super::dropping`]). A tree is created by one record that
//! allocates and initializes its root and inserts its entry (B3): there is never a root without an entry. If a tree of
//! that name is still being freed, its entry moves first, to a key that is no name: the byte 0xFF and the tree id.
//!
//! Lookup with registration of the handle, creation, drop, and the freeing of a root happen under one lock (the registry):
//! so two threads that ask for a tree at once get the same one.

use super::dropping::Dropped;
use super::engine::Engine;
use crate::btree::{BTree, BatchAction, BatchOp, RedoLog, sparse_leaves};
use crate::error::{Error, Result, Site};
use crate::sync::{Arc, Mutex, Ordering};
use crate::types::{Lsn, PageId, TreeId};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Leaves merged before a checkpoint at most.
const TIDY_MOST: usize = 4096;
/// The longest name, in bytes.
const MAX_NAME: usize = 255;
const ENTRY_BYTES: usize = 12;

/// Set in the root's page id of an entry: the tree was dropped.
const DROPPED: u64 = 1 << 63;
/// Sorts behind all names: they are UTF-8.
pub(super) const MOVED: u8 = 0xFF;

pub(crate) struct Catalog {
    pub(crate) tree: BTree,
    /// Trees that were asked for since the store was opened.
    pub(super) registry: Mutex<HashMap<Arc<str>, BTree>>,
    /// Dropped trees that are not all freed, and that nobody is freeing.
    pub(super) dropped: Mutex<Vec<Dropped>>,
    /// Held by whoever frees pages of dropped trees, for a step, or merges leaves; and by a check, so that pages hold still.
    pub(super) freeing: Mutex<()>,
}

/// What an entry says.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: TreeId,
    pub(super) root: PageId,
    pub(super) dropped: bool,
}

impl Entry {
    pub(super) fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let word = self.root.get() | if self.dropped { DROPPED } else { 0 };
        bytes[..4].copy_from_slice(&self.id.get().to_le_bytes());
        bytes[4..].copy_from_slice(&word.to_le_bytes());
        bytes
    }

    /// # Errors
    /// `Corrupted` if the bytes are no entry.
    pub(super) fn decode(bytes: &[u8]) -> Result<Entry> {
        let parts = || {
            let (id, root) = bytes.split_first_chunk::<4>()?;
            let word = u64::from_le_bytes(root.try_into().ok()?);
            let id = TreeId::new(u32::from_le_bytes(*id));
            Some(Entry { id, root: PageId::new(word & !DROPPED), dropped: word & DROPPED != 0 })
        };
        parts().ok_or_else(no_entry)
    }
}

/// The key of a dropped tree's entry when its name has another tree.
pub(super) fn moved_key(id: TreeId) -> [u8; 5] {
    let [a, b, c, d] = id.get().to_be_bytes();
    [MOVED, a, b, c, d]
}

fn no_entry() -> Error {
    Error::corrupted(Site::Page(PageId::NONE), "an entry of the catalog is none")
}

impl Catalog {
    /// The catalog of an open store; made if the log is still empty, which is only so right after the store's creation.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `NoSpace`.
    pub(crate) fn open(engine: &Engine) -> Result<Catalog> {
        let root = engine.lock_head().superblock.catalog_root;
        let tree = BTree::open(engine.pool.clone(), redo_log(engine), TreeId::CATALOG, root);
        if engine.wal.is_some() && engine.position() == Lsn::FIRST {
            let (made, lsn) = BTree::create(engine.pool.clone(), redo_log(engine), TreeId::CATALOG)?;
            if made.root() != root {
                let detail = format!("the catalog came to lie at page {}, not {root}", made.root());
                return Err(Error::corrupted(Site::FreeSpace, detail));
            }
            engine.log()?.commit(lsn)?;
        }
        let mut unfinished = Vec::new();
        if engine.position() > Lsn::FIRST {
            each_entry(&tree, |key, entry| {
                if entry.dropped {
                    let tree = BTree::open(engine.pool.clone(), redo_log(engine), entry.id, entry.root);
                    unfinished.push(Dropped::new(key.into(), tree));
                }
                Ok(())
            })?;
        }
        let (registry, dropped) = (Mutex::new(HashMap::new()), Mutex::new(unfinished));
        Ok(Catalog { tree, registry, dropped, freeing: Mutex::new(()) })
    }

    /// Merges leaves that have become sparse and were not merged then, because others were in the way. Best effort, and of
    /// bounded length; called before a checkpoint, with no latch and no lock held.
    pub(crate) fn tidy(&self, engine: &Engine) {
        if engine.wal.is_none() || engine.check_poison().is_err() {
            return;
        }
        // Not under a check's feet.
        let Some(_freeing) = self.freeing.try_lock() else { return };
        let open: HashMap<TreeId, BTree> = {
            let registry = self.registry.lock();
            registry.values().chain([&self.tree]).map(|tree| (tree.id(), tree.clone())).collect()
        };
        open.values().for_each(|tree| tree.tidy(None));
        let mut others: Option<HashMap<TreeId, BTree>> = None;
        for (id, key) in sparse_leaves(&engine.pool, TIDY_MOST) {
            let tree = open.get(&id).or_else(|| {
                // Changed before a crash, and not asked for since.
                let others = others.get_or_insert_with(|| self.listed(engine).unwrap_or_default());
                others.get(&id)
            });
            if let Some(tree) = tree {
                tree.tidy(Some(&key));
            }
        }
    }

    fn listed(&self, engine: &Engine) -> Result<HashMap<TreeId, BTree>> {
        let mut trees = HashMap::new();
        self.entries(|id, root, dropped| {
            if !dropped {
                trees.insert(id, BTree::open(engine.pool.clone(), redo_log(engine), id, root));
            }
        })?;
        Ok(trees)
    }

    /// Calls `f` with the name of every tree that is not dropped, in ascending order.
    ///
    /// # Errors
    /// `Corrupted` for an entry that is none; what reading gives.
    pub(crate) fn names(&self, mut f: impl FnMut(&str)) -> Result<()> {
        each_entry(&self.tree, |key, entry| {
            if !entry.dropped {
                f(std::str::from_utf8(key).map_err(|_| no_entry())?);
            }
            Ok(())
        })
    }

    /// Calls `f` with every tree's number, root, and whether it was dropped.
    ///
    /// # Errors
    /// As [`Catalog::names`].
    pub(crate) fn entries(&self, mut f: impl FnMut(TreeId, PageId, bool)) -> Result<()> {
        each_entry(&self.tree, |_, entry| {
            f(entry.id, entry.root, entry.dropped);
            Ok(())
        })
    }

    /// The tree of that name; created if `create` and there is none. The second of the pair is the LSN of its creation.
    ///
    /// # Errors
    /// `InvalidName`, `ReadOnly`, what reading and writing give.
    pub(crate) fn tree(&self, engine: &Engine, name: &str, create: bool) -> Result<Option<(BTree, Arc<str>, Lsn)>> {
        check_name(name)?;
        let mut registry = self.registry.lock();
        if let Some((name, tree)) = registry.get_key_value(name) {
            return Ok(Some((tree.clone(), name.clone(), Lsn::NONE)));
        }
        let entry = self.tree.get(name.as_bytes())?.map(|entry| Entry::decode(&entry)).transpose()?;
        let (tree, lsn) = match entry {
            Some(Entry { id, root, dropped: false }) => {
                (BTree::open(engine.pool.clone(), redo_log(engine), id, root).counted(false), Lsn::NONE)
            }
            _ if !create => return Ok(None),
            former => {
                engine.log()?;
                engine.with_space(|| {
                    if let Some(former) = former {
                        self.move_aside(name, former)?;
                    }
                    self.create(engine, name)
                })?
            }
        };
        let name: Arc<str> = name.into();
        registry.insert(name.clone(), tree.clone());
        Ok(Some((tree, name, lsn)))
    }

    /// One record: allocation and content of the root, and the entry.
    fn create(&self, engine: &Engine, name: &str) -> Result<(BTree, Lsn)> {
        // Relaxed: under the registry's lock. A number whose creation failed is not used again; no matter.
        let id = engine.next_tree.fetch_add(1, Ordering::Relaxed);
        if id == u32::MAX {
            return Err(Error::NoSpace { what: "tree ids", needed: 1 });
        }
        let id = TreeId::new(id);
        let entry = |root| Entry { id, root, dropped: false }.encode().to_vec();
        let (tree, lsn) = self.tree.create_in(name.as_bytes(), id, entry)?;
        Ok((tree.counted(true), lsn))
    }

    /// The entry of a dropped tree makes way for a new tree of that name.
    fn move_aside(&self, name: &str, former: Entry) -> Result<()> {
        let (key, entry) = (moved_key(former.id), former.encode());
        // A second attempt, after the first found no space for the new tree, finds nothing to do.
        if self.tree.contains_key(&key)? {
            return Ok(());
        }
        let op = |key, action| BatchOp { tree: &self.tree, key, action };
        BTree::apply(&[op(name.as_bytes(), BatchAction::Remove), op(&key, BatchAction::Insert(&entry))])?;
        Ok(())
    }
}

/// The engine's log as trees see it.
pub(super) fn redo_log(engine: &Engine) -> Option<Arc<dyn RedoLog>> {
    engine.wal.clone().map(|wal| wal as Arc<dyn RedoLog>)
}

pub(super) fn check_name(name: &str) -> Result<()> {
    let reason = match name.len() {
        0 => "empty",
        1..=MAX_NAME => return Ok(()),
        _ => "longer than 255 bytes",
    };
    Err(Error::InvalidName { name: name.into(), reason })
}

/// Calls `f` with the key and content of every entry; its first error ends it.
fn each_entry(tree: &BTree, mut f: impl FnMut(&[u8], Entry) -> Result<()>) -> Result<()> {
    let mut result = Ok(());
    tree.scan(&[], None, |key, bytes| {
        result = Entry::decode(bytes).and_then(|entry| f(key, entry));
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result
}
