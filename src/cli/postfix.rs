//! `nixie postfix`: the lines to paste into Postfix, and `--check`, which compares them with a Postfix
//! that is there (`postconf -n`, `postconf -M`, `postconf -P`). Exit code 1 where something is missing.

use crate::config::listen::ListenAddress;
use crate::config::{Settings, default_listen};
use crate::engine::provider::{Provider, Providers};
use crate::serve;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::process::Command;

/// Arguments of `nixie postfix`.
#[derive(Debug, Args)]
pub struct PostfixArguments {
    /// Compare with the Postfix of this machine and say what is missing
    #[arg(long)]
    pub check: bool,
    /// Postfix's configuration directory [default: Postfix's own]
    #[arg(long, value_name = "DIR", requires = "check")]
    pub postfix_config: Option<PathBuf>,
    /// Print a transport for each provider that documents limits of its own (see [socketmap] lane_transports)
    #[arg(long, conflicts_with = "check")]
    pub lanes: bool,
    /// The domain that your return paths are in [default: `domain` of the section `signing`]
    #[arg(long, value_name = "DOMAIN")]
    pub bounce_domain: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Where `postconf` cannot be run.
pub async fn run(options: &PostfixArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    if options.lanes {
        say!("{}", lanes(&serve::providers(settings)?).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    if !options.check {
        let domain = options.bounce_domain.as_deref();
        say!(
            "{}",
            lines(settings, domain.unwrap_or_else(|| bounce_domain(settings))).trim_end()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let found = Found::read(options.postfix_config.as_deref()).await?;
    let findings = compare(&found, settings, &serve::providers(settings)?);
    let missing = findings.iter().filter(|finding| !finding.good).count();
    for finding in &findings {
        say!(
            "{:8} {}",
            if finding.good { "ok" } else { "missing" },
            finding.text
        );
    }
    if missing > 0 {
        say!(
            "\n{missing} of {} are missing; `nixie postfix` prints the lines.",
            findings.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Debian's queue directory, and with it the root of a chrooted Postfix.
const QUEUE_DIRECTORY: &str = "unix:/var/spool/postfix/";

/// An address as Postfix spells it, where the part listens at all. A socket beneath the queue directory is
/// named from there, as Postfix's daemons find it with and without a chroot.
fn endpoint(listen: Option<&ListenAddress>, default: &str) -> Option<String> {
    let address = match listen {
        Some(address) => address.to_postfix()?,
        None => format!("inet:{default}"),
    };
    Some(match address.strip_prefix(QUEUE_DIRECTORY) {
        Some(path) => format!("unix:{path}"),
        None => address,
    })
}

/// The milter as Postfix spells it, where it listens.
fn milter(settings: &Settings) -> Option<String> {
    let listen = settings.milter.listen.as_ref()?;
    endpoint(Some(listen), "")
}

/// The bounce domain of the settings, or an example of one.
fn bounce_domain(settings: &Settings) -> &str {
    match settings.signing.domain.as_str() {
        "" => "bounces.example.org",
        domain => domain,
    }
}

/// The lines to paste, for what is switched on.
#[must_use]
pub fn lines(settings: &Settings, bounce_domain: &str) -> String {
    let mut text = String::from("# /etc/postfix/main.cf\n");
    if let Some(socketmap) = endpoint(settings.socketmap.listen.as_ref(), default_listen::SOCKETMAP) {
        text.push_str(&format!(
            "# Suppressed and held mail, at each delivery attempt. Put your own transport maps behind it.\n\
             transport_maps = socketmap:{socketmap}:transport\n"
        ));
    }
    if let Some(policy) = endpoint(settings.policy.listen.as_ref(), default_listen::POLICY) {
        text.push_str(&format!(
            "# Suppressed recipients, at RCPT. First in your own list; with Nixie gone, mail flows on.\n\
             smtpd_recipient_restrictions =\n    check_policy_service {{ {policy}, timeout=3s, default_action=DUNNO }},\n    \
             permit_mynetworks, reject_unauth_destination\n"
        ));
    }
    if let Some(milter) = milter(settings) {
        text.push_str(&format!(
            "# Recipients of sendmail(1), signed return paths, and bounces as they arrive. With Nixie gone, mail flows on\n\
             # unsigned; with tempfail in the place of accept, it waits.\n\
             smtpd_milters = {milter}\nnon_smtpd_milters = $smtpd_milters\nmilter_default_action = accept\n"
        ));
    }
    if let Some(lmtp) = endpoint(settings.lmtp.listen.as_ref(), default_listen::LMTP) {
        let (local, delimiter) = (&settings.signing.local, settings.signing.delimiter);
        let example = match settings.signing.is_on() {
            true => format!("{local}{delimiter}TOKEN"),
            false => "bounce+1234".into(),
        };
        text.push_str(&format!(
            "# Bounces that come back later. Use a domain of your own for return paths, as in\n\
             # {example}@{bounce_domain}.\n\
             virtual_mailbox_domains = {bounce_domain}\nvirtual_transport = lmtp:{lmtp}\n\
             recipient_delimiter = {delimiter}\n"
        ));
    }
    if endpoint(settings.socketmap.listen.as_ref(), default_listen::SOCKETMAP).is_some() {
        text.push_str(
            "\n# /etc/postfix/master.cf\n\
             # smtpd must not ask the transport map (it is for delivery attempts only): give it a resolver of its\n\
             # own. Add the -o line to every smtpd in the file (smtp, submission, submissions, smtps). If you have\n\
             # transport maps of your own, name them here, without Nixie's: -o transport_maps=hash:/etc/postfix/transport\n\
             smtp       inet  n  -  y  -  -  smtpd\n    -o rewrite_service_name=rewrite-in\n\
             rewrite-in unix  -  -  y  -  -  trivial-rewrite\n    -o transport_maps=\n",
        );
    }
    text
}

/// The processes of a transport for a provider that documents no number of connections: Postfix's default for a
/// destination.
const SOME_PROCESSES: u32 = 20;

/// A transport for each provider that documents limits which Postfix can hold to by itself.
#[must_use]
pub fn lanes(providers: &Providers) -> String {
    let mut text = String::from(
        "# /etc/postfix/master.cf\n\
         # For those who want the number of connections held by Postfix itself: a transport for each provider with\n\
         # as many processes as it documents connections, all its domains together, and as many messages in one\n\
         # as it documents. With lane_transports = true in the section [socketmap] of nixie.toml, Nixie's transport\n\
         # map sends each provider's mail there. Add your own -o lines of the service smtp to each.\n",
    );
    let mut limits = String::new();
    for provider in providers.all() {
        let Some(name) = provider.transport() else {
            continue;
        };
        let connections = provider.limits.connections.unwrap_or(SOME_PROCESSES);
        text.push_str(&format!(
            "{name:<22} unix  -  -  y  -  {connections:<4} smtp\n    -o syslog_name=postfix/$service_name\n"
        ));
        if let Some(messages) = provider.limits.messages_per_connection {
            text.push_str(&format!(
                "    -o smtp_connection_cache_on_demand=yes\n    -o smtp_connection_reuse_count_limit={messages}\n"
            ));
        }
        limits.push_str(&format!("{name}_destination_concurrency_limit = {connections}\n"));
    }
    text.push_str("\n# /etc/postfix/main.cf\n");
    text.push_str(&limits);
    text
}

/// What a Postfix says of itself.
#[derive(Debug, Default)]
struct Found {
    /// `postconf -n`: name and value.
    main: Vec<(String, String)>,
    /// `postconf -M`: a line a service.
    services: Vec<String>,
    /// `postconf -P`: service/type/name = value.
    overrides: Vec<(String, String)>,
}

impl Found {
    async fn read(directory: Option<&std::path::Path>) -> anyhow::Result<Self> {
        let pairs = |text: String| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect()
        };
        Ok(Self {
            main: pairs(postconf(directory, "-n").await?),
            services: postconf(directory, "-M")
                .await?
                .lines()
                .map(str::to_owned)
                .collect(),
            overrides: pairs(postconf(directory, "-P").await?),
        })
    }

    fn value(&self, name: &str) -> &str {
        self.main
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }
}

async fn postconf(directory: Option<&std::path::Path>, option: &str) -> anyhow::Result<String> {
    let mut command = Command::new("postconf");
    if let Some(directory) = directory {
        command.arg("-c").arg(directory);
    }
    let output = command
        .arg(option)
        .output()
        .await
        .context("running postconf: is Postfix installed and in PATH?")?;
    if !output.status.success() {
        anyhow::bail!(
            "postconf {option}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One thing looked for.
struct Finding {
    good: bool,
    text: String,
}

fn compare(found: &Found, settings: &Settings, providers: &Providers) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut look = |good: bool, text: String| findings.push(Finding { good, text });
    if let Some(socketmap) = endpoint(settings.socketmap.listen.as_ref(), default_listen::SOCKETMAP) {
        let map = format!("socketmap:{socketmap}:transport");
        look(
            found.value("transport_maps").contains(&map),
            format!("main.cf: transport_maps has {map}"),
        );
        let resolver = found
            .services
            .iter()
            .any(|line| line.starts_with("rewrite-in") && line.contains("trivial-rewrite"))
            && found
                .overrides
                .iter()
                .any(|(name, value)| name == "rewrite-in/unix/transport_maps" && !value.contains(&map));
        look(
            resolver,
            "master.cf: service rewrite-in, a trivial-rewrite with -o transport_maps= (without Nixie)".into(),
        );
        for service in found
            .services
            .iter()
            .filter(|line| line.split_whitespace().nth(7) == Some("smtpd"))
        {
            let mut words = service.split_whitespace();
            let name = format!("{}/{}", words.next().unwrap_or(""), words.next().unwrap_or(""));
            let wanted = format!("{name}/rewrite_service_name");
            let good = found
                .overrides
                .iter()
                .any(|(key, value)| *key == wanted && value == "rewrite-in");
            look(
                good,
                format!("master.cf: smtpd {name} has -o rewrite_service_name=rewrite-in"),
            );
        }
    }
    if settings.socketmap.lane_transports {
        for name in providers.all().iter().filter_map(Provider::transport) {
            let good = found
                .services
                .iter()
                .any(|line| line.split_whitespace().next() == Some(name.as_str()));
            look(
                good,
                format!("master.cf: the transport {name} (`nixie postfix --lanes`)"),
            );
        }
    }
    if let Some(policy) = endpoint(settings.policy.listen.as_ref(), default_listen::POLICY) {
        let value = found.value("smtpd_recipient_restrictions");
        let good = value.contains("check_policy_service") && value.contains(&policy);
        look(
            good,
            format!("main.cf: smtpd_recipient_restrictions has check_policy_service {policy}"),
        );
        let open = value.contains("default_action=DUNNO") || value.contains("default_action = DUNNO");
        look(
            open,
            "main.cf: that policy service has default_action=DUNNO, so that mail flows with Nixie gone"
                .into(),
        );
    }
    if let Some(milter) = milter(settings) {
        for name in ["smtpd_milters", "non_smtpd_milters"] {
            let value = found.value(name);
            let good = value.contains(&milter)
                || (value.contains("$smtpd_milters") && found.value("smtpd_milters").contains(&milter));
            look(good, format!("main.cf: {name} has {milter}"));
        }
    }
    if let Some(lmtp) = endpoint(settings.lmtp.listen.as_ref(), default_listen::LMTP) {
        let wanted = format!("lmtp:{lmtp}");
        let maps = found.value("transport_maps").contains(&wanted);
        let good = found.value("virtual_transport") == wanted || maps;
        look(good, format!("main.cf: virtual_transport = {wanted}"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Found {
            main: vec![
                pair(
                    "transport_maps",
                    "socketmap:inet:127.0.0.1:7461:transport, hash:/etc/postfix/transport",
                ),
                pair(
                    "smtpd_recipient_restrictions",
                    "check_policy_service { inet:127.0.0.1:7460, timeout=3s, default_action=DUNNO }, permit_mynetworks",
                ),
                pair("virtual_transport", "lmtp:inet:127.0.0.1:7463"),
            ],
            services: vec![
                "smtp inet n - y - - smtpd -o rewrite_service_name=rewrite-in".into(),
                "rewrite-in unix - - y - - trivial-rewrite -o transport_maps=".into(),
            ],
            overrides: vec![
                pair("smtp/inet/rewrite_service_name", "rewrite-in"),
                pair("rewrite-in/unix/transport_maps", ""),
            ],
        }
    }

    fn providers() -> Providers {
        Providers::shipped().unwrap()
    }

    #[test]
    fn a_transport_holds_to_what_its_provider_documents() {
        let text = lanes(&providers());
        for part in [
            "\nnixie-google           unix  -  -  y  -  5    smtp\n    -o syslog_name=postfix/$service_name\n    \
             -o smtp_connection_cache_on_demand=yes\n    -o smtp_connection_reuse_count_limit=50\n",
            "\nnixie-yahoo_jp         unix  -  -  y  -  2    smtp\n    -o syslog_name=postfix/$service_name\n",
            "\nnixie-google_destination_concurrency_limit = 5\n",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("nixie-proofpoint"), "it documents nothing");
    }

    #[test]
    fn transports_are_looked_for_where_they_are_used() {
        let mut settings = Settings::default();
        settings.socketmap.lane_transports = true;
        let missing = |found: &Found| {
            let findings = compare(found, &settings, &providers());
            findings.iter().filter(|finding| !finding.good).count()
        };
        let mut with = found();
        let all = providers().all().iter().filter_map(Provider::transport).count();
        assert_eq!(missing(&with), all);
        let google = "nixie-google unix - - y - 5 smtp".to_owned();
        with.services.push(google);
        assert_eq!(missing(&with), all - 1);
    }

    #[test]
    fn a_complete_postfix_has_nothing_missing() {
        assert!(
            compare(&found(), &Settings::default(), &providers())
                .iter()
                .all(|finding| finding.good)
        );
    }

    #[test]
    fn a_milter_is_asked_on_both_ways() {
        let mut settings = Settings::default();
        assert!(!lines(&settings, "b.test").contains("milter"));
        settings.milter.listen = Some("unix:/var/spool/postfix/nixie/milter".parse().unwrap());
        let text = lines(&settings, "b.test");
        assert!(
            text.contains("\nsmtpd_milters = unix:nixie/milter\nnon_smtpd_milters = $smtpd_milters\n"),
            "{text}"
        );
        let mut with = found();
        let missing = |found: &Found| {
            compare(found, &settings, &providers())
                .iter()
                .filter(|f| !f.good)
                .count()
        };
        assert_eq!(missing(&with), 2);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        with.main
            .push(pair("smtpd_milters", "inet:filter.test:8891, unix:nixie/milter"));
        with.main.push(pair("non_smtpd_milters", "$smtpd_milters"));
        assert_eq!(missing(&with), 0);
    }

    /// The lines agree with the return paths that are signed.
    #[test]
    fn signed_return_paths_come_back() {
        let mut settings = Settings::default();
        settings.signing.key_file = "/etc/nixie/keys".into();
        settings.signing.domain = "bounces.shop.test".into();
        settings.signing.delimiter = '-';
        let text = lines(&settings, bounce_domain(&settings));
        for line in [
            "# b-TOKEN@bounces.shop.test.",
            "virtual_mailbox_domains = bounces.shop.test",
            "recipient_delimiter = -",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn each_thing_missing_is_named() {
        let mut without = found();
        without.overrides.clear();
        let missing: Vec<String> = compare(&without, &Settings::default(), &providers())
            .into_iter()
            .filter(|f| !f.good)
            .map(|f| f.text)
            .collect();
        assert_eq!(
            missing,
            [
                "master.cf: service rewrite-in, a trivial-rewrite with -o transport_maps= (without Nixie)",
                "master.cf: smtpd smtp/inet has -o rewrite_service_name=rewrite-in"
            ]
        );
        assert!(
            compare(&Found::default(), &Settings::default(), &providers())
                .iter()
                .all(|finding| !finding.good)
        );
    }

    #[test]
    fn sockets_in_the_queue_directory_are_named_from_there() {
        let listen = |path: &str| endpoint(Some(&path.parse().unwrap()), "").unwrap();
        assert_eq!(
            listen("unix:/var/spool/postfix/nixie/policy"),
            "unix:nixie/policy"
        );
        assert_eq!(listen("unix:/run/nixie/policy"), "unix:/run/nixie/policy");
        assert_eq!(listen("127.0.0.1:1"), "inet:127.0.0.1:1");
    }

    #[test]
    fn what_is_off_is_left_out() {
        let off = crate::config::Socketmap {
            listen: Some(ListenAddress::Off),
            ..Default::default()
        };
        let text = lines(
            &Settings {
                socketmap: off,
                ..Settings::default()
            },
            "b.test",
        );
        assert!(
            !text.contains("transport_maps")
                && text.contains("check_policy_service")
                && text.contains("b.test")
        );
    }
}
