//! The catalog: the tree, number 1, that maps names to trees.
//!
//! An entry's key is the name; its value is 12 bytes: tree id (4), root page id (8), little-endian. A tree is created by one
//! record that allocates and initializes its root and inserts its entry (B3): there is never a root without an entry.
//!
//! Lookup with registration of the handle, and creation, happen under one lock (the registry): so two threads that ask for
//! a tree at once get the same one.

use super::engine::Engine;
use crate::btree::{BTree, RedoLog};
use crate::error::{Error, Result, Site};
use crate::sync::{Arc, Mutex, Ordering};
use crate::types::{Lsn, PageId, TreeId};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// The longest name, in bytes.
const MAX_NAME: usize = 255;
const ENTRY_BYTES: usize = 12;

pub(crate) struct Catalog {
    pub(crate) tree: BTree,
    /// Trees that were asked for since the store was opened.
    registry: Mutex<HashMap<Arc<str>, BTree>>,
}

impl Catalog {
    /// The catalog of an open store; made if the log is still empty, which is only so right after the store's creation.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `NoSpace`.
    pub(crate) fn open(engine: &Engine) -> Result<Catalog> {
        let root = engine.head.lock().superblock.catalog_root;
        let tree = BTree::open(engine.pool.clone(), redo_log(engine), TreeId::CATALOG, root);
        if engine.wal.is_some() && engine.position() == Lsn::FIRST {
            let (made, lsn) = BTree::create(engine.pool.clone(), redo_log(engine), TreeId::CATALOG)?;
            if made.root() != root {
                let detail = format!("the catalog came to lie at page {}, not {root}", made.root());
                return Err(Error::corrupted(Site::FreeSpace, detail));
            }
            engine.log()?.commit(lsn)?;
        }
        let catalog = Catalog { tree, registry: Mutex::new(HashMap::new()) };
        // Trees created after the last checkpoint are not in the superblock's count.
        let mut next = engine.next_tree.load(Ordering::Relaxed);
        if engine.position() > Lsn::FIRST {
            catalog.entries(|_, id, _| next = next.max(id.get().saturating_add(1)))?;
        }
        engine.next_tree.store(next, Ordering::Relaxed);
        Ok(catalog)
    }

    /// Calls `f` with every entry, in the order of the names.
    ///
    /// # Errors
    /// `Corrupted` for an entry that is none; what reading gives.
    pub(crate) fn entries(&self, mut f: impl FnMut(&str, TreeId, PageId)) -> Result<()> {
        let mut result = Ok(());
        self.tree.scan(&[], None, |name, entry| match parse(name, entry) {
            Ok((name, id, root)) => {
                f(name, id, root);
                ControlFlow::Continue(())
            }
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        })?;
        result
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
        let (tree, lsn) = match self.tree.get(name.as_bytes())? {
            Some(entry) => {
                let (_, id, root) = parse(name.as_bytes(), &entry)?;
                (BTree::open(engine.pool.clone(), redo_log(engine), id, root), Lsn::NONE)
            }
            None if !create => return Ok(None),
            None => {
                engine.log()?;
                engine.with_space(|| self.create(engine, name))?
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
        self.tree.create_in(name.as_bytes(), id, |root| {
            let mut entry = Vec::with_capacity(ENTRY_BYTES);
            entry.extend_from_slice(&id.get().to_le_bytes());
            entry.extend_from_slice(&root.get().to_le_bytes());
            entry
        })
    }
}

/// The engine's log as trees see it.
fn redo_log(engine: &Engine) -> Option<Arc<dyn RedoLog>> {
    engine.wal.clone().map(|wal| wal as Arc<dyn RedoLog>)
}

fn check_name(name: &str) -> Result<()> {
    let reason = match name.len() {
        0 => "empty",
        1..=MAX_NAME => return Ok(()),
        _ => "longer than 255 bytes",
    };
    Err(Error::InvalidName { name: name.into(), reason })
}

fn parse<'a>(name: &'a [u8], entry: &[u8]) -> Result<(&'a str, TreeId, PageId)> {
    let parts = || {
        let name = std::str::from_utf8(name).ok()?;
        let (id, root) = entry.split_first_chunk::<4>()?;
        let root = PageId::new(u64::from_le_bytes(root.try_into().ok()?));
        Some((name, TreeId::new(u32::from_le_bytes(*id)), root))
    };
    parts().ok_or_else(|| Error::corrupted(Site::Page(PageId::NONE), "an entry of the catalog is none"))
}
