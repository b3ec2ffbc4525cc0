//! Every order in which a reader and the writer can meet at the slots, tried by a model checker (loom), which also
//! lets loads see what the memory model of the language allows, and not only what this processor does.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
#[path = "bucket.rs"]
#[expect(clippy::duplicate_mod, reason = "this is what the model is of")]
#[expect(dead_code, reason = "the table uses the rest")]
mod bucket;

use bucket::{ABSENT, Buckets};

const SHARD_BITS: u32 = super::SHARD_BITS;
/// What is there from the beginning, and what comes.
const LASTING: u64 = 7;
const COMING: u64 = 9;

/// Has a reader look up both while the writer does as told, in one bucket.
fn meet(
    write: impl Fn(&Buckets) + Send + Sync + Copy + 'static,
    see: impl Fn(Option<u32>, Option<u32>) + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let buckets = Arc::new(Buckets::with_capacity(1));
        buckets.put(LASTING, 1);
        let reader = {
            let buckets = Arc::clone(&buckets);
            thread::spawn(move || see(buckets.get(LASTING), buckets.get(COMING)))
        };
        write(&buckets);
        reader.join().unwrap();
    });
}

#[test]
fn an_entry_is_found_while_another_comes_beside_it() {
    meet(
        |buckets| {
            buckets.put(COMING, 2);
        },
        |lasting, coming| {
            assert_eq!(lasting, Some(1));
            assert!(
                matches!(coming, None | Some(2)),
                "another's mark, or none: {coming:?}"
            );
        },
    );
}

#[test]
fn a_slot_never_changes_hands() {
    meet(
        |buckets| {
            buckets.put(LASTING, ABSENT);
            buckets.put(COMING, 2);
            buckets.put(LASTING, 3);
        },
        |lasting, coming| {
            assert!(matches!(lasting, Some(1 | ABSENT | 3)), "{lasting:?}");
            assert!(matches!(coming, None | Some(2)), "{coming:?}");
        },
    );
}

/// Buckets with so many entries, none of them in the second, where what comes next has to go if they are five.
fn with_entries(entries: u64) -> Buckets {
    let buckets = Buckets::with_capacity(5);
    for n in 0..entries {
        buckets.put(100 + n, 1);
    }
    buckets
}

#[test]
fn who_was_told_of_an_entry_finds_it() {
    for before in [4, 5] {
        loom::model(move || {
            let buckets = Arc::new(with_entries(before));
            let told = Arc::new(AtomicBool::new(false));
            let reader = {
                let (buckets, told) = (Arc::clone(&buckets), Arc::clone(&told));
                thread::spawn(move || {
                    let told = told.load(Ordering::Acquire);
                    let found = buckets.get(COMING);
                    assert!(
                        found == Some(2) || !told && found.is_none(),
                        "told {told}, found {found:?}"
                    );
                })
            };
            buckets.put(COMING, 2);
            told.store(true, Ordering::Release);
            reader.join().unwrap();
        });
    }
}

#[test]
fn an_entry_beyond_its_full_home_is_found_while_another_goes_there() {
    loom::model(|| {
        let buckets = Arc::new(with_entries(5));
        buckets.put(LASTING, 1);
        let reader = {
            let buckets = Arc::clone(&buckets);
            thread::spawn(move || {
                assert_eq!(buckets.get(LASTING), Some(1));
                assert!(matches!(buckets.get(COMING), None | Some(2)));
            })
        };
        buckets.put(COMING, 2);
        reader.join().unwrap();
    });
}
