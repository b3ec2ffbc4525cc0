//! The list against its documented order and a plain map.

use super::super::Memory;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_699_999_200 + second).unwrap()
}

fn key(text: &str) -> AddressKey {
    AddressKey::from_stored(text)
}

fn about(text: &str) -> Subject {
    Subject::address(key(text))
}

fn entry(id: i64) -> Entry {
    Entry {
        id: SuppressionId(id),
        cause: Cause::UserUnknown,
        since: at(0),
        expires: None,
        standing: Standing::InForce,
    }
}

fn found(memory: &Memory, address: &str, stream: Option<&str>, second: i64) -> Option<Found> {
    let key = key(address);
    let question = Question {
        key: &key,
        clear: address,
        domain: key.domain(),
        stream,
    };
    memory.suppressed(&question, at(second))
}

fn id(found: Option<Found>) -> Option<i64> {
    found.map(|found| found.detail.map_or(0, |detail| detail.id.0))
}

#[test]
fn a_suppression_holds_until_it_expires_or_is_lifted() {
    let memory = Memory::new();
    memory.suppress(&about("a@x"), &entry(1));
    let expiring = Entry {
        expires: Some(at(3600)),
        ..entry(2)
    };
    memory.suppress(&about("b@x"), &expiring);
    let whole = Found {
        cause: Cause::UserUnknown,
        standing: Standing::InForce,
        expires: Some(at(3600)),
        detail: Some(Detail {
            id: SuppressionId(2),
            since: at(0),
        }),
    };
    assert_eq!(id(found(&memory, "a@x", None, 99_999)), Some(1));
    assert_eq!(found(&memory, "b@x", None, 3599), Some(whole));
    assert_eq!(found(&memory, "b@x", None, 3600), None);
    assert_eq!(found(&memory, "c@x", None, 0), None);
    assert!(memory.lift(&about("a@x"), SuppressionId(1)));
    assert_eq!(found(&memory, "a@x", None, 0), None);
    assert_eq!(memory.size().suppressions, 1);
}

#[test]
fn a_late_lift_leaves_the_newer_entry() {
    let memory = Memory::new();
    memory.suppress(&about("a@x"), &entry(1));
    memory.suppress(&about("a@x"), &entry(7));
    assert!(!memory.lift(&about("a@x"), SuppressionId(1)));
    assert_eq!(id(found(&memory, "a@x", None, 0)), Some(7));
    assert_eq!(memory.size().suppressions, 1);
}

/// Every kind of entry for one address, taken away in the documented order: each time the next one answers.
#[test]
fn the_order_of_a_look_up_is_the_documented_one() {
    let memory = Memory::new();
    let order = [
        about("a@b.test"),
        about("a@b.test").in_stream(Some("news")),
        Subject::domain("b.test"),
        Subject::domain("b.test").in_stream(Some("news")),
        Subject::pattern("*@*.test"),
        Subject::pattern("a@*").in_stream(Some("news")),
    ];
    for (n, subject) in (1..).zip(&order) {
        memory.suppress(subject, &entry(n));
    }
    for (n, subject) in (1..).zip(&order) {
        assert_eq!(
            id(found(&memory, "a@b.test", Some("news"), 0)),
            Some(n),
            "{subject}"
        );
        assert!(memory.lift(subject, SuppressionId(n)));
    }
    assert_eq!(found(&memory, "a@b.test", Some("news"), 0), None);
    assert_eq!(memory.size().suppressions, 0);
}

#[test]
fn an_entry_of_one_stream_or_domain_is_none_of_the_others() {
    let memory = Memory::new();
    memory.suppress(&about("a@b.test").in_stream(Some("news")), &entry(1));
    memory.suppress(&Subject::domain("c.test"), &entry(2));
    memory.suppress(&Subject::pattern("*@*.d.test").in_stream(Some("news")), &entry(3));
    let table = [
        ("a@b.test", Some("news"), Some(1)),
        ("a@b.test", Some("default"), None),
        ("a@b.test", None, None),
        ("x@c.test", None, Some(2)),
        ("x@sub.c.test", None, None),
        ("X@Sub.d.test", Some("news"), Some(3)),
        ("x@sub.d.test", None, None),
        ("x@d.test", Some("news"), None),
    ];
    for (address, stream, expected) in table {
        assert_eq!(
            id(found(&memory, address, stream, 0)),
            expected,
            "{address} {stream:?}"
        );
    }
}

#[test]
fn quarantine_answers_only_where_nothing_is_in_force() {
    let memory = Memory::new();
    let waiting = Entry {
        standing: Standing::Quarantined,
        ..entry(1)
    };
    memory.suppress(&about("a@b.test"), &waiting);
    let standing = |memory: &Memory| found(memory, "a@b.test", None, 0).map(|found| found.standing);
    assert_eq!(standing(&memory), Some(Standing::Quarantined));
    memory.suppress(&Subject::domain("b.test"), &entry(2));
    assert_eq!(standing(&memory), Some(Standing::InForce));
    memory.lift(&Subject::domain("b.test"), SuppressionId(2));
    memory.suppress(&about("a@b.test"), &entry(1));
    assert_eq!(standing(&memory), Some(Standing::InForce), "confirmed");
}

#[test]
fn what_changes_while_loading_is_there_afterwards() {
    let memory = Memory::new();
    memory.suppress(&about("gone@x"), &entry(1));
    let loading = memory.load(10, 0);
    let learn = |text: &str, id| {
        loading.learn(text, SuppressionId(id), Cause::Complaint, Standing::InForce, None);
    };
    learn("a@x", 2);
    learn("@y", 3);
    learn("b@x news", 4);
    learn(":*@z", 5);
    memory.suppress(&about("new@x"), &entry(6));
    assert!(memory.lift(&about("gone@x"), SuppressionId(1)));
    assert_eq!(found(&memory, "a@x", None, 0), None);
    loading.finish();
    let cases = ["a@x", "q@y", "b@x", "q@z", "new@x"];
    for address in cases {
        assert!(found(&memory, address, Some("news"), 0).is_some(), "{address}");
    }
    assert_eq!(found(&memory, "gone@x", None, 0), None);
    assert_eq!(found(&memory, "a@x", None, 0).unwrap().detail, None);
    assert_eq!(memory.size().suppressions, 5);

    drop(memory.load(10, 0));
    assert_eq!(memory.size().suppressions, 5, "given up");
    memory.load(0, 0).finish();
    assert_eq!(memory.size().suppressions, 0);
}

/// Who committed tells at once, unless it is late and the feed has been there: then it may have been lifted since.
/// An address, a domain and a pattern that are in every load answer at every moment, also while its parts are taken over.
#[test]
fn what_is_in_every_load_is_never_missed() {
    let memory = Memory::new();
    let lasting = ["a@x.test", "b@domain.test", "c@pattern.test"];
    let load = || {
        let loading = memory.load(100, 0);
        for subject in ["a@x.test", "@domain.test", ":*@pattern.test"] {
            loading.learn(
                subject,
                SuppressionId(1),
                Cause::UserUnknown,
                Standing::InForce,
                None,
            );
        }
        (0..100).for_each(|n| {
            let other = format!("user{n}@y.test");
            loading.learn(
                &other,
                SuppressionId(2),
                Cause::UserUnknown,
                Standing::InForce,
                None,
            );
        });
        loading.finish();
    };
    load();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for address in lasting {
            let (memory, done) = (&memory, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert!(found(memory, address, None, 0).is_some(), "{address}");
                }
            });
        }
        (0..2_000).for_each(|_| load());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(memory.size().suppressions, 103);
}

#[test]
fn a_late_teller_brings_nothing_back() {
    let memory = Memory::new();
    memory.suppress_now(&about("a@x"), &entry(1), 5);
    assert_eq!(id(found(&memory, "a@x", None, 0)), Some(1));
    memory.reach(6);
    memory.suppress(&about("a@x"), &entry(1));
    memory.lift(&about("a@x"), SuppressionId(1));
    memory.suppress_now(&about("a@x"), &entry(1), 5);
    assert_eq!(found(&memory, "a@x", None, 0), None);

    let loading = memory.load(10, 8);
    memory.suppress_now(&about("b@x"), &entry(2), 7);
    memory.suppress_now(&about("c@x"), &entry(3), 9);
    assert!(found(&memory, "b@x", None, 0).is_some());
    assert!(!memory.lift_now(&about("b@x"), SuppressionId(2), 6));
    loading.finish();
    assert_eq!(
        found(&memory, "b@x", None, 0),
        None,
        "what was read did not have it"
    );
    assert!(found(&memory, "c@x", None, 0).is_some());
}

#[test]
fn a_missing_detail_is_asked_for_and_used() {
    let memory = Memory::new();
    let (tell, wanted) = std::sync::mpsc::channel();
    memory.when_wanted(move |subject| tell.send(subject).unwrap());
    memory.learn(
        "a@b.test news",
        SuppressionId(9),
        Cause::Complaint,
        Standing::InForce,
        None,
    );
    let detail = |memory: &Memory| found(memory, "a@b.test", Some("news"), 0).unwrap().detail;
    assert_eq!(detail(&memory), None);
    let subject = wanted.try_recv().unwrap();
    assert_eq!(subject, about("a@b.test").in_stream(Some("news")));
    let known = Detail {
        id: SuppressionId(9),
        since: at(5),
    };
    memory.set_detail(&subject, known);
    assert_eq!(detail(&memory), Some(known));
    assert!(wanted.try_recv().is_err());
    memory.learn(
        "a@b.test news",
        SuppressionId(10),
        Cause::Complaint,
        Standing::InForce,
        None,
    );
    assert_eq!(detail(&memory), None, "of another entry");
}

#[test]
fn parts_hash_as_the_whole() {
    let list = List::new([1, 2]);
    for text in ["a@b.test news", "@example.org marketing", "x y"] {
        let (first, second) = text.split_once(' ').unwrap();
        assert_eq!(list.joined(&[first, " ", second]), list.fingerprint(text));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Suppress(Subject, i64),
    Lift(Subject, i64),
    Learn(Subject, i64),
    Reload,
}

fn subject() -> impl Strategy<Value = Subject> {
    let target = prop_oneof![
        4 => "[a-d]@[xy]".prop_map(|text| about(&text)),
        1 => "[xy]".prop_map(|name| Subject::domain(&name)),
        1 => "[a-d]@\\*".prop_map(|pattern| Subject::pattern(&pattern)),
    ];
    (target, proptest::option::of("[st]")).prop_map(|(target, stream)| target.in_stream(stream.as_deref()))
}

proptest! {
    /// Whatever comes in whatever order, the list answers like a plain map of subjects that is asked in the
    /// documented order, and its digest is that of one filled at once.
    #[test]
    fn the_list_is_a_map(steps in proptest::collection::vec(
        prop_oneof![
            6 => (subject(), 1..5i64).prop_map(|(subject, id)| Step::Suppress(subject, id)),
            4 => (subject(), 1..5i64).prop_map(|(subject, id)| Step::Lift(subject, id)),
            2 => (subject(), 1..5i64).prop_map(|(subject, id)| Step::Learn(subject, id)),
            1 => Just(Step::Reload),
        ],
        0..120,
    )) {
        let memory = Memory::with_key([3, 4]);
        let mut model: BTreeMap<Subject, i64> = BTreeMap::new();
        let learn = |loading: &Loading<'_>, model: &BTreeMap<Subject, i64>| {
            for (subject, &id) in model {
                loading.learn(&subject.to_string(), SuppressionId(id), Cause::UserUnknown, Standing::InForce, None);
            }
        };
        for step in steps {
            match step {
                Step::Suppress(subject, id) => {
                    memory.suppress(&subject, &entry(id));
                    model.insert(subject, id);
                }
                Step::Learn(subject, id) => {
                    memory.learn(&subject.to_string(), SuppressionId(id), Cause::UserUnknown, Standing::InForce, None);
                    model.insert(subject, id);
                }
                Step::Lift(subject, id) => {
                    let was = model.get(&subject) == Some(&id);
                    prop_assert_eq!(memory.lift(&subject, SuppressionId(id)), was);
                    if was {
                        model.remove(&subject);
                    }
                }
                Step::Reload => {
                    let loading = memory.load(model.len(), 0);
                    learn(&loading, &model);
                    loading.finish();
                }
            }
        }
        prop_assert_eq!(memory.size().suppressions, model.len());
        let other = Memory::with_key([3, 4]);
        let loading = other.load(0, 0);
        learn(&loading, &model);
        loading.finish();
        prop_assert_eq!(memory.digest(), other.digest());
        for (local, domain, stream) in ["a", "b", "c", "d"].iter().flat_map(|l| {
            ["x", "y"].iter().flat_map(move |d| [None, Some("s"), Some("t")].map(|s| (l, d, s)))
        }) {
            let address = format!("{local}@{domain}");
            let pattern = Subject::pattern(&format!("{local}@*"));
            let mut subjects = Vec::new();
            for whom in [about(&address), Subject::domain(domain), pattern] {
                subjects.push(whom.clone());
                subjects.extend(stream.map(|stream| whom.in_stream(Some(stream))));
            }
            let expected = subjects.iter().find_map(|subject| model.get(subject)).is_some();
            prop_assert_eq!(found(&memory, &address, stream, 0).is_some(), expected);
        }
    }
}
