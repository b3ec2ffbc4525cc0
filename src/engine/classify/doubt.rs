//! Texts that condemn an address and also speak of us.
//!
//! `Your account has been suspended`, `Absender unbekannt`: what is called dead may be our own mailbox, and who is named
//! beside it is alive. Rules know many such sentences; the words here stand for those that no rule knows, in the
//! languages that mail systems speak. What they cost is that some dead addresses take several such replies.
//! Nothing fails.

use crate::engine::verdict::{Remedy, Verdict};
use regex::bytes::Regex;
use std::sync::LazyLock;

/// Words that speak of us, in the normal form of a text.
#[rustfmt::skip]
const OF_US: &[&str] = &[
    "sender", "sending", "not send", "outbound", "outgoing", "originator", "return address", "return-path",
    "envelope", "mail from", "from address", "from:", "your domain", "your host", "your account",
    "your mailbox", "header", "callout", "verify",
    // German, Dutch, Swedish, Danish, Norwegian
    "absender", "versend", "kopfzeile", "ihr konto", "ihr postfach", "afzender", "verzend", "avsandar",
    "avsender", "afsender",
    // French, Spanish, Portuguese, Italian, Romanian
    "expediteur", "emetteur", "en-tete", "envoyer", "votre compte", "votre adresse", "remitente", "emisor",
    "cabecera", "encabezado", "su cuenta", "enviar", "remetente", "emissor", "cabecalho", "sua conta",
    "mittente", "intestazione", "inviare", "expeditor",
    // Polish, Czech, Slovak, Hungarian, Finnish, Turkish
    "nadawc", "naglow", "odesilatel", "odosielatel", "hlavick", "felado", "fejlec", "lahettaj", "gonderen",
    "gonderici",
    // Russian, Ukrainian
    "отправител", "заголов", "відправник",
    // Chinese, Japanese, Korean
    "发件", "發件", "寄件", "发送者", "發送者", "寄信", "信头", "送信者", "差出人", "発信者", "발신", "보낸",
];

/// [`OF_US`] as a search, in one pass.
static SPEAKS_OF_US: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words: Vec<String> = OF_US.iter().map(|word| regex::escape(word)).collect();
    Regex::new(&words.join("|")).ok()
});

/// A text that also speaks of us condemns nobody at once: it takes several like it.
pub(super) fn doubted(verdict: Verdict, normal: &str) -> Verdict {
    let of_us = || {
        SPEAKS_OF_US
            .as_ref()
            .is_none_or(|words| words.is_match(normal.as_bytes()))
    };
    if verdict.remedy == Remedy::Suppress && of_us() {
        return Verdict {
            remedy: Remedy::SuppressIfRepeated,
            ..verdict
        };
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::normal::normalised;

    #[test]
    fn every_word_is_in_the_normal_form() {
        for word in OF_US {
            assert_eq!(normalised(word), *word);
        }
        assert!(SPEAKS_OF_US.is_some());
    }
}
