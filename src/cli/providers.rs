//! `nixie providers`: the catalogue of providers. `check` says all that is wrong with one, with file and
//! line, entries that can never match among it; `list` shows it; `of` tells whose a host or a domain is.
//! Exit code 1 where something is wrong.

use crate::config::{Dns as DnsSettings, Settings};
use crate::engine::exchanger::{self, Exchangers};
use crate::engine::provider::{Documented, Provider, Providers};
use crate::serve;
use crate::serve::dns::Dns;
use anyhow::Context as _;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with the catalogue.
#[derive(Debug, Subcommand)]
pub enum ProvidersCommand {
    /// Say all that is wrong with a catalogue, such as entries that can never match
    Check {
        /// The catalogue [default: that of the configuration]
        file: Option<PathBuf>,
    },
    /// Show the providers, and what they document
    List,
    /// Look a domain's mail exchangers up, and say whose limits its mail is under
    Of {
        /// Domains, as in example.org
        #[arg(required = true)]
        domains: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// A catalogue that cannot be read, or has mistakes; no name servers.
pub async fn run(command: &ProvidersCommand, settings: &Settings) -> anyhow::Result<ExitCode> {
    match command {
        ProvidersCommand::Check { file } => check(file.as_ref(), settings),
        ProvidersCommand::List => {
            list(&serve::providers(settings)?);
            Ok(ExitCode::SUCCESS)
        }
        ProvidersCommand::Of { domains } => of(domains, &serve::providers(settings)?, &settings.dns).await,
    }
}

fn check(file: Option<&PathBuf>, settings: &Settings) -> anyhow::Result<ExitCode> {
    let configured = Some(&settings.rules.providers).filter(|path| !path.as_os_str().is_empty());
    let (name, text) = match file.or(configured) {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            (path.display().to_string(), text)
        }
        None => ("the shipped catalogue".into(), Providers::SHIPPED.to_owned()),
    };
    let mistakes = Providers::mistakes(&text, &name);
    if mistakes.is_empty() {
        let count = Providers::parse(&text, &name)?.all().len();
        say!("{name}: good, {count} providers");
        return Ok(ExitCode::SUCCESS);
    }
    let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    anyhow::bail!("the catalogue has mistakes:\n{}", all.join("\n"))
}

fn list(providers: &Providers) {
    say!("{:<14} {:<44} documented for one sending address", "id", "name");
    for provider in providers.all() {
        let Provider { id, name, limits, .. } = provider;
        say!("{id:<14} {name:<44} {}", documented(limits));
    }
}

fn documented(limits: &Documented) -> String {
    let mut said = Vec::new();
    let mut add = |limit: Option<u32>, what: &str| {
        said.extend(limit.map(|limit| format!("{limit} {what}")));
    };
    add(limits.connections, "connections");
    add(limits.messages_per_connection, "messages a connection");
    add(limits.messages_per_second, "messages a second");
    if limits.tls {
        said.push("TLS".into());
    }
    if said.is_empty() {
        return "nothing".into();
    }
    said.join(", ")
}

async fn of(domains: &[String], providers: &Providers, settings: &DnsSettings) -> anyhow::Result<ExitCode> {
    let dns = Dns::new(settings)?;
    let mut code = ExitCode::SUCCESS;
    for domain in domains {
        let (exchangers, _) = dns.exchangers(domain).await;
        let provider = exchanger::provider(providers, domain, &exchangers)
            .unwrap_or_else(|| providers.provider_of_relay(domain));
        let because = match &exchangers {
            Exchangers::Hosts(hosts) => hosts.join(", "),
            Exchangers::Nobody => "takes no mail, or there is no such domain".into(),
            Exchangers::Unknown => {
                code = ExitCode::FAILURE;
                "DNS did not answer".into()
            }
        };
        say!("{domain:<30} {provider:<20} {because}");
    }
    Ok(code)
}
