//! Throttling on a real Postfix: providers with limits that nobody is told of.

use crate::stage::{SENDER, Stage, message};
use nixie_lab::need;
use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::{Provider, Script, Tally};
use std::io::Write;
use std::time::{Duration, Instant};

/// How much a run came to.
struct Run {
    tally: Tally,
    began: Instant,
    took: Duration,
}

impl Run {
    /// So many messages of a provider, injected at once and waited for.
    fn wait(provider: &Provider, messages: usize, began: Instant, within: Duration) -> Self {
        let tally = provider.wait(within, &format!("{messages} messages"), |t| {
            t.accepted >= messages as u64
        });
        let tally = tally.unwrap_or_else(|error| {
            say(&format!("{error:#}"));
            provider.tally()
        });
        Self {
            took: began.elapsed(),
            tally,
            began,
        }
    }

    /// Each accepted message and each refusal, by seconds since the beginning.
    fn trace(&self) -> String {
        let mut seconds: std::collections::BTreeMap<u64, (u32, u32)> = std::collections::BTreeMap::new();
        for answer in &self.tally.answers {
            let at = answer.at.duration_since(self.began).as_secs();
            let entry = seconds.entry(at).or_default();
            match answer.code {
                250 if answer.stage == nixie_lab::provider::Stage::Message => entry.0 += 1,
                400..=499 => entry.1 += 1,
                _ => {}
            }
        }
        seconds
            .iter()
            .map(|(at, (taken, refused))| format!("{at}:{taken}/{refused}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The provider's words when its limit is reached.
const LIMIT: &str = "421 4.7.0 Hidden limit reached, come back in a moment";

fn hidden(mut script: Script) -> Script {
    script.limit_reply = Some(LIMIT.to_owned());
    script
}

/// A rule for those words. The shipped ones name holds of half an hour, as large providers want; here the law
/// is to find its pause itself.
fn rules() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let rule = "[[rule]]\nid = \"lab.limit\"\ntext = 'hidden limit'\ncause = \"rate_limited\"\npermanent = false\n\
                examples = [\"421 4.7.0 Hidden limit reached, come back in a moment\"]\n";
    std::fs::write(directory.path().join("lab.toml"), rule).unwrap();
    directory
}

/// Says something past the test harness's capture.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Injects so many messages, each to a recipient of its own.
fn inject(postfix: &Postfix, domain: &str, messages: usize) {
    let mut client = postfix.client().unwrap();
    for n in 0..messages {
        let recipient = format!("r{n}@{domain}");
        let submission = client
            .send(SENDER, &[&recipient], &message(&recipient, "hello"))
            .unwrap();
        assert_eq!(submission.recipients[0].code, 250);
    }
}

#[test]
fn a_hidden_limit_is_found_and_ridden() {
    if !need::postfix("a hidden limit is found") {
        return;
    }
    let rules = rules();
    let gmail = Provider::start(hidden(Script::gmail()).limited(300, 20)).unwrap();
    let setup = Setup::new()
        .backoff("300s", "4000s", "300s")
        .route("gmail.example", &gmail);
    let stage = Stage::set(setup, |nixie| {
        nixie
            .text("trace", "filter", "info,nixie::serve::release=debug")
            .text("rules", "dir", rules.path().to_str().unwrap())
    });
    let began = Instant::now();
    inject(&stage.postfix, "gmail.example", 500);
    let run = Run::wait(&gmail, 500, began, Duration::from_secs(160));
    say(&format!(
        "300/min: {} in {:.1?}, {} refusals: {}",
        run.tally.accepted,
        run.took,
        run.tally.slow_downs(),
        run.trace()
    ));
    if let Ok(path) = std::env::var("NIXIE_TRACE") {
        std::fs::write(format!("{path}.nixie"), stage.nixie.printed()).unwrap();
        std::fs::write(format!("{path}.postfix"), stage.postfix.log().text()).unwrap();
    }
    assert!(run.tally.accepted >= 500);
}
