//! Tells what happens while it happens, from Postfix's log: the first time of each kind.

use anyhow::Result;
use nixie_lab::nixie::Nixie;
use nixie_lab::postfix::Follower;
use nixie_lab::wait;
use regex::Regex;
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The longest quotation, in characters: one line of a terminal.
const QUOTE: usize = 84;
/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Prints one line with the time since the start of the run.
pub fn tell(start: Instant, text: &str) {
    println!("{:6.1} s  {text}", start.elapsed().as_secs_f64());
}

/// Shortens a quotation to a line.
pub fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Follows one run's log.
pub struct Story<'a> {
    start: Instant,
    names: HashMap<String, &'static str>,
    nixie: Option<&'a Nixie>,
    line: Regex,
    told: HashSet<(&'static str, &'static str)>,
    holds: HashMap<&'static str, Hold>,
    /// Bounces that Postfix made on Nixie's word, without a connection.
    pub unsent: usize,
}

/// A lane held back: since when, and whose mail waits.
struct Hold {
    since: Instant,
    waiting: HashSet<String>,
}

/// A delivery line of the log, as far as the story needs it.
struct Delivery<'t> {
    id: &'t str,
    recipient: &'t str,
    connected: bool,
    status: &'t str,
    text: &'t str,
}

impl<'a> Story<'a> {
    /// Begins; `names` maps domains to what people call them.
    pub fn new(
        start: Instant,
        names: HashMap<String, &'static str>,
        nixie: Option<&'a Nixie>,
    ) -> Result<Self> {
        let line = r"\]: (\w+): to=<([^>]*)>,.* relay=([^,]+), .*status=(\w+) \((.*?)\)?$";
        Ok(Self {
            start,
            names,
            nixie,
            line: Regex::new(line)?,
            told: HashSet::new(),
            holds: HashMap::new(),
            unsent: 0,
        })
    }

    /// Reads until `stop` is dropped, then what is left.
    pub fn follow(mut self, mut log: Follower, stop: &Receiver<()>) -> Result<Self> {
        loop {
            let over = stop.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            for line in log.lines()? {
                self.read(&line)?;
            }
            if over {
                return Ok(self);
            }
        }
    }

    fn read(&mut self, line: &str) -> Result<()> {
        let expression = self.line.clone();
        let Some(found) = expression.captures(line) else {
            return Ok(());
        };
        let (_, [id, recipient, relay, status, text]) = found.extract();
        let domain = recipient.rsplit('@').next().unwrap_or_default();
        let Some(&name) = self.names.get(domain) else {
            return Ok(());
        };
        let delivery = Delivery {
            id,
            recipient,
            connected: relay != "none",
            status,
            text,
        };
        match status {
            "bounced" => self.bounced(name, &delivery),
            "deferred" => self.deferred(name, &delivery),
            _ => self.sent(name, &delivery),
        }
    }

    fn bounced(&mut self, name: &'static str, delivery: &Delivery) -> Result<()> {
        let recipient = delivery.recipient;
        if !delivery.connected {
            self.unsent += 1;
            if self.told.insert(("", "unsent")) {
                let text = quote(delivery.text);
                tell(
                    self.start,
                    &format!("{recipient} was queued already: bounced unsent ({text})"),
                );
            }
            return Ok(());
        }
        if !self.told.insert((name, "bounced")) {
            return Ok(());
        }
        tell(
            self.start,
            &format!("{name} refuses {recipient}: {}", quote(spoken(delivery.text))),
        );
        let first = self.told.insert(("", "suppressed"));
        let Some(nixie) = self.nixie.filter(|_| first) else {
            return Ok(());
        };
        let seen = Instant::now();
        let entry = wait::until(Duration::from_secs(10), "the suppression", || {
            let answer = nixie.run(&["suppress", "check", recipient])?;
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            Ok(text.contains("NX-").then_some(text))
        })?;
        let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
        let late = seen.elapsed().as_millis();
        tell(self.start, &format!("Nixie, within {late} ms: {}", quote(&entry)));
        Ok(())
    }

    fn deferred(&mut self, name: &'static str, delivery: &Delivery) -> Result<()> {
        let text = delivery.text;
        if delivery.connected {
            let reply = spoken(text);
            let slow_down = ["421", "451", "450 4.7"]
                .iter()
                .any(|code| reply.starts_with(code));
            let kind = if slow_down { "slow down" } else { "not now" };
            if self.told.insert((name, kind)) {
                tell(self.start, &format!("{name} says {kind}: {}", quote(reply)));
            }
            return Ok(());
        }
        // Postfix's own pause after a failed connection is nobody's hold.
        if self.nixie.is_none() || text.contains("temporarily suspended") || text.contains("onnect") {
            return Ok(());
        }
        let hold = self.holds.entry(name).or_insert_with(|| Hold {
            since: Instant::now(),
            waiting: HashSet::new(),
        });
        hold.waiting.insert(delivery.id.to_owned());
        if self.told.insert((name, "hold")) {
            tell(
                self.start,
                &format!("Nixie holds {name}'s lane, no connection: {}", quote(text)),
            );
        }
        Ok(())
    }

    /// The first delivery of a message that was held: its lane is open again.
    fn sent(&mut self, name: &'static str, delivery: &Delivery) -> Result<()> {
        let held = self
            .holds
            .get(name)
            .is_some_and(|hold| hold.waiting.contains(delivery.id));
        if delivery.status != "sent" || !held {
            return Ok(());
        }
        let Some(hold) = self.holds.remove(name) else {
            return Ok(());
        };
        if self.told.insert((name, "release")) {
            let seconds = hold.since.elapsed().as_secs_f64();
            let waiting = hold.waiting.len();
            tell(
                self.start,
                &format!("{name}'s lane opens after {seconds:.1} s: {waiting} messages that waited go out"),
            );
        }
        Ok(())
    }
}

/// What the remote server said, without Postfix's introduction.
fn spoken(text: &str) -> &str {
    text.split_once(" said: ").map_or(text, |(_, said)| said)
}
