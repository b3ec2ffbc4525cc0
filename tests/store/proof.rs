//! Proof in the store: messages that left with a signed return path, and the reports that come back.

use crate::stage::*;
use data_encoding::BASE64;
use nixie::engine::decide::{self, Known, Policy, Record};
use nixie::engine::return_path::{ReturnPaths, Signing, Style};
use nixie::engine::token::{Keyring, Sealing};
use nixie::engine::trust::{self, DoubtKind, Mark, Named, Signed, Trust, sealed_key};
use nixie::mail::address::Address;
use nixie::mail::event::Event;
use nixie::store::Store;
use nixie::store::contract::{Batch, Committed, SentTo};
use nixie::store::retention::Keepsake;
use std::sync::LazyLock;

static SIGNING: LazyLock<Signing> = LazyLock::new(|| Signing {
    keyring: Keyring::parse(&format!("1 {}", BASE64.encode(&[1; 32])).into()).unwrap(),
    paths: ReturnPaths {
        local: "b".into(),
        delimiter: '+',
        domain: "bounces.example.org".into(),
        style: Style::Replace,
        lifetime: 14,
    },
});

/// A message that leaves with a signed return path: what is remembered of it, and that path.
fn sent(name: &str, to: &[&str], second: i64) -> (Signed, String) {
    let recipients: Vec<Address> = to.iter().map(|to| Address::parse(to).unwrap()).collect();
    let mut message = [0; 6];
    message[..name.len()].copy_from_slice(name.as_bytes());
    let one = match recipients.as_slice() {
        [one] => Some(sealed_key(one)),
        _ => None,
    };
    let mail = Sealing {
        message,
        recipient: one.as_ref(),
        stream: None,
    };
    let text = SIGNING.keyring.seal(&mail, at(second));
    let identity = SIGNING.keyring.open(&text, 14, at(second)).unwrap().identity();
    let named = Named {
        identity: Some(&identity),
        envelope_id: Some(name),
        ..Named::default()
    };
    let marks: Vec<Mark> = recipients
        .iter()
        .flat_map(|recipient| trust::marks(&named, recipient))
        .collect();
    let signed = Signed {
        identity,
        mailed: recipients.iter().map(sealed_key).collect(),
        sender: "news@app.example.org".into(),
        at: at(second),
        marks,
    };
    (signed, SIGNING.paths.path("news@app.example.org", &text))
}

/// A bounce that came back to a return path, with what it brings along.
fn bounced(name: &str, about: &str, second: i64, change: impl FnOnce(&mut Event)) -> Record {
    let telling = telling(name, about, second).reported(false).with(|event| {
        (event.queue_id, event.message_id) = (None, None);
        change(event);
    });
    let mut record = telling.record();
    let (claim, marks) = trust::claim(&record.event, Some(&SIGNING), None, at(second));
    record.claim = claim;
    record.correlations.extend(marks);
    record
}

fn to(path: &str) -> impl FnOnce(&mut Event) {
    let path = path.to_owned();
    move |event| event.return_path = Some(path)
}

fn leaving(signed: Signed) -> Batch {
    Batch {
        signed: vec![signed],
        ..Batch::default()
    }
}

fn reports(records: impl IntoIterator<Item = Record>) -> Batch {
    Batch {
        records: records.into_iter().collect(),
        ..Batch::default()
    }
}

fn who(committed: &Committed) -> Vec<String> {
    let subjects = committed.suppressed.iter();
    subjects.map(|entry| entry.entry.subject.to_string()).collect()
}

async fn kept(store: &Store, address: &str) -> (Trust, String) {
    let event = store.events_of(&key(address), 1).await.unwrap().remove(0);
    (event.trust, event.proof.unwrap())
}

/// However often a message is handed in, it is remembered once; and only until it is let go of.
pub async fn signed_messages_are_remembered_for_a_time(stage: Stage) {
    let store = stage.open().await;
    let (signed, _) = sent("m1", &["bob@x.example", "ann@x.example"], 0);
    let (later, _) = sent("m2", &["ann@x.example"], 1_000_000);
    for _ in 0..2 {
        commit(&store, &leaving(signed.clone())).await;
        commit(&store, &leaving(later.clone())).await;
    }
    let of = async |signed: &Signed| store.signed(&signed.identity).await.unwrap();
    let expected = ["ann@x.example", "bob@x.example"].map(|mailed| SentTo {
        mailed: key(mailed),
        sender: "news@app.example.org".into(),
    });
    assert_eq!(of(&signed).await, expected);
    assert_eq!(of(&later).await, expected[..1]);
    assert_eq!(store.signed(&[9; 16]).await.unwrap(), []);
    let mut from = None;
    let mut gone = 0;
    loop {
        let swept = store
            .sweep(Keepsake::Signed, at(500), from.as_deref(), 2)
            .await
            .unwrap();
        gone += swept.gone;
        from = swept.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(gone, 2);
    assert_eq!(
        (of(&signed).await, of(&later).await),
        (vec![], expected[..1].to_vec())
    );
}

pub async fn a_token_proves_its_own_recipient(stage: Stage) {
    let store = stage.open().await;
    let (signed, path) = sent("m1", &["ann@x.example"], 0);
    commit(&store, &leaving(signed)).await;
    let committed = commit(
        &store,
        &reports([
            bounced("ann", "Ann@X.example", 60, to(&path)),
            bounced("bob", "bob@x.example", 60, to(&path)),
            bounced("eve", "eve@x.example", 60, to("b@bounces.example.org")),
        ]),
    )
    .await;
    assert_eq!(who(&committed), ["ann@x.example"]);
    let proof = "token of 2023-11-14, key 1".to_owned();
    assert_eq!(kept(&store, "ann@x.example").await, (Trust::Signed, proof));
    let (trust, doubt) = kept(&store, "bob@x.example").await;
    assert_eq!(trust, Trust::Unverified);
    assert_eq!(doubt, "token: of another recipient; no message of ours");
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.trust, [(Trust::Signed, 1), (Trust::Unverified, 2)]);
    assert_eq!(
        totals.doubts,
        [
            (DoubtKind::NoToken, 1),
            (DoubtKind::OtherRecipient, 1),
            (DoubtKind::NoMark, 2)
        ]
    );
}

/// A token of a message to several proves nothing about somebody to whom it did not go, however many are named.
pub async fn a_token_of_several_proves_whom_it_went_to(stage: Stage) {
    let store = stage.open().await;
    let (signed, path) = sent("m1", &["ann@x.example", "bob@x.example"], 0);
    commit(&store, &leaving(signed)).await;
    let named = (0..500).map(|n| bounced(&format!("n{n}"), &format!("n{n}@x.example"), 60, to(&path)));
    let real = bounced("bob", "bob@x.example", 60, to(&path));
    let committed = commit(&store, &reports(named.chain([real]))).await;
    assert_eq!(who(&committed), ["bob@x.example"]);
    assert_eq!(kept(&store, "n7@x.example").await.0, Trust::Unverified);
}

/// What contradicts itself is not proved by the message that leaves later; what only lacks a mark is.
pub async fn only_what_may_be_true_waits_for_proof(stage: Stage) {
    let store = stage.open().await;
    let (_, others) = sent("m1", &["eve@x.example"], 0);
    let late = |name: &str| {
        let name = name.to_owned();
        move |event: &mut Event| event.envelope_id = Some(name)
    };
    let waits = bounced("ann", "ann@x.example", 60, late("m2"));
    let forged = bounced("bob", "bob@x.example", 60, |event| {
        late("m3")(event);
        to(&others)(event);
    });
    assert_eq!(who(&commit(&store, &reports([waits, forged])).await), [""; 0]);
    let (ann, _) = sent("m2", &["ann@x.example"], 30);
    let (bob, _) = sent("m3", &["bob@x.example"], 30);
    let leaving = Batch {
        signed: vec![ann, bob],
        ..Batch::default()
    };
    assert_eq!(who(&commit(&store, &leaving).await), ["ann@x.example"]);
    let proof = "envelope-id seen later".to_owned();
    assert_eq!(kept(&store, "ann@x.example").await, (Trust::Correlated, proof));
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.trust, [(Trust::Correlated, 1), (Trust::Unverified, 1)]);
}

/// The operator's table holds for what is proved at once, and for what is proved later.
pub async fn evidence_does_what_its_trust_may(stage: Stage) {
    let store = stage.open().await;
    let mut policy = Policy { ..POLICY.clone() };
    policy.forces.set("correlated", "every", "strike").unwrap();
    policy.forces.set("signed", "user_unknown", "keep").unwrap();
    let commit = async |batch: &Batch| {
        let decide = |known: &Known| {
            let now = at(200);
            decide::decide(&batch.records, known, &policy, &|_| None, &|_| None, now)
        };
        store.commit(batch, decide).await.unwrap()
    };
    let (signed, path) = sent("m1", &["ann@x.example"], 0);
    commit(&leaving(signed)).await;
    let by_id = |name: &'static str| move |event: &mut Event| event.envelope_id = Some(name.into());
    let (at_once, _) = sent("m2", &["bob@x.example"], 0);
    let (later, _) = sent("m3", &["cid@x.example"], 0);
    commit(&leaving(at_once)).await;
    let batch = reports([
        bounced("ann", "ann@x.example", 60, to(&path)),
        bounced("bob", "bob@x.example", 60, by_id("m2")),
        bounced("cid", "cid@x.example", 60, by_id("m3")),
    ]);
    assert_eq!(who(&commit(&batch).await), [""; 0]);
    assert_eq!(who(&commit(&leaving(later)).await), [""; 0]);
    for (address, trust, strikes) in [
        ("ann@x.example", Trust::Signed, 0),
        ("bob@x.example", Trust::Correlated, 1),
        ("cid@x.example", Trust::Correlated, 1),
    ] {
        assert_eq!(kept(&store, address).await.0, trust, "{address}");
        let found = store.strikes(&key(address).into()).await.unwrap();
        assert_eq!(found.len(), strikes, "{address}");
    }
}

/// Nothing waits longer than marks are kept.
pub async fn what_waits_for_proof_is_let_go_of(stage: Stage) {
    let store = stage.open().await;
    for (name, second) in [("m1", 0), ("m2", 1_000)] {
        let address = format!("{name}@x.example");
        let report = bounced(name, &address, second, |event| {
            event.envelope_id = Some(name.into())
        });
        commit(&store, &reports([report])).await;
    }
    let swept = store.sweep(Keepsake::Unproven, at(500), None, 100).await.unwrap();
    assert_eq!((swept.gone, swept.next), (1, None));
    for (name, expected) in [("m1", vec![]), ("m2", vec!["m2@x.example".to_owned()])] {
        let (left, _) = sent(name, &[&format!("{name}@x.example")], 0);
        assert_eq!(who(&commit(&store, &leaving(left)).await), expected);
    }
}
