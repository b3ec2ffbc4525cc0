//! Where we listen: the sockets bound to the addresses of the configuration.
//!
//! Sockets handed over by systemd (sd_listen_fds(3), by the names in `LISTEN_FDNAMES`) take the place
//! of configured ones. A socket file that nobody listens on any more is replaced; one that answers, and
//! any other file, is an error and stays.

use crate::config::listen::{DEFAULT_MODE, ListenAddress, UnixAddress};
use listenfd::ListenFd;
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why nobody can listen there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refuses.
    #[error("{name}: listening on {address}: {source}")]
    Bind {
        /// What for.
        name: String,
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Somebody answers there.
    #[error("{name}: {path:?} is in use: somebody answers on it. Is another Nixie running?")]
    InUse {
        /// What for.
        name: String,
        /// Where.
        path: PathBuf,
    },
    /// The path is taken by something else than a socket.
    #[error("{name}: expected a socket or nothing at {path:?}, found another kind of file; move it away")]
    NoSocket {
        /// What for.
        name: String,
        /// Where.
        path: PathBuf,
    },
    /// There is no such group.
    #[error("{name}: expected a group of /etc/group or its number, found {group:?}")]
    NoGroup {
        /// What for.
        name: String,
        /// What was given.
        group: String,
    },
    /// What systemd handed over is no listening stream socket.
    #[error("{name}: expected a listening stream socket from systemd, found something else: {source}")]
    Inherited {
        /// Its name in `LISTEN_FDNAMES`.
        name: String,
        /// Why it is none.
        source: io::Error,
    },
}

/// A bound socket. Clones share it, and its file goes with the last of them.
#[derive(Debug)]
pub enum Listener {
    /// An internet socket.
    Tcp(TcpListener),
    /// A socket file, which is ours to remove unless systemd made it.
    Unix(UnixListener, Option<Arc<SocketFile>>),
}

/// Removes its file in the end, if it is still the one that we made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// The sockets handed over by systemd, by name.
#[derive(Debug, Default)]
pub struct Inherited(BTreeMap<String, Listener>);

impl Listener {
    /// Listens for `name` on what systemd handed over under that name, else on `address`; `None` where
    /// that is off.
    ///
    /// # Errors
    /// [`ListenError`] says what is in the way.
    pub fn bind(
        name: &str,
        address: &ListenAddress,
        inherited: &mut Inherited,
    ) -> Result<Option<Self>, ListenError> {
        if let Some(listener) = inherited.0.remove(name) {
            return Ok(Some(listener));
        }
        match address {
            ListenAddress::Off => Ok(None),
            ListenAddress::Tcp(at) => TcpListener::bind(at)
                .map(|listener| Some(Self::Tcp(listener)))
                .map_err(|source| refused(name, address, source)),
            ListenAddress::Unix(unix) => bind_unix(name, address, unix).map(Some),
        }
    }

    /// Another handle on the same socket.
    ///
    /// # Errors
    /// The system's, where there are no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener, file) => Self::Unix(listener.try_clone()?, file.clone()),
        })
    }

    /// Where it really listens (a configured port 0 is a port by now).
    #[must_use]
    pub fn address(&self) -> ListenAddress {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or(ListenAddress::Off, ListenAddress::Tcp),
            Self::Unix(listener, _) => ListenAddress::Unix(UnixAddress {
                path: listener
                    .local_addr()
                    .ok()
                    .and_then(|at| at.as_pathname().map(Path::to_owned))
                    .unwrap_or_default(),
                mode: DEFAULT_MODE,
                group: None,
            }),
        }
    }
}

fn refused(name: &str, address: &ListenAddress, source: io::Error) -> ListenError {
    ListenError::Bind {
        name: name.to_owned(),
        address: address.to_string(),
        source,
    }
}

fn bind_unix(name: &str, address: &ListenAddress, unix: &UnixAddress) -> Result<Listener, ListenError> {
    let path = unix.path.as_path();
    let failed = |source| refused(name, address, source);
    let group = match &unix.group {
        None => None,
        Some(group) => Some(group_id(group).ok_or_else(|| ListenError::NoGroup {
            name: name.to_owned(),
            group: group.clone(),
        })?),
    };
    clear(name, address, path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    let made = std::fs::symlink_metadata(path).map_err(failed)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (made.dev(), made.ino()),
    };
    if group.is_some() {
        chown(path, None, group).map_err(failed)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(unix.mode)).map_err(failed)?;
    Ok(Listener::Unix(listener, Some(Arc::new(file))))
}

/// Removes a socket that a dead process left behind.
fn clear(name: &str, address: &ListenAddress, path: &Path) -> Result<(), ListenError> {
    let failed = |source| refused(name, address, source);
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NoSocket {
            name: name.to_owned(),
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse {
            name: name.to_owned(),
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The number of a group, from its number or from its name in `/etc/group` (group(5)).
fn group_id(group: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    find_group(&groups, group)
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if ours {
            // Nothing is lost if it stays: the next start replaces a socket that nobody answers on.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Inherited {
    /// Takes what systemd handed to this process. Call it once, before any thread is started: it
    /// clears the variables, so that children do not take the sockets for theirs.
    ///
    /// # Errors
    /// [`ListenError::Inherited`] where one is no listening stream socket.
    pub fn from_env() -> Result<Self, ListenError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut names = names.split(':');
        let mut taken = BTreeMap::new();
        for index in 0..sockets.len() {
            let name = names.next().filter(|n| !n.is_empty()).unwrap_or("unknown");
            let listener = take(&mut sockets, index).map_err(|source| ListenError::Inherited {
                name: name.to_owned(),
                source,
            })?;
            if let Some(listener) = listener {
                taken.insert(name.to_owned(), listener);
            }
        }
        Ok(Self(taken))
    }

    /// The names that nobody asked for: misspelt in the socket unit, as a rule.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Option<Listener>> {
    if let Ok(tcp) = sockets.take_tcp_listener(index) {
        return Ok(tcp.map(Listener::Tcp));
    }
    Ok(sockets
        .take_unix_listener(index)?
        .map(|unix| Listener::Unix(unix, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> ListenAddress {
        ListenAddress::Unix(UnixAddress {
            path: path.into(),
            mode: 0o660,
            group: None,
        })
    }

    fn bind(address: &ListenAddress) -> Result<Listener, ListenError> {
        Listener::bind("policy", address, &mut Inherited::default()).map(Option::unwrap)
    }

    #[test]
    fn a_socket_file_has_its_mode_and_group_and_goes_with_its_last_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let group = std::fs::metadata(dir.path()).unwrap().gid();
        let listener = bind(&ListenAddress::Unix(UnixAddress {
            path: path.clone(),
            mode: 0o606,
            group: Some(group.to_string()),
        }))
        .unwrap();
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.mode() & 0o777, made.gid()), (0o606, group));
        assert_eq!(listener.address().to_string(), format!("unix:{}", path.display()));
        let clone = listener.try_clone().unwrap();
        drop(listener);
        assert!(UnixStream::connect(&path).is_ok());
        drop(clone);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let listener = bind(&unix(&path)).unwrap();
        let error = bind(&unix(&path)).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        assert!(
            UnixStream::connect(&path).is_ok(),
            "and the live one still listens"
        );
        drop(listener);
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&unix(&path)), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let error = bind(&unix(&dir.path().join("no/such/p.sock"))).unwrap_err();
        assert!(
            error.to_string().starts_with("policy: listening on unix:/"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_took_our_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let first = bind(&unix(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = bind(&unix(&path)).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
    }

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\npostfix:x:115:\npostdrop:x:116:nixie\nbroken\n";
        assert_eq!(find_group(groups, "postdrop"), Some(116));
        assert_eq!(find_group(groups, "broken"), None);
        assert_eq!(find_group(groups, "nobody"), None);
        assert_eq!(group_id("4711"), Some(4711));
        let address = "unix:/tmp/x?group=no-such-group-here".parse().unwrap();
        assert!(matches!(bind(&address), Err(ListenError::NoGroup { .. })));
    }

    #[test]
    fn a_socket_of_systemd_takes_precedence() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap();
        let mut inherited = Inherited(BTreeMap::from([
            ("policy".to_owned(), Listener::Tcp(tcp)),
            (
                "polcy".to_owned(),
                Listener::Tcp(TcpListener::bind("127.0.0.1:0").unwrap()),
            ),
        ]));
        let bound = Listener::bind("policy", &ListenAddress::Off, &mut inherited)
            .unwrap()
            .unwrap();
        assert_eq!(bound.address(), ListenAddress::Tcp(port));
        assert_eq!(inherited.unused().collect::<Vec<_>>(), ["polcy"]);
        assert!(
            Listener::bind("socketmap", &ListenAddress::Off, &mut inherited)
                .unwrap()
                .is_none()
        );
    }
}
