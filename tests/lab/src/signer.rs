//! A domain that signs mail: DKIM (RFC 6376) by an Ed25519 key (RFC 8463), and ARC (RFC 8617).
//!
//! On failure: an error of mail-auth's.

use crate::dns::Zone;
use anyhow::{Context, Result};
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{DkimSigner, Signature};
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults, DkimOutput};

/// What well-kept mail systems sign of a bounce.
pub const USUAL: &[&str] = &[
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
];
/// The name that every key here goes by.
const SELECTOR: &str = "lab";

/// A domain and its key.
#[derive(Debug, Clone)]
pub struct Signer {
    domain: String,
    key: Vec<u8>,
}

impl Signer {
    /// A domain with a new key.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn new(domain: &str) -> Result<Self> {
        let key = Ed25519Key::generate_pkcs8().map_err(|error| anyhow::anyhow!("{error}"))?;
        let domain = domain.to_owned();
        Ok(Self { domain, key })
    }

    /// The name under which a name server gives the key, and the key.
    ///
    /// # Errors
    /// None, as long as the key is one.
    pub fn record(&self) -> Result<(String, Zone)> {
        let name = format!("{SELECTOR}._domainkey.{}", self.domain);
        let key = data_encoding::BASE64.encode(&self.key()?.public_key());
        Ok((name, Zone::text(&format!("v=DKIM1; k=ed25519; p={key}"))))
    }

    /// The message with a signature over what is usual.
    ///
    /// # Errors
    /// Where it has none of the fields.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.sign_fields(message, USUAL)
    }

    /// The message with a signature over these fields.
    ///
    /// # Errors
    /// Where it has none of them.
    pub fn sign_fields(&self, message: &[u8], fields: &[&str]) -> Result<Vec<u8>> {
        self.sign_with(message, fields, |signer| signer)
    }

    /// The same, with what else the signer is to say.
    ///
    /// # Errors
    /// Where the message has none of the fields.
    pub fn sign_with(
        &self,
        message: &[u8],
        fields: &[&str],
        change: impl FnOnce(
            DkimSigner<Ed25519Key, mail_auth::dkim::Done>,
        ) -> DkimSigner<Ed25519Key, mail_auth::dkim::Done>,
    ) -> Result<Vec<u8>> {
        let signer = DkimSigner::from_key(self.key()?)
            .domain(&self.domain)
            .selector(SELECTOR)
            .headers(fields.iter().copied());
        let signature = change(signer)
            .sign(message)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok([signature.to_header().as_bytes(), message].concat())
    }

    /// The message sealed as the first link of a chain, by somebody who saw signatures of these domains hold.
    ///
    /// # Errors
    /// Where the message is none.
    pub fn seal(&self, message: &[u8], passed: &[&str]) -> Result<Vec<u8>> {
        self.seal_behind(message, passed, &ArcOutput::default())
    }

    /// The message sealed as the next link of the chain that was found in it.
    ///
    /// # Errors
    /// Where the message is none, or the chain has ended: a sealer before said that it does not hold.
    pub fn seal_behind(&self, message: &[u8], passed: &[&str], chain: &ArcOutput<'_>) -> Result<Vec<u8>> {
        let parsed = AuthenticatedMessage::parse(message).context("a message")?;
        let signatures: Vec<Signature> = passed
            .iter()
            .map(|domain| Signature {
                d: (*domain).to_owned(),
                i: format!("@{domain}"),
                b: vec![1; 32],
                ..Signature::default()
            })
            .collect();
        let found: Vec<DkimOutput<'_>> = signatures
            .iter()
            .map(|signature| DkimOutput::pass().with_signature(signature))
            .collect();
        let host = format!("mx.{}", self.domain);
        let results = AuthenticationResults::new(&host).with_dkim_results(&found, "");
        let set = ArcSealer::from_key(self.key()?)
            .domain(&self.domain)
            .selector(SELECTOR)
            .headers(USUAL.iter().copied())
            .seal(&parsed, &results, chain)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok([set.to_header().as_bytes(), message].concat())
    }

    fn key(&self) -> Result<Ed25519Key> {
        Ed25519Key::from_pkcs8_der(&self.key).map_err(|error| anyhow::anyhow!("{error}"))
    }
}
