//! A damaged leaf in which two references name one place: whatever would free it twice is refused before anything is
//! logged, since redo would refuse the record and the store could never be opened again.

mod btree_support;

use btree_support::Bed;
use pagebox::btree::{BTree, BatchAction, BatchOp};
use pagebox::page::slotted::SlottedPage;
use pagebox::{Error, Lsn, SizeClass};

fn doubled() -> Bed {
    let bed = Bed::new(4096, 512);
    bed.tree.insert(b"a", &[1; 9000]).unwrap();
    bed.tree.insert(b"b", &[2; 9000]).unwrap();
    let mut page = bed.pool.exclusive(bed.tree.root(), SizeClass::ZERO).unwrap();
    let (from, to, n) = {
        let node = SlottedPage::open(page.reader()).unwrap();
        let (from, n) = node.value_range(0).unwrap();
        (from, node.value_range(1).unwrap().0, n)
    };
    let mut bytes = vec![0; n];
    page.reader().copy_to(from, &mut bytes).unwrap();
    page.begin_change(Lsn::FIRST);
    page.writer().write(to, &bytes);
    page.finish_change(Lsn::NONE);
    drop(page);
    bed
}

fn refused<T: std::fmt::Debug>(bed: &Bed, act: impl FnOnce() -> pagebox::Result<T>) {
    let before = bed.log.records().len();
    let answer = act();
    assert!(matches!(answer, Err(Error::Corrupted { .. })), "{answer:?}");
    assert_eq!(bed.log.records().len(), before, "something was logged");
    bed.pool.check_poison().unwrap();
}

#[test]
fn a_removal_of_the_second_one() {
    let bed = doubled();
    bed.tree.remove(b"a").unwrap();
    refused(&bed, || bed.tree.remove(b"b"));
}

#[test]
fn a_batch_that_removes_both() {
    let bed = doubled();
    let op = |key| BatchOp { tree: &bed.tree, key, action: BatchAction::Remove };
    refused(&bed, || BTree::apply(&[op(b"a"), op(b"b")]));
}

#[test]
fn a_range_that_holds_both() {
    let bed = doubled();
    refused(&bed, || bed.tree.remove_range_step(b"", None));
}
