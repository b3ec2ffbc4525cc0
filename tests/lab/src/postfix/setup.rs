//! How an instance is configured: main.cf, master.cf, the routes and the names of the providers.
//!
//! On failure (a file cannot be written): an error that names it.

use super::replace;
use crate::provider::Provider;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What is to be asked of Nixie; each is Postfix's own notation, `None` leaves the hook out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// The policy service: `inet:127.0.0.1:7460`.
    pub policy: Option<String>,
    /// The socketmap server, without the map's name: `inet:127.0.0.1:7461`.
    pub socketmap: Option<String>,
    /// The milter, for mail over SMTP and other mail: `inet:127.0.0.1:7462`.
    pub milter: Option<String>,
    /// The LMTP server for the bounce domain: `inet:127.0.0.1:7463`.
    pub lmtp: Option<String>,
}

/// The configuration of an instance.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) main: BTreeMap<String, String>,
    pub(super) hooks: Hooks,
    routes: BTreeMap<String, String>,
    hosts: BTreeMap<String, String>,
    bounce_domain: String,
    /// Services beyond those that every instance has, as lines of master.cf.
    pub(super) services: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// An instance without routes, that retries within seconds. Mail for `bounces.example.org` goes to
    /// the LMTP hook, and is dropped where there is none.
    #[must_use]
    pub fn new() -> Self {
        let mut setup = Self {
            main: BTreeMap::new(),
            hooks: Hooks::default(),
            routes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            bounce_domain: "bounces.example.org".to_owned(),
            services: String::new(),
        };
        for (name, value) in DEFAULTS {
            setup.main.insert((*name).to_owned(), (*value).to_owned());
        }
        setup.backoff("1s", "2s", "1s")
    }

    /// Leads a domain to a provider.
    #[must_use]
    pub fn route(mut self, domain: &str, provider: &Provider) -> Self {
        let at = provider.address();
        self.hosts.insert(provider.host().to_owned(), at.ip().to_string());
        self.routes.insert(
            domain.to_owned(),
            format!("smtp:[{}]:{}", provider.host(), at.port()),
        );
        self
    }

    /// Leads a domain to where its mail is dropped: for senders that are told of their bounces.
    #[must_use]
    pub fn discard(mut self, domain: &str) -> Self {
        self.routes.insert(domain.to_owned(), "discard:".to_owned());
        self
    }

    /// Sets a parameter of main.cf.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.main.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets when deferred mail is tried again: the shortest and the longest pause, and how often the
    /// deferred queue is looked at, in Postfix's notation (`1s`, `300s`).
    #[must_use]
    pub fn backoff(self, shortest: &str, longest: &str, queue_run: &str) -> Self {
        self.set("minimal_backoff_time", shortest)
            .set("maximal_backoff_time", longest)
            .set("queue_run_delay", queue_run)
    }

    /// Sets the hooks.
    #[must_use]
    pub fn hooked(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// Names the domain whose mail goes to the LMTP hook.
    #[must_use]
    pub fn bounce_domain(mut self, domain: &str) -> Self {
        self.bounce_domain = domain.to_owned();
        self
    }

    /// Writes every file of the instance that lives under `root`.
    pub(super) fn write(&self, root: &Path, smtp: SocketAddr) -> Result<()> {
        let static_map = format!("texthash:{}", root.join("etc/transport").display());
        replace(&root.join("etc/main.cf"), &self.main_cf(root, &static_map))?;
        let services = master_cf(smtp, &static_map) + &self.services;
        replace(&root.join("etc/master.cf"), &services)?;
        let mut routes = String::new();
        for (domain, next) in &self.routes {
            let _ = writeln!(routes, "{domain} {next}");
        }
        replace(&root.join("etc/transport"), &routes)?;
        let mut hosts = String::from("127.0.0.1 localhost\n");
        for (name, address) in &self.hosts {
            let _ = writeln!(hosts, "{address} {name}");
        }
        replace(&root.join("queue/etc/hosts"), &hosts)?;
        replace(&root.join("queue/etc/nsswitch.conf"), "hosts: files\n")
    }

    fn main_cf(&self, root: &Path, static_map: &str) -> String {
        let mut all = self.main.clone();
        let mut put = |name: &str, value: String| {
            all.entry(name.to_owned()).or_insert(value);
        };
        let root = root.display();
        put("queue_directory", format!("{root}/queue"));
        put("data_directory", format!("{root}/data"));
        put("maillog_file", format!("{root}/log/mail.log"));
        put("maillog_file_prefixes", root.to_string());
        put("virtual_mailbox_domains", self.bounce_domain.clone());
        let lmtp = self.hooks.lmtp.as_ref();
        put(
            "virtual_transport",
            lmtp.map_or("discard:".into(), |to| format!("lmtp:{to}")),
        );
        let socketmap = self.hooks.socketmap.as_ref();
        put(
            "transport_maps",
            socketmap.map_or(static_map.into(), |at| {
                format!("socketmap:{at}:transport, {static_map}")
            }),
        );
        if let Some(at) = &self.hooks.milter {
            put("smtpd_milters", at.clone());
            put("non_smtpd_milters", at.clone());
        }
        let policy = self.hooks.policy.as_ref().map_or(String::new(), |at| {
            format!("check_policy_service {{ {at}, timeout=3s, default_action=DUNNO }}, ")
        });
        put(
            "smtpd_recipient_restrictions",
            format!("{policy}permit_mynetworks, reject"),
        );
        let mut text = String::new();
        for (name, value) in all {
            let _ = writeln!(text, "{name} = {value}");
        }
        text
    }
}

/// What every instance has; the lab must never ask the world's DNS nor send there.
const DEFAULTS: &[(&str, &str)] = &[
    ("compatibility_level", "3.6"),
    ("myhostname", "mta.lab.example"),
    ("mydestination", ""),
    ("mynetworks", "127.0.0.0/8"),
    ("inet_interfaces", "loopback-only"),
    ("inet_protocols", "ipv4"),
    (
        "default_transport",
        "error:5.1.2 the lab has no route to this domain",
    ),
    (
        "relay_transport",
        "error:5.1.2 the lab has no route to this domain",
    ),
    ("local_transport", "error:5.1.1 the lab has no local users"),
    ("local_recipient_maps", ""),
    ("alias_maps", ""),
    ("alias_database", ""),
    ("smtp_host_lookup", "native"),
    ("smtp_dns_support_level", "disabled"),
    ("smtpd_peername_lookup", "no"),
    ("smtpd_tls_security_level", "none"),
    ("smtp_tls_security_level", "none"),
    ("smtputf8_enable", "yes"),
    ("recipient_delimiter", "+"),
    ("append_dot_mydomain", "no"),
    ("biff", "no"),
    ("smtpd_relay_restrictions", "permit_mynetworks, reject"),
    // A refused recipient is what the lab is about, not an attack.
    ("smtpd_error_sleep_time", "0"),
    ("smtpd_soft_error_limit", "1000000"),
    ("smtpd_hard_error_limit", "1000000"),
    ("smtp_connect_timeout", "5s"),
    ("notify_classes", ""),
    ("queue_minfree", "0"),
];

/// The services. The SMTP server has a resolver of its own without Nixie's map: its look-ups, at MAIL
/// and at RCPT, would otherwise count as delivery attempts.
fn master_cf(smtp: SocketAddr, static_map: &str) -> String {
    format!(
        "{smtp} inet n - n - - smtpd\n\
         \x20   -o rewrite_service_name=rewrite-in\n\
         rewrite-in unix - - n - - trivial-rewrite\n\
         \x20   -o transport_maps={static_map}\n\
         pickup    unix n - n 1 1 pickup\n\
         cleanup   unix n - n - 0 cleanup\n\
         qmgr      unix n - n 1 1 qmgr\n\
         tlsmgr    unix - - n 1000? 1 tlsmgr\n\
         rewrite   unix - - n - - trivial-rewrite\n\
         bounce    unix - - n - 0 bounce\n\
         defer     unix - - n - 0 bounce\n\
         trace     unix - - n - 0 bounce\n\
         verify    unix - - n - 1 verify\n\
         flush     unix n - n 1000? 0 flush\n\
         proxymap  unix - - n - - proxymap\n\
         proxywrite unix - - n - 1 proxymap\n\
         smtp      unix - - y - - smtp\n\
         relay     unix - - y - - smtp\n\
         showq     unix n - n - - showq\n\
         error     unix - - n - - error\n\
         retry     unix - - n - - error\n\
         discard   unix - - n - - discard\n\
         lmtp      unix - - n - - lmtp\n\
         anvil     unix - - n - 1 anvil\n\
         scache    unix - - n - 1 scache\n\
         postlog   unix-dgram n - n - 1 postlogd\n"
    )
}
