//! The `metrics` facade hears of an open store's numbers without anybody asking.

#![cfg(feature = "metrics")]

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Keeps the last value of each counter by name.
#[derive(Default, Clone)]
struct Keep(Arc<Mutex<BTreeMap<String, Arc<Last>>>>);

#[derive(Default)]
struct Last(AtomicU64);

impl CounterFn for Last {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

impl Recorder for Keep {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.lock().unwrap().entry(key.name().to_owned()).or_default().clone())
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_numbers_of_an_open_store_are_published() {
    let keep = Keep::default();
    metrics::set_global_recorder(keep.clone()).expect("the first recorder");
    let dir = tempfile::tempdir().unwrap();
    let store = pagebox::Store::open(dir.path().join("store")).unwrap();
    let tree = store.tree("t").unwrap();
    for n in 0..10u8 {
        tree.insert([n], [n]).unwrap();
    }
    let started = Instant::now();
    loop {
        let writes = keep.0.lock().unwrap().get("pagebox_writes").map_or(0, |last| last.0.load(Ordering::Relaxed));
        if writes == store.stats().writes && writes >= 10 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "nothing was published: {writes}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
