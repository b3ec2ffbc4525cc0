//! `[trust]`: what evidence may do, by how sure we are of it and by its cause.

use crate::engine::trust::Forces;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is said of forces, over their defaults.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, BTreeMap<String, String>>")]
pub struct TrustSettings(pub Forces);

impl TryFrom<BTreeMap<String, BTreeMap<String, String>>> for TrustSettings {
    type Error = String;

    fn try_from(given: BTreeMap<String, BTreeMap<String, String>>) -> Result<Self, String> {
        let mut forces = Forces::default();
        for (trust, table) in &given {
            for (key, force) in table {
                forces.set(trust, key, force).map_err(|error| error.to_string())?;
            }
        }
        Ok(Self(forces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::trust::{Force, Trust};
    use crate::engine::verdict::Cause;

    #[test]
    fn the_table_is_read_and_mistakes_are_named() {
        let read = |text: &str| toml::from_str::<TrustSettings>(text).map_err(|error| error.to_string());
        assert_eq!(read(""), Ok(TrustSettings::default()));
        let TrustSettings(forces) =
            read("correlated = { every = \"strike\", complaint = \"keep\" }\n[signed]\nevery = \"act\"")
                .unwrap();
        assert_eq!(forces.of(Trust::Correlated, Cause::UserUnknown), Force::Strike);
        assert_eq!(forces.of(Trust::Correlated, Cause::Complaint), Force::Keep);
        for (bad, expected) in [
            (
                "unverified = { every = \"act\" }",
                "unverified.every: expected keep",
            ),
            ("sure = { every = \"act\" }", "expected own, signed"),
            ("own = \"act\"", "expected a map"),
        ] {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains(expected), "{bad}: {problem}");
        }
    }
}
