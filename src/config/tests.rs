//! What the settings accept, refuse, and say about it.

use super::listen::ListenAddress;
use super::*;
use crate::engine::verdict::Cause;

fn problem(text: &str) -> String {
    check_text("nixie.toml", text).unwrap_err().to_string()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let text = include_str!("../../config/nixie.toml");
    let shipped: Settings = toml::from_str(text).unwrap();
    let listen = |l: &Option<ListenAddress>| l.as_ref().map(ToString::to_string);
    assert_eq!(
        listen(&shipped.policy.listen).as_deref(),
        Some(default_listen::POLICY)
    );
    assert_eq!(
        listen(&shipped.socketmap.listen).as_deref(),
        Some(default_listen::SOCKETMAP)
    );
    assert_eq!(
        shipped.milter.listen,
        Some(default_listen::MILTER.parse().unwrap())
    );
    assert_eq!(
        listen(&shipped.lmtp.listen).as_deref(),
        Some(default_listen::LMTP)
    );
    assert_eq!(
        listen(&shipped.http.listen).as_deref(),
        Some(default_listen::HTTP)
    );
    let without_listeners = Settings {
        policy: Policy {
            listen: None,
            ..shipped.policy.clone()
        },
        socketmap: Socketmap {
            listen: None,
            ..shipped.socketmap.clone()
        },
        milter: Milter {
            listen: None,
            ..shipped.milter.clone()
        },
        lmtp: Lmtp {
            listen: None,
            ..shipped.lmtp.clone()
        },
        http: Listener::default(),
        ..shipped
    };
    assert_eq!(without_listeners, Settings::default());
}

#[test]
fn errors_name_file_line_and_key() {
    assert_eq!(
        problem("[policy]\nlisen = \"127.0.0.1:1\"\n"),
        "nixie.toml:2: [policy] lisen: unknown field `lisen`, expected one of `listen`, `on_hold`, `max_backlog`"
    );
    assert!(
        problem("[store]\nurl = 5\n").starts_with("nixie.toml:2: [store] url: invalid type: integer `5`")
    );
    let server = problem("[dns]\nservers = \"127.0.0.1, ns.example\"\n");
    assert_eq!(
        server,
        "nixie.toml:2: [dns] servers: expected addresses like \"192.0.2.53, [2001:db8::53]:5353\", found \"ns.example\""
    );
    let duration = problem("[throttle]\n\nmax_hold = \"soon\"\n");
    assert_eq!(
        duration,
        "nixie.toml:3: [throttle] max_hold: expected a length of time like \"30s\", \"5m\" or \"2h\", found \"soon\""
    );
    assert!(
        problem("[log]\nsource = \"file:relative\"\n")
            .contains("nixie.toml:2: [log] source: expected \"file:/path\"")
    );
    assert!(problem("[nonsense]\n").starts_with("nixie.toml:1: [nonsense]: unknown field `nonsense`"));
    assert!(problem("[store\n").starts_with("nixie.toml:1: "));
}

#[test]
fn flags_win_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nixie.toml");
    std::fs::write(&path, "[egress]\nname = \"file\"\n[http]\nlisten = \"\"\n").unwrap();
    let settings = Settings::load(Some(&path), &[]).unwrap();
    assert_eq!(settings.egress.name, "file");
    let settings = Settings::load(Some(&path), &[("egress.name", "flag".into())]).unwrap();
    assert_eq!(settings.egress.name, "flag");
}

#[test]
fn values_out_of_range_are_refused() {
    let settings = Settings {
        lmtp: Lmtp {
            max_size: 1,
            ..Lmtp::default()
        },
        ..Settings::default()
    };
    assert_eq!(
        settings.validate().unwrap_err().to_string(),
        "[lmtp] max_size: expected at least 65536 octets, found 1"
    );
}

#[test]
fn the_state_directory_follows_systemd_then_xdg_then_home() {
    let env = |set: &'static [(&str, &str)]| {
        move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    };
    static ALL: [(&str, &str); 3] = [
        ("STATE_DIRECTORY", "/var/lib/nixie"),
        ("XDG_STATE_HOME", "/x"),
        ("HOME", "/home/a"),
    ];
    assert_eq!(state_directory(env(&ALL)), Some("/var/lib/nixie".into()));
    assert_eq!(state_directory(env(&ALL[1..])), Some("/x/nixie".into()));
    assert_eq!(
        state_directory(env(&ALL[2..])),
        Some("/home/a/.local/state/nixie".into())
    );
    assert_eq!(state_directory(env(&[])), None);
}

#[test]
fn a_reload_says_what_it_cannot_take_over() {
    let old = Settings::default();
    let mut new = old.clone();
    new.throttle.max_hold = Span::from_secs(7200);
    assert!(old.needs_restart(&new).is_empty());
    new.store.url = "postgres://db/nixie".into();
    assert_eq!(old.needs_restart(&new), ["[store]"]);
}

const WARM_UP: &str = "[[warm_up]]\nprovider = \"google\"\nbegan = \"2026-11-21\"\nper_day = \"default\"\n";

fn load(text: &str) -> Result<Settings, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nixie.toml");
    std::fs::write(&path, text).unwrap();
    Settings::load(Some(&path), &[])
}

fn lane(provider: &str, egress: &str) -> crate::engine::throttle::LaneKey {
    crate::engine::throttle::LaneKey {
        provider: provider.into(),
        egress: egress.into(),
    }
}

#[test]
fn warm_ups_are_read_through_all_layers() {
    let text = format!(
        "[egress]\nname = \"pool-1\"\n{WARM_UP}[[warm_up]]\nprovider = \"*\"\negress = \"pool-2\"\n\
         began = 2026-11-22\nper_day = [5, 10]\n"
    );
    let all = load(&text).unwrap().warm_ups();
    let day = |n| jiff::civil::date(2026, 11, n);
    let default = all.of(&lane("google", "pool-1")).unwrap();
    assert_eq!(
        (default.began, &default.per_day[..]),
        (day(21), &warm_up::DEFAULT[..])
    );
    let other = all.of(&lane("yahoo", "pool-2")).unwrap();
    assert_eq!((other.began, &other.per_day[..]), (day(22), &[5, 10][..]));
    assert_eq!(all.of(&lane("yahoo", "pool-1")), None);
}

#[test]
fn a_bad_warm_up_is_refused_with_line_key_and_fix() {
    let table = [
        (
            "\"2026-11-21\"",
            "\"21.11.2026\"",
            "nixie.toml:3: [[warm_up]] began: expected a day like \"2026-11-21\", found \"21.11.2026\"",
        ),
        (
            "\"default\"",
            "\"fast\"",
            "nixie.toml:4: [[warm_up]] per_day: expected \"default\" or the messages of each day like [200, 500, 1000], \
             found \"fast\"",
        ),
        (
            "\"default\"",
            "[200, 0]",
            "nixie.toml:4: [[warm_up]] per_day: day 2: expected from 1 to 1000000000 messages, found 0: to send nothing, \
             pause the lane",
        ),
        (
            "\"default\"",
            "[]",
            "nixie.toml:4: [[warm_up]] per_day: expected the messages of 1 to 366 days, found 0",
        ),
        (
            "\"default\"",
            "5",
            "nixie.toml:4: [[warm_up]] per_day: invalid type: integer `5`",
        ),
        (
            "began",
            "begun",
            "nixie.toml:3: [[warm_up]] begun: unknown field `begun`",
        ),
    ];
    for (good, bad, expected) in table {
        let said = problem(&WARM_UP.replace(good, bad));
        assert!(said.starts_with(expected), "{bad}: {said}");
    }
    assert!(problem("[[warm_up]]\nprovider = \"google\"\n").contains("missing field `began`"));
}

#[test]
fn warm_ups_that_cannot_be_together_are_refused_with_their_place() {
    let providers = crate::engine::provider::Providers::shipped().unwrap();
    let said = |text: &str| {
        let settings = load(text).unwrap();
        settings
            .check_warm_ups(&providers)
            .map_err(|error| error.to_string())
    };
    assert_eq!(said(WARM_UP), Ok(()));
    assert_eq!(said(&WARM_UP.replace("google", "example.org")), Ok(()));
    let twice = said(&format!("{WARM_UP}\n{WARM_UP}")).unwrap_err();
    assert!(
        twice.contains("nixie.toml:6: [[warm_up]] provider: expected one warm-up for each lane, found another for google/default"),
        "{twice}"
    );
    let typo = said(&WARM_UP.replace("google", "gogle")).unwrap_err();
    assert!(
        typo.contains("nixie.toml:1: [[warm_up]] provider: ") && typo.contains("did you mean \"google\"?"),
        "{typo}"
    );
    let host = said(&WARM_UP.replace("google", "smtp.google.com")).unwrap_err();
    assert!(host.contains("write \"google\""), "{host}");
}

#[test]
fn the_default_schedule_only_rises() {
    assert!(warm_up::DEFAULT.is_sorted());
    assert_eq!((warm_up::DEFAULT[9], warm_up::DEFAULT[19]), (75_000, 1_000_000));
}

#[test]
fn terms_are_read_over_their_defaults() {
    let settings = load(
        "[suppression.terms]\nmailbox_full = { strikes = 3, expiry = \"7d\" }\n\
         user_unknown = { expiry = \"365d\" }\ndomain = { strikes = 4 }\n",
    )
    .unwrap();
    let terms = settings.suppression.terms.0;
    let days = |n: i64| jiff::SignedDuration::from_hours(24 * n);
    let full = terms.of(Cause::MailboxFull).unwrap();
    assert_eq!(
        (full.strikes, full.expiry, full.doubling),
        (3, Some(days(7)), true)
    );
    assert_eq!(full.window, days(30));
    assert_eq!(terms.of(Cause::UserUnknown).unwrap().expiry, Some(days(365)));
    assert_eq!(terms.domain().strikes, 4);
    assert_eq!(terms.of(Cause::RelayDenied).unwrap().strikes, 3);
}

#[test]
fn what_cannot_suppress_or_guard_is_refused() {
    let table = [
        (
            "[suppression.terms]\nmailbox_full = { strikes = 0 }\n",
            "mailbox_full: strikes: expected 1 to 100, found 0",
        ),
        (
            "[suppression.terms]\nrate_limited = { strikes = 2 }\n",
            "expected a cause that can suppress (user_unknown, ",
        ),
        (
            "[suppression.terms]\nmailbox_full = { expiry = \"soon\" }\n",
            "found \"soon\", nor is it \"never\"",
        ),
        (
            "[suppression]\nallow = [\"postmaster\"]\n",
            "[suppression] allow: expected addresses like \"postmaster@example.org\"",
        ),
        (
            "[guard]\nmin_faults = 5\n",
            "[guard] min_faults: expected at least 10, found 5",
        ),
        (
            "[guard]\nfactor = 0.5\n",
            "[guard] factor: expected 1 to 100, found 0.5",
        ),
        (
            "[guard]\nmax_length = \"1h\"\n",
            "[guard] max_length: expected 1h ≤ quiet ≤ 24h",
        ),
        (
            "[alert]\nwebhook = \"example.org/hook\"\n",
            "[alert] webhook: expected a URL like https://example.org/hook, found \"example.org/hook\"",
        ),
    ];
    for (text, expected) in table {
        let problem = load(text).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    }
}
