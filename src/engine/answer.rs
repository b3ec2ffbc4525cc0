//! What the hooks answer, from what is in [`Memory`].
//!
//! Both protocols ask about one address; [`Finding`] is what is known about it, and the answers are
//! its translations. Where an address cannot be read (a bare `postmaster`, the null address, a partial
//! key such as `*` or a domain) nothing is found: mail is only ever held up by what is known.

use super::gate::Why;
use super::memory::{Entry, Hold, Memory};
use crate::mail::address::{Address, LocalPart};
use crate::postfix::{policy, socketmap};
use jiff::Timestamp;
use std::fmt::{self, Write as _};

/// What the operator may change about answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How local parts compare.
    pub local_part: LocalPart,
    /// Whose lanes we ask about (`[egress] name`).
    pub egress: String,
    /// What the policy service says about a recipient behind a held lane. The mail is accepted by
    /// default: it waits in our queue rather than in somebody else's.
    pub held: OnHeld,
    /// What all hooks say before memory is loaded.
    pub unloaded: OnUnloaded,
    /// Where people learn more: stands behind the id in every refusal. One line of ASCII.
    pub look_up: String,
}

/// What the policy service says about a recipient behind a held lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnHeld {
    /// `DUNNO`: accept, and let the transport map hold it.
    #[default]
    Accept,
    /// `450 4.7.1`: the client is to come again.
    Defer,
}

/// What the hooks say before memory is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnloaded {
    /// Mail passes as if nothing were known.
    #[default]
    Pass,
    /// Mail is put off: nothing reaches an address that may be suppressed.
    Defer,
}

/// What is known about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that speaks against mailing it.
    Nothing,
    /// It is suppressed.
    Suppressed(Entry),
    /// Its provider's lane is held.
    Held(Hold),
    /// Memory is not loaded, and the operator wants mail to wait for it.
    Unloaded,
}

/// The maps that the socketmap service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Map {
    /// For `check_recipient_access`: suppressed addresses to a refusal.
    Access,
    /// For `transport_maps`: suppressed addresses to `error:`, those behind a held lane to `retry:`.
    Transport,
    /// Suppressed addresses to the name of the cause.
    Suppressed,
}

/// There is no such map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of the maps access, transport, suppressed, found {0:?}")]
pub struct NoSuchMap(pub String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_part: LocalPart::default(),
            egress: "default".into(),
            held: OnHeld::default(),
            unloaded: OnUnloaded::default(),
            look_up: "the postmaster can look it up".into(),
        }
    }
}

impl Map {
    /// Every map.
    pub const ALL: [Self; 3] = [Self::Access, Self::Transport, Self::Suppressed];

    /// Its name, as in `socketmap:unix:/path:transport`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Transport => "transport",
            Self::Suppressed => "suppressed",
        }
    }

    /// The map of a name.
    ///
    /// # Errors
    /// [`NoSuchMap`], which lists those there are.
    pub fn from_name(name: &str) -> Result<Self, NoSuchMap> {
        Self::ALL
            .into_iter()
            .find(|map| map.name() == name)
            .ok_or_else(|| NoSuchMap(name.chars().take(60).collect()))
    }
}

/// What is known about the recipient of a policy request, and what Postfix is to do. Only the state
/// `RCPT` is about one recipient; elsewhere there is no opinion.
#[must_use]
pub fn policy(
    memory: &Memory,
    request: &policy::Request<'_>,
    settings: &Settings,
    now: Timestamp,
) -> (Finding, policy::Action) {
    if request.protocol_state != "RCPT" {
        return (Finding::Nothing, policy::Action::Dunno);
    }
    let lanes = settings.held == OnHeld::Defer;
    let finding = find(memory, request.recipient, lanes, settings, now);
    let action = match &finding {
        Finding::Nothing => policy::Action::Dunno,
        Finding::Suppressed(entry) => policy::Action::Reject {
            text: refusal(entry, settings),
        },
        Finding::Held(hold) => policy::Action::Defer {
            text: hold.to_string(),
        },
        Finding::Unloaded => policy::Action::Defer {
            text: UNLOADED.into(),
        },
    };
    (finding, action)
}

/// What is known about the key of a look-up, and what the map says.
#[must_use]
pub fn look_up(
    memory: &Memory,
    map: Map,
    key: &str,
    settings: &Settings,
    now: Timestamp,
) -> (Finding, socketmap::Answer) {
    use socketmap::Answer;
    let finding = find(memory, key, map == Map::Transport, settings, now);
    let answer = match (&finding, map) {
        (Finding::Nothing, _) => Answer::NotFound,
        (Finding::Suppressed(entry), Map::Access) => {
            Answer::Ok(format!("550 5.1.1 {}", refusal(entry, settings)))
        }
        (Finding::Suppressed(entry), Map::Transport) => {
            Answer::Ok(format!("error:5.1.1 {}", refusal(entry, settings)))
        }
        (Finding::Suppressed(entry), Map::Suppressed) => Answer::Ok(entry.cause.name().into()),
        (Finding::Held(hold), _) => Answer::Ok(format!("retry:4.7.1 {hold}")),
        (Finding::Unloaded, _) => Answer::Temp(UNLOADED.into()),
    };
    (finding, answer)
}

const UNLOADED: &str = "suppressions are still being loaded";

fn find(memory: &Memory, text: &str, lanes: bool, settings: &Settings, now: Timestamp) -> Finding {
    let Ok(address) = Address::parse(text) else {
        return Finding::Nothing;
    };
    if !memory.is_loaded() {
        return match settings.unloaded {
            OnUnloaded::Pass => Finding::Nothing,
            OnUnloaded::Defer => Finding::Unloaded,
        };
    }
    if let Some(entry) = memory.suppressed(&address.key(settings.local_part), now) {
        return Finding::Suppressed(entry);
    }
    let hold = if lanes {
        memory.held(address.domain(), &settings.egress, now)
    } else {
        None
    };
    hold.map_or(Finding::Nothing, Finding::Held)
}

/// The words of a refusal: cause, date and the number to look up. The address is not repeated: Postfix
/// puts it before the text, and nothing of a stranger's making belongs there.
fn refusal(entry: &Entry, settings: &Settings) -> String {
    let (date, cause, id) = (entry.since.strftime("%F"), entry.cause, entry.id);
    let mut text = String::with_capacity(64 + settings.look_up.len());
    // Writing to a string cannot fail.
    let _ = write!(text, "suppressed since {date}: {cause} ({id}");
    if !settings.look_up.is_empty() {
        text.push_str("; ");
        text.push_str(&settings.look_up);
    }
    text.push(')');
    text
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = &self.lane.provider;
        match self.why {
            Why::Held => write!(f, "{provider} asked us to slow down: held")?,
            Why::Paused => write!(f, "{provider} is paused by an operator")?,
        }
        if let Some(until) = self.until {
            write!(f, " until {}", until.strftime("%FT%TZ"))?;
        }
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::suppression::SuppressionId;
    use crate::engine::throttle::{Lane, LaneKey, Signal};
    use crate::engine::verdict::Cause;
    use crate::postfix::policy::Action;
    use crate::postfix::socketmap::Answer;

    const REFUSED: &str = "suppressed since 2026-11-21: user_unknown (NX-123; the postmaster can look it up)";
    const HELD: &str = "google asked us to slow down: held until 2026-11-21T10:05:00Z (google.rate)";

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn memory() -> Memory {
        let memory = Memory::new();
        for address in ["dead@example.org", "dead@gmail.com", "пётр@xn--e1aybc.example"] {
            memory.suppress(
                &Address::parse(address).unwrap().key(LocalPart::Fold),
                &Entry {
                    id: SuppressionId(123),
                    cause: Cause::UserUnknown,
                    since: now(),
                    expires: None,
                },
            );
        }
        memory.set_provider("gmail.com", "google", now());
        let lane = LaneKey {
            provider: "google".into(),
            egress: "default".into(),
        };
        let until = "2026-11-21T10:05:00Z".parse().unwrap();
        let signal = Signal {
            rule: "google.rate".into(),
            reply: "421".into(),
            ..Signal::default()
        };
        memory.set_lane(lane, Lane::held(signal, until, now()), now());
        memory.set_loaded();
        memory
    }

    fn action(state: &str, recipient: &str, settings: &Settings) -> Action {
        let request = policy::Request {
            protocol_state: state,
            recipient,
            ..policy::Request::default()
        };
        policy(&memory(), &request, settings, now()).1
    }

    fn answer(map: Map, key: &str) -> Answer {
        look_up(&memory(), map, key, &Settings::default(), now()).1
    }

    fn reject() -> Action {
        Action::Reject { text: REFUSED.into() }
    }

    #[test]
    fn the_policy_refuses_the_suppressed_at_rcpt_in_any_spelling() {
        let settings = Settings::default();
        for spelling in [
            "dead@example.org",
            "DEAD@Example.ORG",
            "<dead@example.org>",
            "dead@example.org.",
            "Пётр@тест.example",
        ] {
            assert_eq!(action("RCPT", spelling, &settings), reject(), "{spelling}");
        }
    }

    #[test]
    fn the_policy_has_no_opinion_elsewhere() {
        let settings = Settings {
            held: OnHeld::Defer,
            ..Settings::default()
        };
        for state in ["CONNECT", "EHLO", "MAIL", "DATA", "END-OF-MESSAGE", "VRFY", ""] {
            assert_eq!(
                action(state, "dead@example.org", &settings),
                Action::Dunno,
                "{state}"
            );
        }
        for address in [
            "",
            "<>",
            "postmaster",
            "alive@example.org",
            "@",
            "dead@",
            "@example.org",
        ] {
            assert_eq!(action("RCPT", address, &settings), Action::Dunno, "{address}");
        }
    }

    #[test]
    fn the_policy_defers_behind_a_held_lane_only_where_configured() {
        let defer = Settings {
            held: OnHeld::Defer,
            ..Settings::default()
        };
        assert_eq!(action("RCPT", "a@gmail.com", &Settings::default()), Action::Dunno);
        assert_eq!(
            action("RCPT", "a@gmail.com", &defer),
            Action::Defer { text: HELD.into() }
        );
        assert_eq!(
            action("RCPT", "dead@gmail.com", &defer),
            reject(),
            "refusing comes first"
        );
    }

    #[test]
    fn maps_answer_in_their_own_words() {
        let found = |prefix: &str| Answer::Ok(format!("{prefix}{REFUSED}"));
        assert_eq!(answer(Map::Access, "Dead@example.org"), found("550 5.1.1 "));
        assert_eq!(answer(Map::Transport, "Dead@example.org"), found("error:5.1.1 "));
        assert_eq!(
            answer(Map::Suppressed, "Dead@example.org"),
            Answer::Ok("user_unknown".into())
        );
        assert_eq!(
            answer(Map::Transport, "a@gmail.com"),
            Answer::Ok(format!("retry:4.7.1 {HELD}"))
        );
        assert_eq!(answer(Map::Access, "a@gmail.com"), Answer::NotFound);
        assert_eq!(answer(Map::Suppressed, "a@gmail.com"), Answer::NotFound);
    }

    #[test]
    fn keys_that_are_no_address_are_not_found() {
        for map in Map::ALL {
            for key in [
                "*",
                "example.org",
                ".example.org",
                "gmail.com",
                "dead",
                "dead@",
                "@gmail.com",
                "",
            ] {
                assert_eq!(answer(map, key), Answer::NotFound, "{key}");
            }
        }
    }

    #[test]
    fn before_memory_is_loaded_mail_passes_or_waits_as_configured() {
        let memory = Memory::new();
        memory.suppress(
            &Address::parse("dead@example.org").unwrap().key(LocalPart::Fold),
            &Entry {
                id: SuppressionId(1),
                cause: Cause::UserUnknown,
                since: now(),
                expires: None,
            },
        );
        let request = policy::Request {
            protocol_state: "RCPT",
            recipient: "dead@example.org",
            ..policy::Request::default()
        };
        let both = |settings: &Settings| {
            (
                policy(&memory, &request, settings, now()).1,
                look_up(&memory, Map::Transport, request.recipient, settings, now()).1,
            )
        };
        assert_eq!(both(&Settings::default()), (Action::Dunno, Answer::NotFound));
        let settings = Settings {
            unloaded: OnUnloaded::Defer,
            ..Settings::default()
        };
        let text = UNLOADED.to_owned();
        assert_eq!(
            both(&settings),
            (Action::Defer { text: text.clone() }, Answer::Temp(text))
        );
    }

    #[test]
    fn maps_are_found_by_name_and_listed_when_not() {
        for map in Map::ALL {
            assert_eq!(Map::from_name(map.name()), Ok(map));
        }
        assert_eq!(
            Map::from_name("acess").unwrap_err().to_string(),
            "expected one of the maps access, transport, suppressed, found \"acess\""
        );
    }
}
