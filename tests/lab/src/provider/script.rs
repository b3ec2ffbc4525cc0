//! What a provider does: its name, its limits, its mailboxes, and its own words for each refusal.
//!
//! The words follow what the large providers are known to say (their postmaster pages, bounces in the
//! wild), so that rules are tested with the texts that they will meet.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// In whose manner a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Google.
    Gmail,
    /// Microsoft's consumer mail.
    Outlook,
    /// Yahoo and AOL.
    Yahoo,
    /// Somebody's own Postfix.
    Small,
}

/// A mailbox that is not simply there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mailbox {
    /// There is none: a permanent refusal at RCPT.
    Dead,
    /// It is over its quota: a temporary refusal at RCPT.
    Full,
    /// It is taken at RCPT and bounced later, by a notification that the test sends
    /// ([`super::Message::bounce`]).
    Late,
}

/// A hidden limit: a token bucket over accepted recipients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Recipients a minute.
    pub per_minute: f64,
    /// Recipients at once after a rest.
    pub burst: f64,
}

/// What a provider does. Everything may be changed while it runs (`Provider::change`), the host name
/// and the address excepted.
#[derive(Debug, Clone)]
pub struct Script {
    /// In whose manner it speaks.
    pub flavour: Flavour,
    /// The host name of its mail exchanger, as Postfix logs it.
    pub host: String,
    /// The address that it listens on; the port is free and differs at every start.
    pub address: Ipv4Addr,
    /// The special mailboxes, by lower-cased address. Every other one exists.
    pub mailboxes: HashMap<String, Mailbox>,
    /// The hidden limit; `None` takes all.
    pub rate: Option<Rate>,
    /// Simultaneous connections; the next one is greeted with a 421.
    pub max_connections: Option<usize>,
    /// Whether the first attempt of a sender at a recipient is put off with a 450.
    pub greylist: bool,
    /// Whether messages are refused with 550 5.7.26 or its like, for want of SPF and DKIM.
    pub unauthenticated: bool,
    /// Messages that contain this text are refused as spam with a 554.
    pub spam: Option<String>,
    /// The size limit in bytes: announced in EHLO, enforced with a 552.
    pub max_size: usize,
    /// A greeting other than 220, after which the connection is closed (`554 5.7.1 …`).
    pub greeting: Option<String>,
    /// The reply when the hidden limit is reached, in place of the provider's usual one.
    pub limit_reply: Option<String>,
    /// How long the provider thinks before it answers RCPT.
    pub latency: Duration,
}

impl Script {
    fn new(flavour: Flavour, host: &str, last: u8) -> Self {
        Self {
            flavour,
            host: host.to_owned(),
            address: Ipv4Addr::new(127, 0, 0, last),
            mailboxes: HashMap::new(),
            rate: None,
            max_connections: None,
            greylist: false,
            unauthenticated: false,
            spam: None,
            max_size: 26_214_400,
            greeting: None,
            limit_reply: None,
            latency: Duration::ZERO,
        }
    }

    /// A provider like Google, on 127.0.0.21.
    #[must_use]
    pub fn gmail() -> Self {
        Self::new(Flavour::Gmail, "gmail-smtp-in.l.google.com", 21)
    }

    /// A provider like Microsoft's consumer mail, on 127.0.0.22.
    #[must_use]
    pub fn outlook() -> Self {
        Self::new(Flavour::Outlook, "outlook-com.olc.protection.outlook.com", 22)
    }

    /// A provider like Yahoo, on 127.0.0.23.
    #[must_use]
    pub fn yahoo() -> Self {
        Self::new(Flavour::Yahoo, "mta5.am0.yahoodns.net", 23)
    }

    /// A small one that nobody keeps a catalogue of, on 127.0.0.24.
    #[must_use]
    pub fn small() -> Self {
        Self::new(Flavour::Small, "mx1.small.example", 24)
    }

    /// Makes these addresses special.
    #[must_use]
    pub fn with<'a>(mut self, mailbox: Mailbox, addresses: impl IntoIterator<Item = &'a str>) -> Self {
        for address in addresses {
            self.mailboxes.insert(address.to_lowercase(), mailbox);
        }
        self
    }

    /// Sets the hidden limit: recipients a minute, and at once.
    #[must_use]
    pub fn limited(mut self, per_minute: u32, burst: u32) -> Self {
        self.rate = Some(Rate {
            per_minute: per_minute.into(),
            burst: burst.into(),
        });
        self
    }

    /// The reply to a recipient whose mailbox does not exist.
    #[must_use]
    pub fn dead(&self, recipient: &str) -> String {
        match self.flavour {
            Flavour::Gmail => {
                "550-5.1.1 The email account that you tried to reach does not exist. Please try\n\
                 550-5.1.1 double-checking the recipient's email address for typos or\n\
                 550-5.1.1 unnecessary spaces. For more information, go to\n\
                 550 5.1.1  https://support.google.com/mail/?p=NoSuchUser 5b1f17b1804b1-4a7si3318 - gsmtp"
                    .into()
            }
            Flavour::Outlook => "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). \
                 [DB5EUR02FT042.eop-EUR02.prod.protection.outlook.com]"
                .into(),
            Flavour::Yahoo => "552 1 Requested mail action aborted, mailbox not found".into(),
            Flavour::Small => format!(
                "550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in virtual mailbox table"
            ),
        }
    }

    /// The reply to a recipient whose mailbox is full.
    #[must_use]
    pub fn full(&self, recipient: &str) -> String {
        match self.flavour {
            Flavour::Gmail => "452-4.2.2 The recipient's inbox is out of storage space. Please direct the\n\
                 452-4.2.2 recipient to\n\
                 452 4.2.2  https://support.google.com/mail/?p=OverQuotaTemp 5b1f17b1804b1-4a7si3318 - gsmtp"
                .into(),
            Flavour::Outlook => "452 4.2.2 Mailbox full; the recipient is over the storage limit \
                 [DB5EUR02FT042.eop-EUR02.prod.protection.outlook.com]"
                .into(),
            Flavour::Yahoo => "452 4.2.2 Mailbox full, user is over quota".into(),
            Flavour::Small => format!("452 4.2.2 <{recipient}>: Recipient address rejected: Mailbox full"),
        }
    }

    /// The reply when the hidden limit is reached.
    #[must_use]
    pub fn limit(&self) -> String {
        if let Some(reply) = &self.limit_reply {
            return reply.clone();
        }
        match self.flavour {
            Flavour::Gmail => {
                "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n\
                 421-4.7.28 from your IP address. To protect our users from spam, mail sent from\n\
                 421-4.7.28 your IP address has been temporarily rate limited. Please visit\n\
                 421 4.7.28  https://support.google.com/mail/?p=UnsolicitedRateLimitError 4a7si3318 - gsmtp"
                    .into()
            }
            Flavour::Outlook => "451 4.7.500 Server busy. Please try again later from [127.0.0.1]. (S77719) \
                 [DB5EUR02FT042.eop-EUR02.prod.protection.outlook.com]"
                .into(),
            Flavour::Yahoo => {
                "421 4.7.0 [TSS04] Messages from 127.0.0.1 temporarily deferred due to unexpected \
                 volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes"
                    .into()
            }
            Flavour::Small => {
                "450 4.7.1 Error: too much mail from 127.0.0.1, please slow down and try again later".into()
            }
        }
    }

    /// Outlook's other words for its limit, closing the connection: for `limit_reply`.
    #[must_use]
    pub fn outlook_rp_001() -> String {
        "421 RP-001 (SNT004-MC1F23) Unfortunately, some messages from 127.0.0.1 weren't sent. Please try again. \
         We have limits for how many messages can be sent per hour and per day."
            .into()
    }

    /// The greeting of a connection too many.
    #[must_use]
    pub fn crowded(&self) -> String {
        match self.flavour {
            Flavour::Gmail => {
                "421 4.7.0 Try again later, closing connection. Too many connections from your IP \
                 address. 4a7si3318 - gsmtp"
                    .into()
            }
            Flavour::Outlook => {
                "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, \
                 closing transmission channel"
                    .into()
            }
            Flavour::Yahoo => "421 4.7.0 [TS02] Too many simultaneous connections from 127.0.0.1; \
                 see https://postmaster.yahooinc.com/error-codes"
                .into(),
            Flavour::Small => format!(
                "421 4.7.0 {} Error: too many connections from 127.0.0.1",
                self.host
            ),
        }
    }

    /// The reply to a first attempt where first attempts are put off.
    #[must_use]
    pub fn greylisted(&self, recipient: &str) -> String {
        format!("450 4.2.0 <{recipient}>: Recipient address rejected: Greylisted, try again in a moment")
    }

    /// The reply to a message without SPF and DKIM.
    #[must_use]
    pub fn not_authenticated(&self) -> String {
        match self.flavour {
            Flavour::Gmail => {
                "550-5.7.26 This mail has been blocked because the sender is unauthenticated.\n\
                 550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.\n\
                 550-5.7.26 Authentication results: DKIM = did not pass SPF = did not pass\n\
                 550 5.7.26  https://support.google.com/mail/answer/81126#authentication 4a7si3318 - gsmtp"
                    .into()
            }
            Flavour::Outlook => "550 5.7.515 Access denied, sending domain does not meet the required \
                 authentication level. [DB5EUR02FT042.eop-EUR02.prod.protection.outlook.com]"
                .into(),
            Flavour::Yahoo => {
                "550 5.7.9 This mail has been blocked because the sender is unauthenticated. Yahoo \
                 requires all senders to authenticate with either SPF or DKIM."
                    .into()
            }
            Flavour::Small => {
                "550 5.7.1 SPF check failed: 127.0.0.1 is not allowed to send for this domain".into()
            }
        }
    }

    /// The reply to spam.
    #[must_use]
    pub fn spam_refused(&self) -> String {
        match self.flavour {
            Flavour::Yahoo => "554 Message not allowed - [299]".into(),
            Flavour::Gmail | Flavour::Outlook | Flavour::Small => {
                "554 5.7.1 Message refused: its content looks like spam".into()
            }
        }
    }

    /// The reply to a message over the size limit.
    #[must_use]
    pub fn too_large(&self) -> String {
        match self.flavour {
            Flavour::Gmail => "552-5.3.4 Your message exceeded Google's message size limits. Please visit\n\
                 552 5.3.4  https://support.google.com/mail/?p=MaxSizeError 4a7si3318 - gsmtp"
                .into(),
            Flavour::Outlook | Flavour::Yahoo | Flavour::Small => {
                "552 5.3.4 Message size exceeds fixed limit".into()
            }
        }
    }
}
