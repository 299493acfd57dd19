//! Operations on runs of children and records, against lists; and what nonsense makes of them.

use super::*;
use crate::page::slotted::shrink::{encode_cut, encode_run};

fn children(page: &Page) -> Vec<(Vec<u8>, u64)> {
    page.node().children().unwrap().into_iter().map(|child| (child.separator, child.page.get())).collect()
}

fn extension(children: &[(Vec<u8>, u64)], upper: Option<&[u8]>) -> Vec<u8> {
    let children: Vec<_> = children
        .iter()
        .map(|(separator, page)| crate::page::slotted::children::Child {
            separator: separator.clone(),
            page: PageId::new(*page),
        })
        .collect();
    let mut payload = Vec::new();
    crate::page::slotted::children::encode_extension(&children, upper, &mut payload);
    payload
}

fn is_below_next(model: &[(Vec<u8>, u64)], at: usize, separator: &[u8]) -> bool {
    model.get(at + 1).is_none_or(|(next, _)| separator < next.as_slice())
}

/// An inner node as a list of (separator, child), the first separator being the lower fence.
#[test]
fn inner_nodes_behave_as_lists() {
    fn property(steps: Vec<(u8, u8, u8)>) -> bool {
        let mut page = Page::inner(4096, b"", None, 1);
        let mut model = vec![(Vec::new(), 1u64)];
        for (n, (what, a, b)) in steps.into_iter().enumerate() {
            let (n, last) = (n as u64 + 2, model.len() - 1);
            let pick = |x: u8| 1 + usize::from(x) % last.max(1);
            match what % 6 {
                0 | 1 => {
                    // Behind all others: as many as `b` says.
                    let more: Vec<_> = (0..u64::from(b % 9))
                        .map(|i| (format!("s{n:05}/{i}{}", "x".repeat(usize::from(a % 40))).into_bytes(), n * 10 + i))
                        .collect();
                    let applied = page.apply(EXTEND, &extension(&more, None));
                    if applied.is_ok() {
                        model.extend(more);
                    }
                }
                2 if last > 0 => {
                    let (from, to) = (pick(a).min(pick(b)), pick(a).max(pick(b)));
                    let mut payload = Vec::new();
                    encode_run(&model[from].0, &model[to].0, &mut payload);
                    page.apply(REMOVE_RUN, &payload).unwrap();
                    model.drain(from..=to);
                }
                3 if last > 0 => {
                    let at = pick(a);
                    page.apply(REMOVE_LEFT, &model[at].0).unwrap();
                    model[at].0 = model[at - 1].0.clone();
                    model.remove(at - 1);
                }
                4 if last > 0 => {
                    let at = pick(a);
                    let mut new = model[at].0.clone();
                    new.extend(std::iter::repeat_n(b'!', usize::from(b % 60)));
                    let mut payload = Vec::new();
                    encode_run(&model[at].0, &new, &mut payload);
                    if !is_below_next(&model, at, &new) {
                        assert!(page.apply(MOVE_SEPARATOR, &payload).is_err());
                        continue;
                    }
                    let fits = page.node().fits_moved(&model[at].0, &new).unwrap();
                    assert_eq!(page.apply(MOVE_SEPARATOR, &payload).is_ok(), fits);
                    if fits {
                        model[at].0 = new;
                    }
                }
                5 => {
                    let at = if last > 0 { pick(a) } else { 0 };
                    let separator = [&model[at].0[..], b"+"].concat();
                    let mut payload = Vec::new();
                    encode_separator(&separator, PageId::new(n * 10), &mut payload);
                    if is_below_next(&model, at, &separator) && page.node().fits_separator(separator.len()).unwrap() {
                        page.apply(INSERT_LEFT, &payload).unwrap();
                        let right = (separator, model[at].1);
                        model[at].1 = n * 10;
                        model.insert(at + 1, right);
                    }
                }
                _ => {}
            }
            assert_eq!(children(&page), model);
            page.node().verify(b"", None).unwrap();
        }
        true
    }
    QuickCheck::new().tests(1000).quickcheck(property as fn(Vec<(u8, u8, u8)>) -> bool);
}

#[test]
fn an_extension_may_close_a_node_and_children_can_be_detached() {
    let mut page = Page::inner(4096, b"a", None, 1);
    let more = [(b"key/b".to_vec(), 2), (b"key/c".to_vec(), 3)];
    page.apply(EXTEND, &extension(&more, Some(b"key/d"))).unwrap();
    page.node().verify(b"a", Some(b"key/d")).unwrap();
    assert!(page.apply(EXTEND, &extension(&[], None)).is_err(), "it is not the last one any more");
    assert!(page.apply(DETACH, &4u16.to_le_bytes()).is_err(), "it has three");
    page.apply(DETACH, &2u16.to_le_bytes()).unwrap();
    assert_eq!(children(&page), [(b"a".to_vec(), 1), (b"key/b".to_vec(), 2)]);
    page.apply(ENTOMB, &[]).unwrap();
    assert!(page.apply(EXTEND, &[]).is_err(), "a tombstone is no node");
    page.apply(DETACH, &0u16.to_le_bytes()).unwrap();
    assert!(page.node().is_leaf() && page.node().count() == 0);
    assert_eq!(page.node().tree(), Ok(TreeId::new(9)));
}

#[test]
fn children_can_be_detached_in_front_of_others() {
    let mut page = Page::inner(4096, b"a", None, 1);
    let more = [(b"key/b".to_vec(), 2), (b"key/c".to_vec(), 3), (b"key/d".to_vec(), 4)];
    page.apply(EXTEND, &extension(&more, None)).unwrap();
    for wrong in [[3, 0, 1, 0], [0, 0, 4, 0], [2, 0, 2, 0], [0xFF, 0xFF, 0xFF, 0xFF]] {
        assert!(page.apply(DETACH, &wrong).is_err(), "{wrong:?}: it has four");
    }
    assert!(page.apply(DETACH, &[1, 0, 2]).is_err() && page.apply(DETACH, &[1]).is_err(), "no numbers");
    page.apply(DETACH, &[1, 0, 2, 0]).unwrap();
    // The third takes over what the second covered.
    assert_eq!(children(&page), [(b"a".to_vec(), 1), (b"key/b".to_vec(), 3), (b"key/d".to_vec(), 4)]);
    page.node().verify(b"a", None).unwrap();
    page.apply(DETACH, &[0, 0, 2, 0]).unwrap();
    assert_eq!(children(&page).iter().map(|(_, id)| *id).collect::<Vec<_>>(), [3, 4]);
}

/// Leaves cut, raised and put together again.
#[test]
fn leaves_come_apart_and_together() {
    fn property(keys: Vec<(u16, u8)>, low: u16, high: u16) -> bool {
        let name = |n: u16| format!("common/{n:05}").into_bytes();
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut page = Page::leaf(16384, b"common/", Some(b"common0"));
        for (n, len) in keys {
            let value = vec![len; usize::from(len % 50)];
            if !model.contains_key(&name(n)) && model.insert(name(n), value.clone()).is_none() {
                let mut payload = Vec::new();
                encode_record(&name(n), 0, &value, &mut payload);
                page.apply(INSERT, &payload).unwrap();
            }
        }
        let (low, high) = (name(low.min(high)), name(low.max(high)));
        let mut payload = Vec::new();
        encode_cut(&low, Some(&high), &mut payload);
        page.apply(CUT, &payload).unwrap();
        model.retain(|key, _| *key < low || *key >= high);
        page.node().verify(b"common/", Some(b"common0")).unwrap();
        assert_eq!(page.node().count(), model.len());
        // The part in front of `high` goes to another page, and comes back.
        let at = page.node().first_not_below(&high).unwrap();
        let mut left = Vec::new();
        page.node().encode_left(at, &high, &mut left).unwrap();
        page.apply(RAISE, &high).unwrap();
        page.node().verify(&high, Some(b"common0")).unwrap();
        is_as_built(&page);
        page.apply(ABSORB_LEFT, &left).unwrap();
        is_as_built(&page);
        page.node().verify(b"common/", Some(b"common0")).unwrap();
        // And so does the part behind `low`.
        let at = page.node().first_not_below(&low).unwrap();
        let mut right = Vec::new();
        page.node().encode_right(at, &low, &mut right).unwrap();
        page.apply(TRUNCATE, &low).unwrap();
        page.node().verify(b"common/", Some(&low)).unwrap();
        is_as_built(&page);
        page.apply(ABSORB, &right).unwrap();
        page.node().verify(b"common/", Some(b"common0")).unwrap();
        is_as_built(&page);
        let node = page.node();
        let there = (0..node.count()).map(|i| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            node.key(i, &mut key).and_then(|()| node.value(i, &mut value)).unwrap();
            (key, value)
        });
        there.eq(model)
    }
    QuickCheck::new().tests(200).quickcheck(property as fn(Vec<(u16, u8)>, u16, u16) -> bool);
}

/// A leaf that was written from a copy of itself is, byte for byte, what building it from its content gives.
fn is_as_built(page: &Page) {
    let mut content = Vec::new();
    page.node().encode_all(&mut content).unwrap();
    let mut built = page.clone();
    built.apply(REBUILD, &content).unwrap();
    assert!(built == *page, "not as built");
}

/// Whatever the payload and the page: an error, or nonsense of bounded size, but no panic.
#[test]
fn nonsense_is_refused() {
    fn property(op: u8, payload: Vec<u8>, noise: Vec<(u16, u8)>, inner: bool) -> bool {
        let mut page = if inner { Page::inner(4096, b"", None, 1) } else { Page::leaf(4096, b"", None) };
        let _ = page.apply(EXTEND, &extension(&[(b"m".to_vec(), 2), (b"p".to_vec(), 3)], None));
        let mut bytes = page.bytes();
        for (at, byte) in noise {
            // Past the page header; its kind stays that of a node.
            bytes[32 + usize::from(at) % (4096 - 32)] = byte;
        }
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        let mut page = Page(words, 4096);
        for op in [20 + op % 10, op] {
            let _ = page.apply(op, &payload);
            for known in [&b"m"[..], b"p", b"zz"] {
                let mut pair = Vec::new();
                encode_run(known, &payload[..payload.len().min(40)], &mut pair);
                let _ = page.apply(op, &pair);
                let _ = page.apply(op, known);
            }
        }
        true
    }
    QuickCheck::new().tests(4000).quickcheck(property as fn(u8, Vec<u8>, Vec<(u16, u8)>, bool) -> bool);
}
