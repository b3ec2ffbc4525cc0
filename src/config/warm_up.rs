//! `[[warm_up]]`: schedules by which a new egress becomes known to providers.
//!
//! What a single value may be is refused where it is read; what only several of them together can be wrong in (two
//! schedules for one lane, a provider that nobody knows) is refused with the place of the entry in the file.

use super::{ConfigError, Settings};
use crate::engine::provider::Providers;
use crate::engine::throttle::LaneKey;
use crate::engine::throttle::plan::{self, EVERY, WarmUps};
use jiff::civil::Date;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// The schedule called `default`: messages on each day. A large provider publishes days 1 to 10 and day 20 for one IP
/// address; what lies between grows evenly, by 30 % a day.
pub const DEFAULT: [u64; 20] = [
    200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 50_000, 75_000, 97_000, 126_000, 163_000, 211_000,
    274_000, 355_000, 460_000, 596_000, 772_000, 1_000_000,
];
/// The longest schedule, in days.
const DAYS: usize = 366;
/// The most on a day.
const MOST: u64 = 1_000_000_000;

/// One warm-up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// At which provider: an id of the catalogue, the domain of one that is not in it, or `*` for all that have no
    /// entry of their own.
    pub provider: String,
    /// Of which egress; `None` is that of `[egress]`.
    pub egress: Option<String>,
    /// The first day (UTC).
    pub began: Day,
    /// How many messages on each day.
    pub per_day: Schedule,
    /// Where it stands, as in `nixie.toml:12`; empty where that is not known.
    #[serde(skip)]
    pub place: String,
}

/// A day, written as in `2026-11-21`, with or without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(pub Date);

/// Messages on each day, from the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule(pub Vec<u64>);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Day;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a day like \"2026-11-21\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Day, E> {
                let day = text.parse().map(Day);
                day.map_err(|_| E::custom(format!("expected a day like \"2026-11-21\", found {text:?}")))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Day, A::Error> {
                // What TOML itself knows as a date.
                let date = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
                self.visit_str(&date.to_string())
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Schedule;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"default\" or the messages of each day like [200, 500, 1000]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Schedule, E> {
                match text {
                    "default" => Ok(Schedule(DEFAULT.to_vec())),
                    _ => Err(E::custom(format!(
                        "expected \"default\" or the messages of each day like [200, 500, 1000], found {text:?}"
                    ))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Schedule, A::Error> {
                let mut days = Vec::new();
                while let Some(n) = all.next_element::<i64>()? {
                    let good = u64::try_from(n).ok().filter(|n| (1..=MOST).contains(n));
                    let day = days.len() + 1;
                    days.push(good.ok_or_else(|| {
                        de::Error::custom(format!(
                            "day {day}: expected from 1 to {MOST} messages, found {n}: to send nothing, pause the lane"
                        ))
                    })?);
                }
                if days.is_empty() || days.len() > DAYS {
                    let found = days.len();
                    return Err(de::Error::custom(format!(
                        "expected the messages of 1 to {DAYS} days, found {found}"
                    )));
                }
                Ok(Schedule(days))
            }
        }
        from.deserialize_any(Reader)
    }
}

impl Settings {
    /// The warm-ups, by lane.
    #[must_use]
    pub fn warm_ups(&self) -> WarmUps {
        let lane = |warm_up: &WarmUp| {
            let schedule = plan::WarmUp {
                began: warm_up.began.0,
                per_day: warm_up.per_day.0.clone(),
            };
            (self.warm_up_lane(warm_up), schedule)
        };
        self.warm_up.iter().map(lane).collect()
    }

    fn warm_up_lane(&self, warm_up: &WarmUp) -> LaneKey {
        let egress = warm_up.egress.as_ref().unwrap_or(&self.egress.name);
        LaneKey {
            provider: warm_up.provider.clone(),
            egress: egress.clone(),
        }
    }

    /// Refuses two warm-ups for one lane, and providers that there cannot be.
    ///
    /// # Errors
    /// The first that is wrong, with its place.
    pub fn check_warm_ups(&self, providers: &Providers) -> Result<(), ConfigError> {
        let mut lanes = HashSet::new();
        for warm_up in &self.warm_up {
            let wrong = |key: &str, problem: String| ConfigError::Entry {
                place: match warm_up.place.as_str() {
                    "" => String::new(),
                    place => format!("{place}: "),
                },
                key: format!("[[warm_up]] {key}"),
                problem,
            };
            if warm_up.provider != EVERY
                && let Err(problem) = providers.check_name(&warm_up.provider)
            {
                return Err(wrong("provider", format!("{problem}, or \"{EVERY}\" for all")));
            }
            if warm_up.egress.as_deref() == Some("") {
                let problem = "expected a name, found none: leave it out for that of [egress]";
                return Err(wrong("egress", problem.into()));
            }
            let lane = self.warm_up_lane(warm_up);
            if !lanes.insert(lane.clone()) {
                let problem = format!(
                    "expected one warm-up for each lane, found another for {}/{}: remove one of them",
                    lane.provider, lane.egress
                );
                return Err(wrong("provider", problem));
            }
        }
        Ok(())
    }

    /// Notes where the warm-ups stand in the text that they were read from.
    pub(super) fn place_warm_ups(&mut self, path: &str, text: &str) {
        let headers = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| line.trim_start().starts_with("[[") && line.contains("warm_up"));
        for (warm_up, (_, line)) in self.warm_up.iter_mut().zip(headers) {
            warm_up.place = format!("{path}:{line}");
        }
    }
}
