//! Hashes instead of addresses, and forgetting.

use crate::stage::*;
use nixie::engine::suppression::Subject;
use nixie::engine::trust::Signed;
use nixie::engine::verdict::Cause;
use nixie::mail::address::Address;
use nixie::store::Store;
use nixie::store::contract::{Batch, By, ChangeKind, Filter, StoreError};

const BY: By<'_> = By {
    author: "cli alice",
    reason: "asked to be forgotten",
};

async fn open(stage: &Stage, mark: Option<[u8; 16]>) -> Result<Store, StoreError> {
    let store = Store::connect_lazy(&stage.url).await?.veiled(mark);
    store.migrate().await.map(|()| store)
}

pub async fn a_store_is_held_to_its_key(stage: Stage) {
    let (one, other) = (Some([1; 16]), Some([2; 16]));
    let store = open(&stage, one).await.unwrap();
    store
        .add(&[entry("a@example.org", Cause::Complaint)], at(0))
        .await
        .unwrap();
    assert!(open(&stage, one).await.is_ok());
    for wrong in [None, other] {
        let error = open(&stage, wrong).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Veil(_)) && !error.is_passing(),
            "{error}"
        );
    }
}

pub async fn a_store_in_clear_stays_in_clear(stage: Stage) {
    let store = open(&stage, None).await.unwrap();
    assert!(open(&stage, None).await.is_ok());
    store
        .add(&[entry("a@example.org", Cause::Complaint)], at(0))
        .await
        .unwrap();
    assert!(matches!(
        open(&stage, Some([1; 16])).await,
        Err(StoreError::Veil(_))
    ));
    assert!(open(&stage, None).await.is_ok());
}

pub async fn who_is_forgotten_leaves_no_trace(stage: Stage) {
    let store = stage.open().await;
    let person = key("person@example.org");
    let told = [
        telling("a", "person@example.org", 0),
        telling("b", "other@example.org", 1),
        telling("c", "list@example.org", 2).with(|event| {
            event.original_recipient = Some(event.recipient.clone());
            event.recipient = Address::parse("person@example.org").unwrap();
        }),
    ];
    let signed = Signed {
        identity: [7; 16],
        mailed: vec![person.clone(), key("other@example.org")],
        sender: "news@sender.example".into(),
        at: at(0),
        marks: Vec::new(),
    };
    let told = Batch {
        signed: vec![signed],
        ..batch(told)
    };
    let told = commit(&store, &told).await;
    assert_eq!(told.suppressed.len(), 3);
    let per_stream = nixie::engine::suppression::NewSuppression {
        subject: Subject::address(person.clone()).in_stream(Some("news")),
        ..entry("person@example.org", Cause::Complaint)
    };
    store.add(&[per_stream], at(3)).await.unwrap();
    let subjects = [
        Subject::address(person.clone()),
        Subject::address(person.clone()).in_stream(Some("news")),
    ];
    let (operation, forgotten) = store.forget(&person, &subjects, false, BY, at(10)).await.unwrap();
    assert_eq!((forgotten.entries, forgotten.events), (2, 1));
    assert_eq!(store.forget_as_target("person@example.org").await.unwrap(), 1);
    assert_eq!(store.forget_signed(&person).await.unwrap(), 1);
    let left = store.signed(&[7; 16]).await.unwrap();
    let left: Vec<&str> = left.iter().map(|sent| sent.mailed.as_str()).collect();
    assert_eq!(left, ["other@example.org"]);
    assert!(store.events_of(&person, 10).await.unwrap().is_empty());
    assert_eq!(
        store
            .events_of(&key("other@example.org"), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    let left = store.suppressions(&Filter::default()).await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(
        store.lifted_by(operation, 0, 10).await.unwrap().is_empty(),
        "nothing puts it back"
    );

    // The nodes must hear of it, and then the feed forgets as well.
    let about = |change: &nixie::store::contract::Change| match &change.kind {
        ChangeKind::Suppressed { subject, .. } | ChangeKind::Lifted { subject, .. } => {
            subjects.contains(subject)
        }
        _ => false,
    };
    let named = suppression_changes(&store, 0)
        .await
        .into_iter()
        .filter(about)
        .count();
    assert_eq!(named, 2, "what lifts them");
    assert_eq!(store.finish_forgetting(at(10 + 1800)).await.unwrap(), 0);
    assert_eq!(store.finish_forgetting(at(10 + 3601)).await.unwrap(), 2);
    assert_eq!(
        suppression_changes(&store, 0)
            .await
            .into_iter()
            .filter(about)
            .count(),
        0
    );
    assert!(
        store.feed().await.unwrap().floor > 0,
        "whoever missed it reads everything anew"
    );
    let again = commit(&store, &batch([telling("a", "person@example.org", 0)])).await;
    assert_eq!(again.fresh, [false], "and the event still counts once");
}

pub async fn a_hash_stays_where_it_is_asked_for(stage: Stage) {
    let store = stage.open().await;
    commit(&store, &batch([telling("a", "person@example.org", 0)])).await;
    let person = key("person@example.org");
    let subject = Subject::address(person.clone());
    let subjects = std::slice::from_ref(&subject);
    let (_, forgotten) = store.forget(&person, subjects, true, BY, at(10)).await.unwrap();
    assert_eq!((forgotten.entries, forgotten.events), (1, 1));
    let left = store.suppression(&subject).await.unwrap().unwrap().entry;
    assert_eq!((left.reason.as_str(), left.event), ("forgotten", None));
}
