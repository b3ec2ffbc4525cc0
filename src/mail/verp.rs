//! Variable envelope return paths: the recipient within the return path that each copy of a mail left with
//! (Bernstein, "Variable Envelope Return Paths"; Postfix `VERP_README`): `list-bounces+ann=ex.com@ours`.
//!
//! With `+` it is plain where the recipient begins. With `-`, as qmail and ezmlm write
//! (`list-return-17-ann=ex.com@ours`), it is not, for both halves may hold hyphens: such a path only confirms
//! an address that is known from elsewhere. Signed and rewritten paths (BATV, SRS) look alike and tell nothing.

use super::address::{Address, LocalPart};

/// A return path that holds a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verp {
    /// What stands before the `=` that is the recipient's `@`, back to the start of the path.
    before: String,
    /// The recipient, where it is plain where they begin.
    exact: Option<Address>,
    /// The recipient's domain, in canonical form.
    domain: String,
}

impl Verp {
    /// Reads a return path; `None` where it holds no recipient.
    #[must_use]
    pub fn decode(path: &str) -> Option<Self> {
        const REWRITTEN: [&str; 6] = ["prvs=", "srs0", "srs1", "btv1=", "msprvs1=", "bounces+srs="];
        let path = path.trim().trim_start_matches('<').trim_end_matches('>');
        let (local, _) = path.rsplit_once('@')?;
        let lower = local.to_ascii_lowercase();
        if REWRITTEN.iter().any(|mark| lower.starts_with(mark)) {
            return None;
        }
        let (before, domain) = local.rsplit_once('=')?;
        // A single label is a parameter (`id=7`), not a domain.
        if before.is_empty() || !domain.contains('.') {
            return None;
        }
        let whole = Address::parse(&format!("{before}@{domain}")).ok()?;
        let exact = before
            .split_once('+')
            .filter(|(list, user)| !list.is_empty() && !user.is_empty());
        let exact = exact.and_then(|(_, user)| Address::parse(&format!("{user}@{domain}")).ok());
        Some(Self {
            before: before.to_owned(),
            exact,
            domain: whole.domain().to_owned(),
        })
    }

    /// The recipient, where the path tells exactly where they begin.
    #[must_use]
    pub fn exact(&self) -> Option<&Address> {
        self.exact.as_ref()
    }

    /// Whether an address known from elsewhere is the recipient: all of what the path holds, or its end after
    /// a delimiter.
    #[must_use]
    pub fn confirms(&self, address: &Address) -> bool {
        let key = address.key(LocalPart::Fold);
        let Some((local, domain)) = key.as_str().rsplit_once('@') else {
            return false;
        };
        let before = self.before.to_lowercase();
        domain == self.domain
            && before
                .strip_suffix(local)
                .is_some_and(|list| list.ends_with(['+', '-', '=', '.', '/']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whom_a_path_was_made_for() {
        let exact = |path: &str| Verp::decode(path).and_then(|v| v.exact().map(ToString::to_string));
        let table = [
            ("list-bounces+ann=ex.com@ours.test", Some("ann@ex.com")),
            ("<list+ann+tag=ex.com@ours.test>", Some("ann+tag@ex.com")),
            ("bounce+a=b=ex.com@ours.test", Some("a=b@ex.com")),
            ("list-return-17-ann=ex.com@ours.test", None),
            ("prvs=0123456789=ann=ex.com@ours.test", None),
            ("SRS0=HHH=TT=ex.com=ann@ours.test", None),
            ("bounce+0042@ours.test", None),
            ("bounce+id=7@ours.test", None),
            ("list+=ex.com@ours.test", None),
            ("ann", None),
            ("", None),
        ];
        for (path, address) in table {
            assert_eq!(exact(path).as_deref(), address, "{path}");
        }
    }

    #[test]
    fn confirms_what_is_known_from_elsewhere() {
        let confirms = |path: &str, address: &str| {
            Verp::decode(path).is_some_and(|v| v.confirms(&Address::parse(address).unwrap()))
        };
        assert!(confirms("list-return-17-ann=ex.com@ours.test", "Ann@EX.com"));
        assert!(confirms("bounce+17-ann=ex.com@ours.test", "ann@ex.com"));
        assert!(confirms("list+ann=ex.com@ours.test", "ann@ex.com"));
        assert!(!confirms("list-return-17-joann=ex.com@ours.test", "ann@ex.com"));
        assert!(!confirms("list+ann=ex.com@ours.test", "ann@ex.org"));
        assert!(
            !confirms("ann=ex.com@ours.test", "ann@ex.com"),
            "no list, no delimiter"
        );
    }
}
