//! Operations: what is done to many entries at once is done together, told, and taken back exactly.

use crate::stage::*;
use nixie::engine::suppression::{NewSuppression, Standing, Subject, full_hour};
use nixie::engine::verdict::Cause;
use nixie::mail::event::EventId;
use nixie::store::Store;
use nixie::store::contract::{By, ChangeKind, Filter, OperationId};

const BY: By<'_> = By {
    author: "cli alice",
    reason: "an outage",
};

/// Everything but the numbers.
async fn entries(store: &Store) -> Vec<NewSuppression> {
    let mut all: Vec<NewSuppression> = store
        .suppressions(&Filter::default())
        .await
        .unwrap()
        .into_iter()
        .map(|suppression| suppression.entry)
        .collect();
    all.sort_by_key(|entry| entry.subject.clone());
    all
}

/// Entries of every make.
fn varied() -> Vec<NewSuppression> {
    let make = |address: &str, cause| NewSuppression {
        author: "rule google.user-unknown".into(),
        provider: Some("google".into()),
        event: Some(EventId::new(at(1), &[address.as_bytes()])),
        ..entry(address, cause)
    };
    vec![
        make("a@example.org", Cause::UserUnknown),
        NewSuppression {
            expires: Some(full_hour(at(90 * 86_400))),
            term: 3,
            standing: Standing::Quarantined,
            ..make("b@example.org", Cause::MailboxFull)
        },
        NewSuppression {
            subject: Subject::domain("example.net").in_stream(Some("news")),
            ..make("c@example.net", Cause::Complaint)
        },
        NewSuppression::new(Subject::pattern("*@*.example.com"), Cause::Unsubscribed, at(2)),
    ]
}

pub async fn an_operation_is_taken_back_exactly(stage: Stage) {
    let store = stage.open().await;
    store.add(&varied(), at(10)).await.unwrap();
    let before = entries(&store).await;
    let totals = store.totals().await.unwrap().suppressions;
    let all = store.suppressions(&Filter::default()).await.unwrap();
    let ids: Vec<_> = all.iter().map(|suppression| suppression.id).collect();

    let undo = store.begin_operation(BY, "undo", at(20)).await.unwrap();
    let done = store.revise(undo, BY, &ids, &[], at(20)).await.unwrap();
    assert_eq!((done.lifted, done.added), (4, 0));
    assert!(entries(&store).await.is_empty());
    assert!(store.totals().await.unwrap().suppressions.is_empty());
    // none is lifted twice
    assert_eq!(store.revise(undo, BY, &ids, &[], at(21)).await.unwrap().lifted, 0);

    // One of them is suppressed anew meanwhile, and keeps what it has.
    let anew = entry("a@example.org", Cause::Complaint);
    store.add(std::slice::from_ref(&anew), at(25)).await.unwrap();
    let lifted = store.lifted_by(undo, 0, 100).await.unwrap();
    let was: Vec<NewSuppression> = lifted.into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(was.len(), 4);
    let redo = store
        .begin_operation(BY, "undo of the undo", at(30))
        .await
        .unwrap();
    let done = store.revise(redo, BY, &[], &was, at(30)).await.unwrap();
    assert_eq!((done.added, done.kept), (3, 1));
    let mut expected = before.clone();
    expected[0] = anew;
    assert_eq!(expected[0].subject, before[0].subject);
    assert_eq!(entries(&store).await, expected);

    // And that is taken back by what carries its number.
    let filter = Filter {
        operation: Some(redo),
        ..Filter::default()
    };
    let written = store.suppressions(&filter).await.unwrap();
    assert_eq!(written.len(), 3);
    let ids: Vec<_> = written.iter().map(|suppression| suppression.id).collect();
    let back = store.begin_operation(BY, "again", at(40)).await.unwrap();
    store.revise(back, BY, &ids, &was, at(40)).await.unwrap();
    assert_eq!(
        entries(&store).await,
        expected,
        "lifted and written again at once"
    );
    assert_eq!(totals.len(), 4);
    assert_eq!(store.totals().await.unwrap().suppressions.len(), 3);
}

pub async fn an_operation_is_told(stage: Stage) {
    let store = stage.open().await;
    let first = store.begin_operation(BY, "import x.csv", at(5)).await.unwrap();
    let written = NewSuppression {
        operation: Some(first.0),
        ..entry("a@example.org", Cause::UserUnknown)
    };
    store.add(std::slice::from_ref(&written), at(5)).await.unwrap();
    let subject: Subject = key("a@example.org").into();
    let id = store.suppression(&subject).await.unwrap().unwrap().id;
    let second = store.begin_operation(BY, "undo", at(6)).await.unwrap();
    store.revise(second, BY, &[id], &[], at(6)).await.unwrap();

    let known = store.operation(first).await.unwrap().unwrap();
    assert_eq!(
        (known.what.as_str(), known.author.as_str(), known.at),
        ("import x.csv", "cli alice", at(5))
    );
    assert_eq!(store.operation(OperationId(99)).await.unwrap(), None);
    let latest = store.operations(10).await.unwrap();
    assert_eq!(
        latest.iter().map(|operation| operation.id).collect::<Vec<_>>(),
        [second, first]
    );

    let history = store.story(std::slice::from_ref(&subject), 10).await.unwrap();
    assert!(history.entries.is_empty());
    let (lifted, operation) = history.changes.last().unwrap();
    assert_eq!((lifted.reason.as_str(), *operation), ("an outage", Some(second)));
    assert_eq!(
        lifted.kind,
        ChangeKind::Lifted {
            id,
            subject: subject.clone()
        }
    );
    let in_feed = suppression_changes(&store, 0).await;
    assert_eq!(in_feed.last().map(|change| &change.kind), Some(&lifted.kind));
    assert_eq!(
        store
            .story(std::slice::from_ref(&subject), 1)
            .await
            .unwrap()
            .changes
            .len(),
        1,
        "the latest only"
    );
}

pub async fn a_large_operation_is_one_transaction(stage: Stage) {
    let store = stage.open().await;
    let many: Vec<_> = (0..25_000)
        .map(|n| entry(&format!("user{n}@example.org"), Cause::UserUnknown))
        .collect();
    let write = store.begin_operation(BY, "replay", at(1)).await.unwrap();
    let place = store.feed_position().await.unwrap();
    let done = store.revise(write, BY, &[], &many, at(1)).await.unwrap();
    assert_eq!(done.added, 25_000);
    assert_eq!(store.feed_position().await.unwrap(), place + 25_000);
    let mut filter = Filter {
        operation: Some(write),
        limit: 10_000,
        ..Filter::default()
    };
    let mut ids = Vec::new();
    loop {
        let page = store.suppressions(&filter).await.unwrap();
        filter.after = page.last().map(|suppression| suppression.id);
        if page.is_empty() {
            break;
        }
        ids.extend(page.iter().map(|suppression| suppression.id));
    }
    assert_eq!(ids.len(), 25_000);
    let lift = store.begin_operation(BY, "undo", at(2)).await.unwrap();
    assert_eq!(
        store.revise(lift, BY, &ids, &[], at(2)).await.unwrap().lifted,
        25_000
    );
    assert_eq!(suppression_changes(&store, place).await.len(), 50_000);
}

pub async fn lists_are_filtered_by_source_stream_and_standing(stage: Stage) {
    let store = stage.open().await;
    store.add(&varied(), at(10)).await.unwrap();
    let list = async |filter: Filter| -> Vec<String> {
        let found = store.suppressions(&filter).await.unwrap();
        found.iter().map(|s| s.entry.subject.to_string()).collect()
    };
    let source = |source: &str| Filter {
        source: Some(source.into()),
        ..Filter::default()
    };
    assert_eq!(list(source("rule")).await.len(), 3);
    assert_eq!(list(source("rule google.user-unknown")).await.len(), 3);
    assert!(list(source("rule google")).await.is_empty());
    let provider = Filter {
        provider: Some("google".into()),
        until: Some(at(1)),
        ..Filter::default()
    };
    assert_eq!(list(provider).await.len(), 3);
    let stream = Filter {
        stream: Some("news".into()),
        ..Filter::default()
    };
    assert_eq!(list(stream).await, ["@example.net news"]);
    let waiting = Filter {
        standing: Some(Standing::Quarantined),
        ..Filter::default()
    };
    assert_eq!(list(waiting).await, ["b@example.org"]);
    let domain = Filter {
        domain: Some("example.net".into()),
        ..Filter::default()
    };
    assert_eq!(list(domain).await, ["@example.net news"]);
    let patterns = store.patterns().await.unwrap();
    assert_eq!(patterns.len(), 1);
}

pub async fn the_schema_tells_its_steps(stage: Stage) {
    let store = Store::connect_lazy(&stage.url).await.unwrap();
    let steps = store.schema().await.unwrap();
    assert!(
        steps.len() >= 4 && steps.iter().all(|step| step.known && !step.applied),
        "{steps:?}"
    );
    store.migrate().await.unwrap();
    let steps = store.schema().await.unwrap();
    assert!(steps.iter().all(|step| step.known && step.applied), "{steps:?}");
    assert_eq!(steps[0].version, 1);
}
