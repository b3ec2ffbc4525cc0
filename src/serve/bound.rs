//! The sockets of all parts, bound before anything else happens. A taken address is an error, which names the part.

use super::listen::{Inherited, Listener};
use crate::config::listen::ListenAddress;
use crate::config::{Settings, default_listen};
use tracing::warn;

/// The sockets of all parts, bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) policy: Option<Listener>,
    pub(super) socketmap: Option<Listener>,
    pub(super) milter: Option<Listener>,
    pub(super) lmtp: Option<Listener>,
    pub(super) http: Option<Listener>,
}

impl Bound {
    /// Binds what is configured, the defaults where nothing is; sockets from systemd come first.
    pub(super) fn bind(settings: &Settings, mut inherited: Inherited) -> anyhow::Result<Self> {
        let mut bind =
            |part: &str, listen: &Option<ListenAddress>, default: &str| -> anyhow::Result<Option<Listener>> {
                let address = match listen {
                    Some(address) => address.clone(),
                    None => default.parse()?,
                };
                Ok(Listener::bind(part, &address, &mut inherited)?)
            };
        let bound = Self {
            policy: bind("policy", &settings.policy.listen, default_listen::POLICY)?,
            socketmap: bind("socketmap", &settings.socketmap.listen, default_listen::SOCKETMAP)?,
            milter: bind("milter", &settings.milter.listen, default_listen::MILTER)?,
            lmtp: bind("lmtp", &settings.lmtp.listen, default_listen::LMTP)?,
            http: bind("http", &settings.http.listen, default_listen::HTTP)?,
        };
        for name in inherited.unused() {
            warn!(
                name,
                "systemd handed over a socket that no part goes by: expected policy, socketmap, milter, lmtp or http"
            );
        }
        Ok(bound)
    }

    /// What listens where.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let parts = [
            ("policy", &self.policy),
            ("socketmap", &self.socketmap),
            ("milter", &self.milter),
            ("lmtp", &self.lmtp),
            ("http", &self.http),
        ];
        let address = |listener: &Option<Listener>| {
            listener
                .as_ref()
                .map_or("off".to_owned(), |l| l.address().to_string())
        };
        parts
            .into_iter()
            .map(|(part, listener)| (part, address(listener)))
            .collect()
    }
}
