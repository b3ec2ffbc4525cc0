//! Addresses to listen on, as configured.
//!
//! An address is `127.0.0.1:7460`, `[::1]:7460`, `unix:/run/nixie/policy.sock` (with
//! `?mode=0660&group=postfix` behind it, or as a table `{ address, mode, group }`), or empty for off.
//! Names of hosts are refused: a look-up at start could hang, or bind to more than was meant.

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The mode of a socket file where none is configured: us and the group.
pub const DEFAULT_MODE: u32 = 0o660;

/// The longest path of a socket, in octets: `sun_path` is 108 with its final zero (unix(7)).
const MAX_PATH: usize = 107;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListenAddress {
    /// Nowhere.
    #[default]
    Off,
    /// An internet address.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(UnixAddress),
}

/// A socket file and who may connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixAddress {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its mode; connecting needs the right to write.
    pub mode: u32,
    /// Its group, by name or number; ours where none is given.
    pub group: Option<String>,
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither of the two forms.
    #[error(
        "expected an IP address with port (127.0.0.1:7460, [::1]:7460), unix:/path, or nothing for off; found {0:?}"
    )]
    Form(String),
    /// A path that no socket can have.
    #[error("expected unix: and an absolute path of at most {MAX_PATH} octets, found {0:?}")]
    Path(String),
    /// A mode that is none.
    #[error("expected a mode in octal digits from 0000 to 0777, found {0:?}")]
    Mode(String),
    /// Something else behind the `?`.
    #[error("expected ?mode=0660&group=postfix or one of them, found {0:?}")]
    Option(String),
    /// Mode or group of an internet address.
    #[error("expected mode and group only with unix:/path, found them with {0:?}")]
    NotUnix(String),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Off);
        }
        let Some(rest) = text.strip_prefix("unix:") else {
            let address = text.parse().map_err(|_| AddressError::Form(text.to_owned()))?;
            return Ok(Self::Tcp(address));
        };
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.starts_with('/') || path.len() > MAX_PATH || path.contains('\0') {
            return Err(AddressError::Path(path.to_owned()));
        }
        let mut unix = UnixAddress {
            path: path.into(),
            mode: DEFAULT_MODE,
            group: None,
        };
        for option in options.split('&').filter(|o| !o.is_empty()) {
            match option.split_once('=') {
                Some(("mode", mode)) => unix.mode = parse_mode(mode)?,
                Some(("group", group)) if !group.is_empty() => unix.group = Some(group.to_owned()),
                _ => return Err(AddressError::Option(option.to_owned())),
            }
        }
        Ok(Self::Unix(unix))
    }
}

fn parse_mode(text: &str) -> Result<u32, AddressError> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777 && !text.starts_with('+'))
        .ok_or_else(|| AddressError::Mode(text.to_owned()))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(unix) => write!(f, "unix:{}", unix.path.display()),
        }
    }
}

impl ListenAddress {
    /// As Postfix writes it (`inet:127.0.0.1:7460`, `unix:/path`); `None` where it is off.
    #[must_use]
    pub fn to_postfix(&self) -> Option<String> {
        match self {
            Self::Off => None,
            Self::Tcp(address) => Some(format!("inet:{address}")),
            Self::Unix(_) => Some(self.to_string()),
        }
    }

    /// The same address, with what a table says beside it.
    fn with(mut self, mode: Option<&str>, group: Option<String>) -> Result<Self, AddressError> {
        match &mut self {
            Self::Unix(unix) => {
                if let Some(mode) = mode {
                    unix.mode = parse_mode(mode)?;
                }
                unix.group = group.or(unix.group.take());
            }
            other if mode.is_some() || group.is_some() => {
                return Err(AddressError::NotUnix(other.to_string()));
            }
            _ => {}
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressVisitor)
    }
}

struct AddressVisitor;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: String,
    mode: Option<String>,
    group: Option<String>,
}

impl<'de> Visitor<'de> for AddressVisitor {
    type Value = ListenAddress;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address to listen on, or a table { address, mode, group } of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ListenAddress, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ListenAddress, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let address: ListenAddress = table.address.parse().map_err(de::Error::custom)?;
        address
            .with(table.mode.as_deref(), table.group)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<ListenAddress, AddressError> {
        text.parse()
    }

    fn unix(path: &Path) -> ListenAddress {
        ListenAddress::Unix(UnixAddress {
            path: path.into(),
            mode: 0o660,
            group: None,
        })
    }

    #[test]
    fn addresses_read_as_configured() {
        assert_eq!(parse(" "), Ok(ListenAddress::Off));
        for text in ["127.0.0.1:7460", "[::1]:7460"] {
            let address = parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.to_postfix(), Some(format!("inet:{text}")));
        }
        assert_eq!(
            parse("unix:/run/nixie/p.sock"),
            Ok(unix(Path::new("/run/nixie/p.sock")))
        );
        assert_eq!(
            parse("unix:/p?mode=0600&group=postfix"),
            Ok(ListenAddress::Unix(UnixAddress {
                path: "/p".into(),
                mode: 0o600,
                group: Some("postfix".into())
            }))
        );
        assert_eq!(
            parse("unix:/p?mode=0600").unwrap().to_postfix(),
            Some("unix:/p".into())
        );
    }

    #[test]
    fn what_is_no_address_says_what_was_expected() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, expected) in [
            ("localhost:7460", "expected an IP address with port"),
            ("127.0.0.1", "expected an IP address with port"),
            (
                "unix:run/p",
                "expected unix: and an absolute path of at most 107 octets, found \"run/p\"",
            ),
            (&long, "expected unix: and an absolute path"),
            (
                "unix:/p?mode=0888",
                "expected a mode in octal digits from 0000 to 0777, found \"0888\"",
            ),
            ("unix:/p?mode=1777", "expected a mode"),
            (
                "unix:/p?owner=me",
                "expected ?mode=0660&group=postfix or one of them, found \"owner=me\"",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[derive(Debug, serde::Deserialize)]
    struct Section {
        listen: ListenAddress,
    }

    #[test]
    fn toml_takes_a_text_or_a_table() {
        let read = |text: &str| toml::from_str::<Section>(text).map(|s| s.listen);
        assert_eq!(
            read("listen = { address = 'unix:/p', mode = '0666', group = 'postfix' }").unwrap(),
            parse("unix:/p?mode=0666&group=postfix").unwrap()
        );
        assert_eq!(read("listen = ''").unwrap(), ListenAddress::Off);
        for (text, expected) in [
            ("listen = 7460", "an address to listen on"),
            ("listen = { address = 'unix:/p', owner = 'me' }", "owner"),
            (
                "listen = { address = '127.0.0.1:1', mode = '0666' }",
                "only with unix:/path",
            ),
            ("listen = 'here'", "expected an IP address with port"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
