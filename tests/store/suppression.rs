//! Suppressions and the change feed.

use crate::stage::*;
use nixie::engine::decide::{Decision, Known};
use nixie::engine::suppression::{NewSuppression, Standing, Subject, SuppressionId};
use nixie::engine::verdict::Cause;
use nixie::mail::address::AddressKey;
use nixie::store::contract::{Batch, ChangeKind, Filter};

pub async fn suppressions_are_written_once(stage: Stage) {
    let store = stage.open().await;
    let committed = commit(
        &store,
        &batch([
            telling("a", "dead@example.org", 0),
            telling("b", "Dead@Example.org", 60),
        ]),
    )
    .await;
    let [written] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    assert_eq!(written.entry.since, at(0));
    assert_eq!(written.entry.author, "rule status.5.1.1");
    assert_eq!(written.entry.reason, "550 5.1.1 no such user");
    let by_address = store.suppression(&about("dead@example.org")).await.unwrap();
    assert_eq!(by_address.as_ref(), Some(written));
    assert_eq!(store.suppression_by_id(written.id).await.unwrap(), by_address);

    let later = commit(&store, &batch([telling("c", "dead@example.org", 120)])).await;
    assert!(later.suppressed.is_empty());
    // a decision that does not know better changes nothing either
    let stubborn = |_: &Known| Decision {
        suppress: vec![entry("dead@example.org", Cause::Complaint)],
        ..Decision::default()
    };
    let again = store.commit(&Batch::default(), stubborn).await.unwrap();
    assert!(again.suppressed.is_empty());
    assert_eq!(
        store.suppression(&about("dead@example.org")).await.unwrap(),
        by_address
    );

    let changes = suppression_changes(&store, 0).await;
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].sequence, changes[0].author.as_str()),
        (1, "rule status.5.1.1")
    );
    assert_eq!(
        changes[0].kind,
        ChangeKind::Suppressed {
            id: written.id,
            subject: about("dead@example.org"),
            cause: Cause::UserUnknown,
            since: at(0),
            expires: None,
            standing: Standing::InForce,
        }
    );
}

pub async fn an_expired_suppression_is_replaced(stage: Stage) {
    let store = stage.open().await;
    let expiring = NewSuppression {
        expires: Some(at(100)),
        ..entry("dead@example.org", Cause::MailboxDisabled)
    };
    store.add(std::slice::from_ref(&expiring), at(0)).await.unwrap();
    let old = store
        .suppression(&about("dead@example.org"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(old.entry, expiring);
    assert_eq!(store.add(&[expiring], at(99)).await.unwrap().kept, 1);

    let committed = commit(&store, &batch([telling("a", "dead@example.org", 200)])).await;
    let [new] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    assert!(new.id > old.id, "a number is never given twice");
    assert_eq!(new.entry.cause, Cause::UserUnknown);
    assert_eq!(store.suppression_by_id(old.id).await.unwrap(), None);
    assert_eq!(
        store.totals().await.unwrap().suppressions,
        [(Cause::UserUnknown, 1)]
    );
    assert_eq!(suppression_changes(&store, 0).await.len(), 2);
}

pub async fn adding_keeps_what_is_there(stage: Stage) {
    let store = stage.open().await;
    store
        .add(&[entry("user7@example.org", Cause::Complaint)], at(0))
        .await
        .unwrap();
    let many: Vec<_> = (0..10_050)
        .map(|n| entry(&format!("user{n}@example.org"), Cause::UserUnknown))
        .chain([entry("user8@example.org", Cause::MailboxFull)])
        .collect();
    let added = store.add(&many, at(1)).await.unwrap();
    assert_eq!((added.added, added.kept), (10_049, 2));
    let again = store.add(&many, at(2)).await.unwrap();
    assert_eq!((again.added, again.kept), (0, 10_051));
    let cause = async |address| {
        store
            .suppression(&about(address))
            .await
            .unwrap()
            .unwrap()
            .entry
            .cause
    };
    assert_eq!(cause("user7@example.org").await, Cause::Complaint);
    assert_eq!(cause("user8@example.org").await, Cause::UserUnknown);
    // The many are one change, which names their numbers.
    let changes = store.changes_since(0, 10).await.unwrap();
    let [one, many] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    let ChangeKind::Bulk { first, last } = many.kind else {
        panic!("{many:?}")
    };
    assert_eq!((one.sequence, many.sequence), (1, 2));
    assert_eq!(
        (many.author.as_str(), many.reason.as_str()),
        ("cli alice", "said so")
    );
    let mut count = 0;
    let before = Some(SuppressionId(first.0 - 1));
    let read = store.load(before, Some(last), |_| count += 1).await.unwrap();
    assert_eq!((count, read), (10_049, Some(last)));
    assert_eq!(store.load(read, Some(last), |_| ()).await.unwrap(), None);
    let totals = store.totals().await.unwrap();
    assert_eq!(
        totals.suppressions,
        [(Cause::Complaint, 1), (Cause::UserUnknown, 10_049)]
    );
    assert_eq!(store.add(&[], at(3)).await.unwrap().added, 0);
}

/// What a page of many shows is what a list shows, whatever the text; and what has expired is replaced among many.
pub async fn many_replace_what_has_expired(stage: Stage) {
    let store = stage.open().await;
    let hour = jiff::Timestamp::from_second(1_700_002_800).unwrap();
    let expiring = |name: &str| NewSuppression {
        expires: Some(hour),
        standing: Standing::Quarantined,
        ..entry(name, Cause::MailboxFull)
    };
    let odd = Subject::address(AddressKey::from_stored("o\\d\td@example.org"));
    let odd = NewSuppression::new(odd, Cause::Complaint, at(0));
    let few = [
        expiring("user1@example.org"),
        expiring("user2000@example.org"),
        odd,
    ];
    store.add(&few, at(0)).await.unwrap();
    let mut many: Vec<_> = (0..1_500)
        .map(|n| entry(&format!("user{n}@example.org"), Cause::UserUnknown))
        .collect();
    many[3].subject = Subject::domain("example.com").in_stream(Some("news"));
    many[4].subject = Subject::pattern("*@*.example.net");
    let early = store.add(&many, at(0)).await.unwrap();
    assert_eq!((early.added, early.kept), (1_499, 1));
    let late = store.add(&many, hour).await.unwrap();
    assert_eq!((late.added, late.kept), (1, 1_499));
    let totals = store.totals().await.unwrap().suppressions;
    let expected = [
        (Cause::Complaint, 1),
        (Cause::MailboxFull, 1),
        (Cause::UserUnknown, 1_500),
    ];
    assert_eq!(totals, expected);

    let (mut shown, mut reached) = (Vec::new(), None);
    loop {
        reached = store
            .load(reached, None, |e| {
                shown.push((e.id, e.subject.to_owned(), e.cause, e.standing, e.expires));
            })
            .await
            .unwrap();
        if reached.is_none() {
            break;
        }
    }
    let filter = Filter {
        limit: 10_000,
        ..Filter::default()
    };
    let listed = store.suppressions(&filter).await.unwrap();
    let listed: Vec<_> = listed
        .into_iter()
        .map(|s| {
            (
                s.id,
                s.entry.subject.to_string(),
                s.entry.cause,
                s.entry.standing,
                s.entry.expires,
            )
        })
        .collect();
    assert_eq!(shown.len(), 1_502);
    assert_eq!(shown, listed);
    let subjects = [
        Subject::pattern("*@*.example.net"),
        about("user1@example.org"),
        about("nobody@example.org"),
    ];
    let mut found: Vec<_> = store.suppressions_of(&subjects).await.unwrap();
    found.sort_by_key(|s| s.id);
    let found: Vec<_> = found.into_iter().map(|s| s.entry.subject).collect();
    assert_eq!(found, subjects[..2]);
}

pub async fn lists_are_filtered_and_paged(stage: Stage) {
    let store = stage.open().await;
    let late = NewSuppression {
        since: at(500),
        ..entry("c@other_domain.example", Cause::MailboxFull)
    };
    let entries = [
        entry("a@example.org", Cause::UserUnknown),
        entry("b@sub.example.org", Cause::UserUnknown),
        late,
        entry("d@otherxdomain.example", Cause::UserUnknown),
    ];
    store.add(&entries, at(0)).await.unwrap();
    let list = async |filter: Filter| -> Vec<String> {
        let found = store.suppressions(&filter).await.unwrap();
        found.iter().map(|s| s.entry.subject.to_string()).collect()
    };
    assert_eq!(list(Filter::default()).await.len(), 4);
    let domain = |domain: &str| Filter {
        domain: Some(domain.into()),
        ..Filter::default()
    };
    assert_eq!(list(domain("Example.ORG.")).await, ["a@example.org"]);
    assert_eq!(
        list(domain("other_domain.example")).await,
        ["c@other_domain.example"]
    );
    assert!(list(domain("%")).await.is_empty());
    let full = Filter {
        cause: Some(Cause::MailboxFull),
        ..Filter::default()
    };
    assert_eq!(list(full).await, ["c@other_domain.example"]);
    let since = Filter {
        since: Some(at(500)),
        ..Filter::default()
    };
    assert_eq!(list(since).await.len(), 1);
    let page = Filter {
        limit: 3,
        ..Filter::default()
    };
    let first = store.suppressions(&page).await.unwrap();
    let next = Filter {
        after: first.last().map(|s| s.id),
        ..page
    };
    assert_eq!(
        (first.len(), store.suppressions(&next).await.unwrap().len()),
        (3, 1)
    );
}

pub async fn removing_leaves_its_trace(stage: Stage) {
    let store = stage.open().await;
    store
        .add(&[entry("dead@example.org", Cause::UserUnknown)], at(0))
        .await
        .unwrap();
    let address = about("dead@example.org");
    let removed = store
        .remove(&address, "cli bob", "he is back", at(5))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.suppression(&address).await.unwrap(), None);
    assert_eq!(
        store.remove(&address, "cli bob", "again", at(6)).await.unwrap(),
        None
    );
    let changes = store.changes_since(1, 10).await.unwrap();
    let [lifted] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!((lifted.sequence, lifted.at), (2, at(5)));
    assert_eq!(
        (lifted.author.as_str(), lifted.reason.as_str()),
        ("cli bob", "he is back")
    );
    assert_eq!(
        lifted.kind,
        ChangeKind::Lifted {
            id: removed.id,
            subject: address.clone()
        }
    );
    assert!(store.totals().await.unwrap().suppressions.is_empty());
    // and may be suppressed anew
    let committed = commit(&store, &batch([telling("a", "dead@example.org", 10)])).await;
    assert_eq!(committed.suppressed.len(), 1);
}
