//! Heads in an array of their own: sorted, to compare sixteen at a time, or in Eytzinger's order.

use crate::heads::Task;
use crate::{Found, Layout};
use pagebox::page::bytes::PageReader;
use pagebox::page::slotted::SlottedPage;
use std::hint::select_unpredictable;

fn heads(node: &SlottedPage<'_>) -> Vec<u32> {
    (0..node.count()).map(|i| node.slot(i).expect("a slot").head).collect()
}

/// Heads side by side, sixteen in a cache line where slots have eight; behind the last one, the greatest integer.
pub struct Sorted;

impl Layout for Sorted {
    const NAME: &'static str = "hints + heads apart";
    const STORE: &'static str = "sorted";

    fn aux(capacity: usize) -> usize {
        4 * (capacity + 16)
    }

    fn fill(aux: &mut [u8], node: &SlottedPage<'_>) {
        aux.fill(0xff);
        for (i, head) in heads(node).into_iter().enumerate() {
            aux[4 * i..4 * i + 4].copy_from_slice(&head.to_le_bytes());
        }
    }

    #[inline(never)]
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found {
        let task = Task::new(&page[aux..], key)?;
        let (mut low, high) = task.narrow()?;
        let reader = PageReader::from_slice(page);
        while low < high {
            let (below, _) = reader.rank16(4 * low, task.head)?;
            low += below;
            if below < 16 {
                break;
            }
        }
        task.settle(low)
    }

    #[inline(never)]
    fn added(page: &mut [u8], aux: usize, at: usize, count: usize, key: &[u8]) {
        let head = Task::new(&page[aux..], key).expect("a node").head;
        page.copy_within(4 * at..4 * count, 4 * (at + 1));
        page[4 * at..4 * at + 4].copy_from_slice(&head.to_le_bytes());
    }
}

/// Heads in Eytzinger's order, from 1 on, and behind them the slots they are of. An insert writes them all anew.
pub struct Eytzinger;

fn arrange(aux: &mut [u8], heads: &[u32]) {
    fn go(aux: &mut [u8], slots_at: usize, heads: &[u32], i: usize, next: &mut usize) {
        if i > heads.len() {
            return;
        }
        go(aux, slots_at, heads, 2 * i, next);
        aux[4 * i..4 * i + 4].copy_from_slice(&heads[*next].to_le_bytes());
        aux[slots_at + 2 * i..slots_at + 2 * i + 2].copy_from_slice(&(*next as u16).to_le_bytes());
        *next += 1;
        go(aux, slots_at, heads, 2 * i + 1, next);
    }
    let slots_at = slots_at(aux.len());
    go(aux, slots_at, heads, 1, &mut 0);
}

/// Where the slots' numbers start, given the bytes of both arrays.
fn slots_at(aux: usize) -> usize {
    aux / 6 * 4
}

impl Layout for Eytzinger {
    const NAME: &'static str = "eytzinger";
    const STORE: &'static str = "eytzinger";

    fn aux(capacity: usize) -> usize {
        // A line's multiple, so that the node behind starts on one, and divisible by six.
        (6 * (capacity + 2)).next_multiple_of(192)
    }

    fn fill(aux: &mut [u8], node: &SlottedPage<'_>) {
        arrange(aux, &heads(node));
    }

    #[inline(never)]
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found {
        let task = Task::new(&page[aux..], key)?;
        let reader = PageReader::from_slice(page);
        let mut i = 1;
        while i <= task.count {
            // The line four levels below: sixteen descendants side by side.
            reader.prefetch(4 * 16 * i);
            i = select_unpredictable(reader.u32(4 * i)? < task.head, 2 * i + 1, 2 * i);
        }
        i >>= i.trailing_ones() + 1;
        if i == 0 {
            return Ok(None);
        }
        task.settle(usize::from(reader.u16(slots_at(aux) + 2 * i)?))
    }

    #[inline(never)]
    fn added(page: &mut [u8], aux: usize, _at: usize, _count: usize, _key: &[u8]) {
        let (aux, node) = page.split_at_mut(aux);
        Eytzinger::fill(aux, &SlottedPage::open(PageReader::from_slice(node)).expect("a node"));
    }
}
