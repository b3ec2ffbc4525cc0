//! Whose export a file is, and what stands in which of its columns.
//!
//! Formats are told by the names of the columns, and where two lists of a service have the same columns (SendGrid's
//! bounces and its blocks), by the file's name. What is told by neither is asked for, never guessed: a list of blocks
//! taken for one of bounces would cost live people their mail.

use super::column::Role;
use crate::engine::verdict::Cause;
use std::fmt;
use std::str::FromStr;

/// The lists of addresses that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Our own export, or `address,cause`.
    Nixie,
    /// Addresses, perhaps with reasons in words that are known.
    Plain,
    /// Amazon SES, the account's suppression list.
    Ses,
    /// SendGrid, bounces.
    SendGridBounces,
    /// SendGrid, blocks: none of the recipients' fault.
    SendGridBlocks,
    /// SendGrid, invalid addresses.
    SendGridInvalid,
    /// SendGrid, spam reports.
    SendGridSpam,
    /// SendGrid, unsubscribes.
    SendGridUnsubscribes,
    /// Mailgun, bounces.
    MailgunBounces,
    /// Mailgun, complaints.
    MailgunComplaints,
    /// Mailgun, unsubscribes.
    MailgunUnsubscribes,
    /// Postmark, the suppressions of a stream.
    Postmark,
    /// SparkPost, the suppression list.
    SparkPost,
}

/// What a format is known by, and what its lines mean.
struct Shape {
    format: Format,
    /// As `--format` takes it.
    name: &'static str,
    /// Columns that must be there, as [`plain`] writes them.
    needs: &'static [&'static str],
    /// Columns that must not.
    lacks: &'static [&'static str],
    /// Whether the columns alone tell the format; else a word in the file's name must.
    word: Option<&'static str>,
    columns: &'static [(&'static str, Role)],
}

const SENDGRID: &[(&str, Role)] = &[
    ("email", Role::Address),
    ("reason", Role::Reply),
    ("status", Role::Status),
    ("created", Role::Since),
];
const MAILGUN: &[(&str, Role)] = &[
    ("address", Role::Address),
    ("code", Role::Code),
    ("error", Role::Reply),
    ("tag", Role::Part),
    ("tags", Role::Part),
    ("createdat", Role::Since),
];

const SHAPES: [Shape; 12] = [
    Shape {
        format: Format::Nixie,
        name: "nixie",
        needs: &["address", "cause"],
        lacks: &[],
        word: None,
        columns: &[
            ("address", Role::Address),
            ("cause", Role::Cause),
            ("since", Role::Since),
            ("expires", Role::Expires),
            ("stream", Role::Stream),
            ("author", Role::Author),
            ("reason", Role::Reply),
        ],
    },
    Shape {
        format: Format::Ses,
        name: "ses",
        needs: &["emailaddress", "reason"],
        lacks: &[],
        word: None,
        columns: &[
            ("emailaddress", Role::Address),
            ("reason", Role::Reason),
            ("lastupdatetime", Role::Since),
        ],
    },
    Shape {
        format: Format::Postmark,
        name: "postmark",
        needs: &["emailaddress", "suppressionreason"],
        lacks: &[],
        word: None,
        columns: &[
            ("emailaddress", Role::Address),
            ("suppressionreason", Role::Reason),
            ("createdat", Role::Since),
        ],
    },
    Shape {
        format: Format::SparkPost,
        name: "sparkpost",
        needs: &["recipient", "type"],
        lacks: &[],
        word: None,
        columns: &[
            ("recipient", Role::Address),
            ("type", Role::Part),
            ("source", Role::Reason),
            ("description", Role::Reply),
            ("created", Role::Since),
        ],
    },
    Shape {
        format: Format::SendGridBounces,
        name: "sendgrid-bounces",
        needs: &["email", "status", "reason"],
        lacks: &[],
        word: Some("bounce"),
        columns: SENDGRID,
    },
    Shape {
        format: Format::SendGridBlocks,
        name: "sendgrid-blocks",
        needs: &["email", "status", "reason"],
        lacks: &[],
        word: Some("block"),
        columns: SENDGRID,
    },
    Shape {
        format: Format::SendGridInvalid,
        name: "sendgrid-invalid",
        needs: &["email", "reason", "created"],
        lacks: &["status"],
        word: Some("invalid"),
        columns: SENDGRID,
    },
    Shape {
        format: Format::SendGridSpam,
        name: "sendgrid-spam",
        needs: &["email", "ip", "created"],
        lacks: &["status", "reason"],
        word: None,
        columns: SENDGRID,
    },
    Shape {
        format: Format::SendGridUnsubscribes,
        name: "sendgrid-unsubscribes",
        needs: &["email", "created"],
        lacks: &["status", "reason", "ip"],
        word: Some("unsub"),
        columns: SENDGRID,
    },
    Shape {
        format: Format::MailgunBounces,
        name: "mailgun-bounces",
        needs: &["address", "error"],
        lacks: &[],
        word: None,
        columns: MAILGUN,
    },
    Shape {
        format: Format::MailgunUnsubscribes,
        name: "mailgun-unsubscribes",
        needs: &["address", "createdat"],
        lacks: &["error"],
        word: Some("unsub"),
        columns: MAILGUN,
    },
    Shape {
        format: Format::MailgunComplaints,
        name: "mailgun-complaints",
        needs: &["address", "createdat"],
        lacks: &["error", "tag", "tags"],
        word: Some("complain"),
        columns: MAILGUN,
    },
];

/// Names of columns in files of no service that is known, by their roles.
const COLUMNS: &[(&str, Role)] = &[
    ("address", Role::Address),
    ("email", Role::Address),
    ("emailaddress", Role::Address),
    ("mail", Role::Address),
    ("recipient", Role::Address),
    ("recipientemail", Role::Address),
    ("subscriber", Role::Address),
    ("cause", Role::Cause),
    ("reason", Role::Reason),
    ("suppressionreason", Role::Reason),
    ("bouncetype", Role::Reason),
    ("type", Role::Reason),
    ("source", Role::Reason),
    ("detail", Role::Reply),
    ("description", Role::Reply),
    ("diagnostic", Role::Reply),
    ("error", Role::Reply),
    ("message", Role::Reply),
    ("reply", Role::Reply),
    ("code", Role::Code),
    ("status", Role::Status),
    ("created", Role::Since),
    ("createdat", Role::Since),
    ("date", Role::Since),
    ("lastupdatetime", Role::Since),
    ("since", Role::Since),
    ("time", Role::Since),
    ("timestamp", Role::Since),
    ("expires", Role::Expires),
    ("stream", Role::Stream),
];

/// Why a format could not be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Several lists have these columns.
    #[error(
        "the columns {columns} are those of {candidates}: say which with --format, or what they mean with --cause"
    )]
    Ambiguous {
        /// What was found.
        columns: String,
        /// Which have them.
        candidates: String,
    },
    /// No column is one of addresses.
    #[error("expected a column of addresses, found {0}: say which with --column address=NAME")]
    NoAddress(String),
}

impl Format {
    /// What a line means that says nothing else; `None` where it must say.
    #[must_use]
    pub fn meaning(self) -> Option<Cause> {
        match self {
            Self::SendGridBounces | Self::MailgunBounces => Some(Cause::UserUnknown),
            Self::SendGridInvalid => Some(Cause::BadAddressSyntax),
            Self::SendGridSpam | Self::MailgunComplaints => Some(Cause::Complaint),
            Self::SendGridUnsubscribes | Self::MailgunUnsubscribes => Some(Cause::Unsubscribed),
            Self::Nixie
            | Self::Plain
            | Self::SendGridBlocks
            | Self::Ses
            | Self::Postmark
            | Self::SparkPost => None,
        }
    }

    /// What stands in a column of this name, which [`plain`] has written.
    #[must_use]
    pub fn role(self, column: &str) -> Option<Role> {
        let shape = SHAPES.iter().find(|shape| shape.format == self);
        let columns = shape.map_or(COLUMNS, |shape| shape.columns);
        columns
            .iter()
            .find(|(name, _)| *name == column)
            .map(|&(_, role)| role)
    }

    /// Tells the format by the columns' names, as [`plain`] writes them, and the file's. Where `cause` says what the
    /// lines mean, what cannot be told is a plain list.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn detect(columns: &[String], file: &str, cause: Option<Cause>) -> Result<Self, FormatError> {
        let has = |name: &&str| columns.iter().any(|column| column == name);
        let fits: Vec<&Shape> = SHAPES
            .iter()
            .filter(|shape| shape.needs.iter().all(has) && !shape.lacks.iter().any(has))
            .collect();
        if let Some(shape) = fits.iter().find(|shape| shape.word.is_none()) {
            return Ok(shape.format);
        }
        // Mailgun's tags are in no other list.
        if has(&"tags") && fits.iter().any(|shape| shape.format == Self::MailgunUnsubscribes) {
            return Ok(Self::MailgunUnsubscribes);
        }
        let file = file.to_lowercase();
        let said: Vec<&&Shape> = fits
            .iter()
            .filter(|shape| shape.word.is_some_and(|word| file.contains(word)))
            .collect();
        match said.as_slice() {
            [shape] => Ok(shape.format),
            _ if fits.is_empty() || cause.is_some() => Ok(Self::Plain),
            _ => Err(FormatError::Ambiguous {
                columns: columns.join(", "),
                candidates: fits
                    .iter()
                    .map(|shape| shape.name)
                    .collect::<Vec<_>>()
                    .join(" and of "),
            }),
        }
    }

    /// The names of all of them.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        let plain = std::iter::once("plain");
        SHAPES.iter().map(|shape| shape.name).chain(plain).collect()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = SHAPES.iter().find(|shape| shape.format == *self);
        f.pad(shape.map_or("plain", |shape| shape.name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "plain" {
            return Ok(Self::Plain);
        }
        let shape = SHAPES.iter().find(|shape| shape.name == text);
        shape
            .map(|shape| shape.format)
            .ok_or_else(|| format!("expected one of {}, found {text:?}", Self::names().join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::reason::plain;
    use super::*;

    fn detect(header: &str, file: &str, cause: Option<Cause>) -> Result<Format, FormatError> {
        let columns: Vec<String> = header.split(',').map(plain).collect();
        Format::detect(&columns, file, cause)
    }

    #[test]
    fn formats_are_told_by_their_columns() {
        let table = [
            ("address,cause", "x", Format::Nixie),
            (
                "id,address,stream,cause,since,expires,author,reason",
                "x",
                Format::Nixie,
            ),
            ("EmailAddress,Reason,LastUpdateTime", "x", Format::Ses),
            (
                "EmailAddress,SuppressionReason,Origin,CreatedAt",
                "x",
                Format::Postmark,
            ),
            (
                "recipient,type,source,description,created",
                "x",
                Format::SparkPost,
            ),
            (
                "status,reason,email,created",
                "suppression_bounces.csv",
                Format::SendGridBounces,
            ),
            (
                "status,reason,email,created",
                "suppression_blocks.csv",
                Format::SendGridBlocks,
            ),
            (
                "reason,email,created",
                "suppression_invalid_emails.csv",
                Format::SendGridInvalid,
            ),
            ("ip,email,created", "x", Format::SendGridSpam),
            (
                "email,created",
                "suppression_unsubscribes.csv",
                Format::SendGridUnsubscribes,
            ),
            ("address,code,error,created_at", "x", Format::MailgunBounces),
            ("address,tags,created_at", "x", Format::MailgunUnsubscribes),
            ("address,created_at", "complaints.csv", Format::MailgunComplaints),
            ("email", "x", Format::Plain),
            ("email,reason,detail,created_at", "x", Format::Plain),
        ];
        for (header, file, format) in table {
            assert_eq!(detect(header, file, None), Ok(format), "{header} in {file}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_asked_for() {
        for header in [
            "status,reason,email,created",
            "address,created_at",
            "email,created",
        ] {
            for file in ["export.csv", "bounces-and-blocks.csv"] {
                let told = detect(header, file, None);
                assert!(
                    matches!(told, Err(FormatError::Ambiguous { .. })),
                    "{header} {told:?}"
                );
                assert_eq!(detect(header, file, Some(Cause::UserUnknown)), Ok(Format::Plain));
            }
        }
    }

    #[test]
    fn formats_read_as_they_are_written() {
        for name in Format::names() {
            assert_eq!(
                name.parse::<Format>().map(|format| format.to_string()),
                Ok(name.to_owned())
            );
        }
        assert!("mailchimp".parse::<Format>().is_err());
    }
}
