//! What outside programs may rely on of the public names beside their signatures: who may go to another thread, what may be
//! taken apart and named.

#![cfg(feature = "btree")]

use pagebox::pool::{
    BufferPool, DurableLog, FilePageStore, MemPageStore, PageMut, PageRef, PageStore, PoolOptions, SlottedPage,
};
use pagebox::wal::{Record, RedoHandler, Wal, WalOptions};
use pagebox::{
    Batch, CasConflict, Durability, Error, FrameId, Lsn, PageId, Range, SizeClass, Store, StoreOptions, SyncMethod,
    SyncPoint, Tree,
};
use std::future::Future;

fn anywhere<T: Send + Sync + 'static>() {}
fn moves<T: Send + 'static>() {}
fn named<T: ?Sized>() {}

#[test]
fn handles_go_where_they_are_said_to_go() {
    anywhere::<Store>();
    anywhere::<Tree>();
    anywhere::<StoreOptions>();
    anywhere::<Batch>();
    anywhere::<Error>();
    anywhere::<BufferPool>();
    anywhere::<Wal>();
    moves::<Range>();
    moves::<SyncPoint>();
    fn future<T: Future<Output = pagebox::Result<Lsn>> + Unpin>() {}
    future::<SyncPoint>();
    fn iterates<T: DoubleEndedIterator<Item = pagebox::Result<(Vec<u8>, Vec<u8>)>> + std::iter::FusedIterator>() {}
    iterates::<Range>();
    fn copies<T: Copy + std::fmt::Debug + Eq>() {}
    copies::<Durability>();
    copies::<SyncMethod>();
    fn clones<T: Clone>() {}
    clones::<Error>();
    clones::<StoreOptions>();
    clones::<Batch>();
    let _: std::io::Error = Error::Closed.into();
}

#[test]
fn names_are_where_they_are_said_to_be() {
    named::<PageRef<'_>>();
    named::<PageMut<'_>>();
    named::<SlottedPage<'_>>();
    named::<dyn DurableLog>();
    named::<dyn PageStore>();
    named::<dyn RedoHandler>();
    named::<Record<'_>>();
    named::<(FilePageStore, MemPageStore, PoolOptions, WalOptions, FrameId, PageId, SizeClass)>();
}

#[test]
fn a_conflict_can_be_taken_apart() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Store::open(dir.path()).unwrap().tree("t").unwrap();
    assert_eq!(tree.compare_and_swap("k", None, Some(b"1")).unwrap(), Ok(()));
    match tree.compare_and_swap("k", Some(b"2"), None).unwrap() {
        Err(CasConflict { current }) => assert_eq!(current.as_deref(), Some(&b"1"[..])),
        Ok(()) => panic!("swapped"),
    }
}
