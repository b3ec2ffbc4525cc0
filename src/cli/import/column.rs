//! What stands in which column of a table, or member of an object.

use super::format::{Format, FormatError};
use super::reason::plain;
use std::str::FromStr;

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whom it is about.
    Address,
    /// A cause by its own name.
    Cause,
    /// The service's word for it, or a reply.
    Reason,
    /// What the server said.
    Reply,
    /// The three digits of a reply.
    Code,
    /// The enhanced status of a reply.
    Status,
    /// Since when.
    Since,
    /// Until when.
    Expires,
    /// For which stream only.
    Stream,
    /// For which part of the service's mail only, in its own words: a tag, a type.
    Part,
    /// Who put it on the list.
    Author,
}

/// The roles and the names by which `--column` takes them.
pub const ROLES: [(Role, &str); 11] = [
    (Role::Address, "address"),
    (Role::Cause, "cause"),
    (Role::Reason, "reason"),
    (Role::Reply, "reply"),
    (Role::Code, "code"),
    (Role::Status, "status"),
    (Role::Since, "since"),
    (Role::Expires, "expires"),
    (Role::Stream, "stream"),
    (Role::Part, "part"),
    (Role::Author, "author"),
];

/// Where the value of each role stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns(Vec<(Role, Place)>);

/// A column of a table, or a member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Counted from 0.
    Column(usize),
    /// As [`plain`] writes its name.
    Member(String),
}

/// A column that the operator names: its role, and its name or its number from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    role: Role,
    column: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = ROLES.iter().map(|&(_, name)| name).collect();
        let problem = || {
            format!(
                "expected ROLE=COLUMN, the role one of {}, found {text:?}",
                names.join(", ")
            )
        };
        let (role, column) = text.split_once('=').ok_or_else(problem)?;
        let role = ROLES
            .iter()
            .find(|(_, name)| *name == role)
            .ok_or_else(problem)?
            .0;
        if column.is_empty() || column == "0" {
            return Err(problem());
        }
        Ok(Self {
            role,
            column: column.to_owned(),
        })
    }
}

impl Columns {
    /// The columns of a table with these names (as [`plain`] writes them), or none where it has no header.
    ///
    /// # Errors
    /// Where the operator names a column that is not there, or none is one of addresses.
    pub fn of_table(format: Format, names: &[String], named: &[Named]) -> Result<Self, String> {
        let mut columns = Self::default();
        for name in named {
            let wanted = plain(&name.column);
            let by_name = names.iter().position(|column| *column == wanted);
            let by_number = || name.column.parse::<usize>().ok()?.checked_sub(1);
            let index = by_name.or_else(by_number).ok_or_else(|| {
                let column = &name.column;
                format!(
                    "--column: expected a number or one of {}, found {column:?}",
                    names.join(", ")
                )
            })?;
            columns.put(name.role, Place::Column(index));
        }
        for (index, name) in names.iter().enumerate() {
            if let Some(role) = format.role(name) {
                columns.put(role, Place::Column(index));
            }
        }
        match columns.place(Role::Address) {
            Some(_) => Ok(columns),
            None => Err(FormatError::NoAddress(names.join(", ")).to_string()),
        }
    }

    /// The members of objects with these names.
    ///
    /// # Errors
    /// As [`Columns::of_table`].
    pub fn of_objects(format: Format, names: &[String], named: &[Named]) -> Result<Self, String> {
        let mut columns = Self::default();
        for name in named {
            columns.put(name.role, Place::Member(plain(&name.column)));
        }
        for name in names {
            if let Some(role) = format.role(name) {
                columns.put(role, Place::Member(name.clone()));
            }
        }
        match columns.place(Role::Address) {
            Some(_) => Ok(columns),
            None => Err(FormatError::NoAddress(names.join(", ")).to_string()),
        }
    }

    /// Puts a role somewhere, unless it has its place already.
    pub fn put(&mut self, role: Role, place: Place) {
        if self.place(role).is_none() {
            self.0.push((role, place));
        }
    }

    /// Where a role stands.
    #[must_use]
    pub fn place(&self, role: Role) -> Option<&Place> {
        self.0
            .iter()
            .find(|(other, _)| *other == role)
            .map(|(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_names_columns() {
        let names: Vec<String> = ["kunde", "grund", "email"].iter().map(|&n| n.into()).collect();
        let named: Vec<Named> = ["address=Kunde", "reason=2"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let columns = Columns::of_table(Format::Plain, &names, &named).unwrap();
        assert_eq!(columns.place(Role::Address), Some(&Place::Column(0)));
        assert_eq!(columns.place(Role::Reason), Some(&Place::Column(1)));
        assert!(Columns::of_table(Format::Plain, &names, &["address=x".parse().unwrap()]).is_err());
        let none = Columns::of_table(Format::Plain, &names[..1], &[]).unwrap_err();
        assert!(none.contains("--column address=NAME"), "{none}");
    }

    #[test]
    fn what_names_no_column_is_refused() {
        for bad in ["", "address", "address=", "who=x", "address=0"] {
            assert!(bad.parse::<Named>().is_err(), "{bad}");
        }
    }
}
