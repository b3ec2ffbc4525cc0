//! One run: the same three rounds of mail, with Nixie or without.

use crate::story::{Story, quote, tell};
use crate::world::{self, Place};
use anyhow::{Context, Result, anyhow};
use nixie_lab::nixie::{self, Nixie};
use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::Tally;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Rounds of the newsletter.
const ROUNDS: usize = 3;
/// A run's longest time; what is not delivered by then is shown as waiting.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest pause between two rounds: the next begins earlier when all is delivered.
const PAUSE: Duration = Duration::from_secs(8);
/// The domain of the return addresses.
const BOUNCES: &str = "bounces.example.org";

/// What came of a run.
pub struct Outcome {
    /// By provider: its name and what it counted.
    pub places: Vec<(&'static str, Tally)>,
    /// Messages handed to Postfix.
    pub submitted: usize,
    /// Of these, refused at RCPT.
    pub refused_at_rcpt: usize,
    /// Taken before and bounced without a connection.
    pub bounced_unsent: usize,
    /// Left in the queue when the run ended.
    pub waiting: usize,
    /// From the first message to the last delivery.
    pub took: Duration,
}

/// What handing mail to Postfix came to.
#[derive(Default)]
struct Handed {
    submitted: usize,
    refused: usize,
}

/// Runs the three rounds.
pub fn run(program: Option<&Path>) -> Result<Outcome> {
    let places = world::build()?;
    let mut setup = Setup::new().backoff("2s", "6s", "1s");
    for place in &places {
        setup = setup.route(place.domain, &place.provider);
    }
    let mut postfix = Postfix::prepare(setup)?;
    let nixie = match program {
        Some(path) => {
            let setup = nixie::Setup::new(path)
                .log(postfix.log().path())
                .holds("5s", "5s");
            let nixie = Nixie::launch(setup)?;
            postfix.hook(nixie.hooks())?;
            Some(nixie)
        }
        None => None,
    };
    postfix.start()?;
    let start = Instant::now();
    let names: HashMap<String, &'static str> = places.iter().map(|p| (p.domain.to_owned(), p.name)).collect();
    let story = Story::new(start, names, nixie.as_ref())?;
    let log = postfix.log().follow(0);
    let (stop, stopped) = mpsc::channel();
    let (story, handed) = std::thread::scope(|scope| {
        let telling = scope.spawn(move || story.follow(log, &stopped));
        let handed = mail(&postfix, &places, start);
        drop(stop);
        let story = telling.join().map_err(|_| anyhow!("the story broke off"));
        (story, handed)
    });
    let handed = handed?;
    Ok(Outcome {
        took: last_delivery(&places).map_or(LIMIT, |at| at.saturating_duration_since(start)),
        waiting: postfix
            .queue()?
            .iter()
            .map(|message| message.recipients.len())
            .sum(),
        places: places.iter().map(|p| (p.name, p.provider.tally())).collect(),
        submitted: handed.submitted,
        refused_at_rcpt: handed.refused,
        bounced_unsent: story??.unsent,
    })
}

/// Hands over the rounds, and waits until all that can be delivered is.
fn mail(postfix: &Postfix, places: &[Place], start: Instant) -> Result<Handed> {
    let mut handed = Handed::default();
    let mut returned = HashSet::new();
    for round in 1..=ROUNDS {
        let people: usize = places.iter().map(|p| p.people.len()).sum();
        let living: usize = places.iter().map(|p| p.living).sum();
        tell(
            start,
            &format!("round {round}: {people} messages, {living} of them to mailboxes with room"),
        );
        hand_over(postfix, places, round, start, &mut handed)?;
        let until = if round == ROUNDS {
            LIMIT.saturating_sub(start.elapsed())
        } else {
            PAUSE
        };
        let deadline = Instant::now() + until;
        for place in places {
            let left = deadline.saturating_duration_since(Instant::now());
            // Not all delivered by then: the next round comes all the same, as newsletters do.
            let _ = place
                .provider
                .wait(left, "the round", |t| place.has_all(t, round));
        }
        if round > 1 {
            bounce_late(postfix, places, start, &mut returned)?;
        }
    }
    let delivered = places.iter().all(|p| p.provider.look(|t| p.has_all(t, ROUNDS)));
    let end = if delivered {
        "every mailbox with room has its mail"
    } else {
        "time is up"
    };
    tell(start, end);
    Ok(handed)
}

fn hand_over(
    postfix: &Postfix,
    places: &[Place],
    round: usize,
    start: Instant,
    handed: &mut Handed,
) -> Result<()> {
    let mut client = postfix.client()?;
    let before = handed.refused;
    let longest = places.iter().map(|p| p.people.len()).max().unwrap_or_default();
    let turns = (0..longest).flat_map(|index| places.iter().filter_map(move |p| p.people.get(index)));
    for recipient in turns {
        let sender = format!("news+{}@{BOUNCES}", recipient.replace('@', "="));
        let content = format!(
            "From: News <news@example.org>\nTo: <{recipient}>\nSubject: News {round}\n\
             Message-ID: <{round}.{}@news.example.org>\n\nNothing much.\n",
            recipient.replace('@', ".at.")
        );
        let submission = client.send(&sender, &[recipient], content.as_bytes())?;
        handed.submitted += 1;
        let reply = submission
            .recipients
            .first()
            .context("expected a reply to RCPT")?;
        if !reply.is_positive() {
            handed.refused += 1;
            if handed.refused == 1 {
                tell(
                    start,
                    &format!("refused at RCPT: <{recipient}>: {}", quote(&reply.to_string())),
                );
            }
        }
    }
    let refused = handed.refused - before;
    if refused > 0 {
        tell(
            start,
            &format!("in round {round}, {refused} recipients were refused before anything was queued"),
        );
    }
    Ok(())
}

/// Providers that take mail and think better of it afterwards send the first round's back now.
fn bounce_late(
    postfix: &Postfix,
    places: &[Place],
    start: Instant,
    returned: &mut HashSet<String>,
) -> Result<()> {
    for place in places {
        for message in place.provider.messages() {
            let late = |r: &&String| r.starts_with("late");
            let first = message.field("Subject").as_deref() == Some("News 1");
            let Some(recipient) = message.recipients.iter().find(late).filter(|_| first) else {
                continue;
            };
            if !returned.insert(message.sender.clone()) {
                continue;
            }
            let bounce = message.bounce(recipient, "5.1.1", "550 5.1.1 no mailbox by that name any more");
            postfix.submit("", &[&message.sender], &bounce)?;
            tell(
                start,
                &format!("{} had taken mail for {recipient} and now returns it", place.name),
            );
        }
    }
    Ok(())
}

fn last_delivery(places: &[Place]) -> Option<Instant> {
    let taken = |p: &Place| {
        p.provider
            .look(|t| t.answers.iter().filter(|a| a.code == 250).map(|a| a.at).max())
    };
    places.iter().filter_map(taken).max()
}
