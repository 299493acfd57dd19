//! The whole medium, and the operations that change it. An operation applied to equal states gives equal states: that is
//! how a state in the past is computed again from the history.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::inode::{Fate, Inode};
use super::names::{Change, Ino, Names, ROOT};

/// One operation that was found possible and is carried out.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write {
        ino: Ino,
        offset: u64,
        data: Arc<[u8]>,
        fate: Fate,
    },
    SetLen {
        ino: Ino,
        len: u64,
    },
    Allocate {
        ino: Ino,
        offset: u64,
        len: u64,
    },
    Sync {
        ino: Ino,
        ok: bool,
    },
    /// `path` is where the entry is afterwards.
    Entry {
        change: Change,
        path: PathBuf,
    },
    SyncDir {
        dir: Ino,
        ok: bool,
    },
}

/// Everything a disk holds, durable or not.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<Ino, Arc<Inode>>,
    pub(super) names: Names,
    /// The next unused number.
    pub(super) next_ino: Ino,
    /// How many operations were carried out.
    pub(super) seq: u64,
}

impl State {
    /// An empty disk: the root directory alone.
    pub(super) fn new() -> State {
        State { inodes: BTreeMap::new(), names: Names::default(), next_ino: ROOT + 1, seq: 0 }
    }

    /// Carries out `op`.
    pub(super) fn apply(&mut self, op: &Op) {
        let seq = self.seq;
        self.seq += 1;
        match op {
            Op::Write { ino, offset, data, fate } => self.inode(*ino).write(seq, data, *offset, *fate),
            Op::SetLen { ino, len } => self.inode(*ino).set_len(seq, *len),
            Op::Allocate { ino, offset, len } => self.inode(*ino).allocate(seq, *offset, *len),
            Op::Sync { ino, ok } => self.inode(*ino).sync(*ok),
            Op::Entry { change, path } => {
                match change {
                    Change::Create { entry, .. } => {
                        self.next_ino = self.next_ino.max(entry.ino + 1);
                        if !entry.directory {
                            self.inode(entry.ino).path.clone_from(path);
                        }
                    }
                    Change::Rename { ino, .. } => self.inode(*ino).path.clone_from(path),
                    Change::Remove { .. } => {}
                }
                self.names.change(seq, change);
            }
            Op::SyncDir { dir, ok } => self.names.sync(*dir, *ok),
        }
    }

    /// A file for changing; a number not seen before is a new, empty file.
    pub(super) fn inode(&mut self, ino: Ino) -> &mut Inode {
        Arc::make_mut(self.inodes.entry(ino).or_default())
    }

    /// Bytes of the disk in use.
    pub(super) fn used_bytes(&self) -> u64 {
        self.inodes.values().map(|inode| inode.live.allocated_bytes()).sum()
    }

    /// Forgets the files that no name leads to, now or after any crash, except those that `is_open`.
    pub(super) fn collect(&mut self, is_open: impl Fn(Ino) -> bool) {
        let mentioned = self.names.mentioned();
        self.inodes.retain(|ino, _| mentioned.contains(ino) || is_open(*ino));
    }
}
