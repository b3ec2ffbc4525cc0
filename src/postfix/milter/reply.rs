//! What a milter answers (`SMFIR_*`), and what it asks to have changed at the end of a message.

use crate::postfix::text::push_line;

/// An answer, or a change. Changes are said at the end of the message only, before the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Go on.
    Continue,
    /// Take the message (or, at RCPT, this recipient); ask no more.
    Accept,
    /// Take it and throw it away.
    Discard,
    /// `550 5.7.1`, in the MTA's words.
    Reject,
    /// `451 4.7.1`, in the MTA's words.
    TempFail,
    /// Send no more of the body.
    Skip,
    /// A refusal in our words.
    Code {
        /// The three digits: 4xx or 5xx.
        code: u16,
        /// The enhanced status (RFC 3463), of the same class.
        status: &'static str,
        /// What people read: one line.
        text: String,
    },
    /// Replace the envelope sender.
    ChangeSender(String),
    /// Add a recipient, in `<>`.
    AddRcpt(String),
    /// Remove a recipient, spelled as the MTA spelled it.
    DeleteRcpt(Vec<u8>),
    /// Add a header field behind the others.
    AddHeader {
        /// Its name.
        name: String,
        /// Its value: one line.
        value: String,
    },
    /// Keep the message in the hold queue, for a reason.
    Quarantine(String),
    /// Still at work: the MTA's clock begins anew.
    Progress,
}

impl Reply {
    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(self.letter());
        match self {
            Self::Continue
            | Self::Accept
            | Self::Discard
            | Self::Reject
            | Self::TempFail
            | Self::Skip
            | Self::Progress => {}
            Self::Code { code, status, text } => {
                out.extend_from_slice(format!("{code} {status} ").as_bytes());
                push_reply(out, text);
                out.push(0);
            }
            Self::ChangeSender(text) | Self::AddRcpt(text) | Self::Quarantine(text) => {
                push_string(out, text.as_bytes())
            }
            Self::DeleteRcpt(octets) => push_string(out, octets),
            Self::AddHeader { name, value } => {
                push_string(out, name.as_bytes());
                push_string(out, value.as_bytes());
            }
        }
        let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn letter(&self) -> u8 {
        match self {
            Self::Continue => b'c',
            Self::Accept => b'a',
            Self::Discard => b'd',
            Self::Reject => b'r',
            Self::TempFail => b't',
            Self::Skip => b's',
            Self::Code { .. } => b'y',
            Self::ChangeSender(_) => b'e',
            Self::AddRcpt(_) => b'+',
            Self::DeleteRcpt(_) => b'-',
            Self::AddHeader { .. } => b'h',
            Self::Quarantine(_) => b'q',
            Self::Progress => b'p',
        }
    }
}

/// A string, ended by NUL. An address may be UTF-8 (RFC 6531); a control character stands in none, and would end the
/// string or begin another line of header.
fn push_string(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend(octets.iter().filter(|octet| !octet.is_ascii_control()));
    out.push(0);
}

/// The text of an SMTP reply. A `%` is doubled, as Sendmail's library demands.
fn push_reply(out: &mut Vec<u8>, text: &str) {
    if text.contains('%') {
        push_line(out, &text.replace('%', "%%"));
    } else {
        push_line(out, text);
    }
}
