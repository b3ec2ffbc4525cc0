//! Loopback addresses that nobody else uses. All of 127.0.0.0/8 is this machine, so every server of
//! the lab gets an address of its own and keeps its port through restarts; finding a free port first
//! and binding it later would be a race.
//!
//! On failure (every address tried is in use): an error.

use anyhow::{Result, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port that tells whether an address is taken: claimed addresses listen on it for life.
const MARK: u16 = 7399;

/// An address of ours until it is dropped. The listening socket is the claim: another process that
/// comes upon the same address finds it in use and goes on.
#[derive(Debug)]
pub struct Claim {
    address: Ipv4Addr,
    _mark: TcpListener,
}

impl Claim {
    /// The address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

/// Claims an address in 127.16.0.0 to 127.255.255.255.
///
/// # Errors
/// When a thousand addresses in a row are taken.
pub fn claim() -> Result<Claim> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let number = std::process::id()
            .wrapping_mul(1021)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, _, high, low] = number.to_be_bytes();
        let second = 16 + u8::try_from((number >> 16) % 240)?;
        // 0 and 255 in the last place read like a network and a broadcast address: left alone.
        let address = Ipv4Addr::new(127, second, high, low.clamp(1, 254));
        if let Ok(mark) = TcpListener::bind((address, MARK)) {
            return Ok(Claim { address, _mark: mark });
        }
    }
    bail!("no loopback address is free: a thousand were tried")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_claims_share_an_address() {
        let claims: Vec<Claim> = (0..300).map(|_| claim().unwrap()).collect();
        let distinct: HashSet<Ipv4Addr> = claims.iter().map(Claim::address).collect();
        assert_eq!(distinct.len(), claims.len());
    }
}
