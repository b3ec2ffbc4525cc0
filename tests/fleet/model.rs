//! Whatever happens in whatever order, on whichever node: when all is told, every memory is what the store says.

use crate::node::{self, Node};
use crate::stage::{Stage, about, at, batch, decided, entry, postgres_wanted, telling};
use nixie::engine::suppression::{NewSuppression, Standing, Subject};
use nixie::engine::verdict::Cause;
use nixie::serve::feed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::atomic::{AtomicU32, Ordering};

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A mailbox turns out to be dead: a commit as the keeper makes it, memory included.
    Bounce(usize, u8),
    /// Mail to it arrives.
    Deliver(usize, u8),
    /// An operator adds what may be of any kind, and may expire.
    Add(usize, u8, Kind, Option<u8>),
    /// An import of so many that they are one change.
    Import(usize, u8),
    /// An operator lifts one.
    Remove(usize, u8, Kind),
    /// An operator takes back all of one cause.
    Undo(usize),
    /// Hours go by.
    Wait(u8),
    /// A node starts anew.
    Restart(usize),
    /// Old changes are cleared away.
    Prune,
    /// All is told.
    Settle,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Address,
    Stream,
    Domain,
    Pattern,
}

impl Kind {
    fn subject(self, n: u8) -> Subject {
        match self {
            Self::Address => about(&address(n)),
            Self::Stream => about(&address(n)).in_stream(Some("news")),
            Self::Domain => Subject::domain(&format!("d{n}.test")),
            Self::Pattern => Subject::pattern(&format!("*@*.p{n}.test")),
        }
    }
}

fn address(n: u8) -> String {
    format!("user{n}@example.org")
}

fn step() -> impl Strategy<Value = Step> {
    let (node, n) = (0..2usize, 0..12u8);
    let kind = prop_oneof![
        3 => Just(Kind::Address),
        1 => Just(Kind::Stream),
        1 => Just(Kind::Domain),
        1 => Just(Kind::Pattern)
    ];
    let expires = proptest::option::of(1..5u8);
    prop_oneof![
        6 => (node.clone(), n.clone()).prop_map(|(node, n)| Step::Bounce(node, n)),
        2 => (node.clone(), n.clone()).prop_map(|(node, n)| Step::Deliver(node, n)),
        6 => (node.clone(), n.clone(), kind.clone(), expires)
            .prop_map(|(node, n, kind, expires)| Step::Add(node, n, kind, expires)),
        1 => (node.clone(), 0..3u8).prop_map(|(node, n)| Step::Import(node, n)),
        5 => (node.clone(), n, kind).prop_map(|(node, n, kind)| Step::Remove(node, n, kind)),
        1 => node.clone().prop_map(Step::Undo),
        3 => (1..4u8).prop_map(Step::Wait),
        1 => node.prop_map(Step::Restart),
        1 => Just(Step::Prune),
        2 => Just(Step::Settle),
    ]
}

/// Two nodes and a clock.
struct World {
    url: String,
    nodes: [Node; 2],
    hour: i64,
    told: i64,
}

impl World {
    async fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            nodes: [Node::start(url).await, Node::start(url).await],
            hour: 0,
            told: 0,
        }
    }

    fn second(&self) -> i64 {
        // The stage's clock does not begin on a full hour; entries expire on one.
        self.hour * 3600 + 2_400 - (1_700_000_000 % 3600) + self.told
    }

    async fn tell(&mut self, node: usize, n: u8, delivered: bool) {
        self.told += 1;
        let told = telling(&format!("t{}", self.told), &address(n), self.second());
        let batch = batch([if delivered { told.delivered() } else { told }]);
        let node = &self.nodes[node];
        let committed = node.store.commit(&batch, decided(&batch)).await.unwrap();
        for suppression in &committed.suppressed {
            feed::remember(&node.memory, suppression, committed.sequence);
        }
    }

    async fn run(&mut self, step: Step) {
        let now = at(self.second());
        match step {
            Step::Bounce(node, n) => self.tell(node, n, false).await,
            Step::Deliver(node, n) => self.tell(node, n, true).await,
            Step::Add(node, n, kind, hours) => {
                let hour = at(0).as_second() / 3600 + self.hour;
                let expires = hours.map(|hours| (hour + i64::from(hours)) * 3600);
                let entry = NewSuppression {
                    expires: expires.map(|second| jiff::Timestamp::from_second(second).unwrap()),
                    standing: if n % 3 == 0 {
                        Standing::Quarantined
                    } else {
                        Standing::InForce
                    },
                    ..NewSuppression::new(kind.subject(n), Cause::MailboxFull, now)
                };
                self.nodes[node].store.add(&[entry], now).await.unwrap();
            }
            Step::Import(node, n) => {
                let entries: Vec<_> = (0..1_000)
                    .map(|i| entry(&format!("import{n}-{i}@example.org"), Cause::Complaint))
                    .chain((0..6).map(|n| entry(&address(n), Cause::Complaint)))
                    .collect();
                self.nodes[node].store.add(&entries, now).await.unwrap();
            }
            Step::Remove(node, n, kind) => {
                let subject = kind.subject(n);
                drop(
                    self.nodes[node]
                        .store
                        .remove(&subject, "cli", "test", now)
                        .await
                        .unwrap(),
                );
            }
            Step::Undo(node) => {
                let filter = nixie::store::contract::Filter {
                    cause: Some(Cause::UserUnknown),
                    ..Default::default()
                };
                let store = &self.nodes[node].store;
                for found in store.suppressions(&filter).await.unwrap() {
                    drop(
                        store
                            .remove(&found.entry.subject, "cli", "undo", now)
                            .await
                            .unwrap(),
                    );
                }
            }
            Step::Wait(hours) => self.hour += i64::from(hours),
            Step::Restart(node) => self.nodes[node] = Node::start(&self.url).await,
            Step::Prune => drop(self.nodes[0].store.prune_changes(now, 20).await.unwrap()),
            Step::Settle => self.settle().await,
        }
    }

    async fn settle(&self) {
        node::agree(&self.nodes.each_ref()).await;
    }
}

fn check(cases: u32, stage: impl Fn() -> Stage) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&proptest::collection::vec(step(), 1..40), |steps| {
            let stage = stage();
            runtime.block_on(async {
                let mut world = World::new(&stage.url).await;
                for step in steps {
                    world.run(step).await;
                }
                world.settle().await;
            });
            Ok(())
        })
        .unwrap();
}

/// `NIXIE_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("NIXIE_CASES").map_or(8, |n| n.parse().unwrap())
}

#[test]
fn any_interleaving_leaves_memory_equal_to_sqlite() {
    check(cases(), Stage::sqlite);
}

#[test]
fn any_interleaving_leaves_memory_equal_to_postgres() {
    if !postgres_wanted() {
        return;
    }
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    check(cases(), || {
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        Stage::postgres(&format!("model{n}")).unwrap()
    });
}
