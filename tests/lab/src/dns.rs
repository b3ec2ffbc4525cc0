//! A name server on loopback with a zone of its own: what it is not told about does not exist.
//!
//! It answers over UDP, counts what it was asked, and stops when dropped. On failure (a datagram that is no
//! question) it says nothing, as servers do.

use crate::loopback::{self, Claim};
use anyhow::{Context, Result};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the server says of a domain's mail exchangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// These, with a time to live in seconds; `.` is the null exchanger.
    Exchangers(Vec<String>, u32),
    /// The domain exists and has none.
    Empty,
    /// There is no such domain (so is every domain that the server was not told about).
    Missing,
    /// The server fails.
    Fails,
    /// The server does not answer.
    Silent,
    /// The server answers with octets that are no answer.
    Garbage,
    /// These texts (TXT), each of any length, and no exchangers.
    Texts(Vec<String>),
    /// The server answers this, too late: after so long.
    Late(Duration, Box<Zone>),
    /// These addresses (A).
    Addresses(Vec<std::net::Ipv4Addr>),
}

impl Zone {
    /// Exchangers that are believed for an hour.
    #[must_use]
    pub fn mx(hosts: &[&str]) -> Self {
        Self::Exchangers(hosts.iter().map(|&host| host.to_owned()).collect(), 3600)
    }

    /// One text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Texts(vec![text.to_owned()])
    }
}

/// The server.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    asked: Arc<Mutex<HashMap<String, usize>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _claim: Claim,
}

impl Dns {
    /// Starts a server that knows these domains.
    ///
    /// # Errors
    /// Where no address is free.
    pub fn start(zones: impl IntoIterator<Item = (impl Into<String>, Zone)>) -> Result<Self> {
        let claim = loopback::claim()?;
        let socket = UdpSocket::bind((claim.address(), 0)).context("a name server's address")?;
        let address = socket.local_addr()?;
        // So that the thread sees that it is to stop.
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let zones: HashMap<String, Zone> = zones
            .into_iter()
            .map(|(domain, zone)| (format!("{}.", domain.into()), zone))
            .collect();
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
            move || serve(&socket, &zones, &asked, &stop)
        });
        Ok(Self {
            address,
            asked,
            stop,
            thread: Some(thread),
            _claim: claim,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for a domain's exchangers or texts.
    #[must_use]
    pub fn asked(&self, domain: &str) -> usize {
        self.asked.lock().get(&format!("{domain}.")).copied().unwrap_or(0)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: &UdpSocket,
    zones: &HashMap<String, Zone>,
    asked: &Mutex<HashMap<String, usize>>,
    stop: &AtomicBool,
) {
    let mut buffer = [0; 1500];
    let mut late: Vec<(Instant, Vec<u8>, SocketAddr)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        late.retain(|(when, octets, to)| {
            let is_due = *when <= now;
            if is_due {
                let _ = socket.send_to(octets, to);
            }
            !is_due
        });
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let Ok(question) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let Some(query) = question.queries.first() else {
            continue;
        };
        let name = query.name().to_ascii().to_ascii_lowercase();
        if matches!(query.query_type(), RecordType::MX | RecordType::TXT) {
            *asked.lock().entry(name.clone()).or_default() += 1;
        }
        let (zone, after) = match zones.get(&name).unwrap_or(&Zone::Missing) {
            Zone::Late(after, zone) => (zone.as_ref(), Some(*after)),
            zone => (zone, None),
        };
        let octets = match zone {
            Zone::Garbage => Some(b"\xff\x00 this is no answer".to_vec()),
            zone => answer(&question, zone).and_then(|answer| answer.to_vec().ok()),
        };
        match (octets, after) {
            (Some(octets), Some(after)) => late.push((Instant::now() + after, octets, from)),
            (Some(octets), None) => {
                let _ = socket.send_to(&octets, from);
            }
            (None, _) => {}
        }
    }
}

fn answer(question: &Message, zone: &Zone) -> Option<Message> {
    let query = question.queries.first()?;
    let mut answer = Message::new(
        question.metadata.id,
        MessageType::Response,
        question.metadata.op_code,
    );
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    match zone {
        Zone::Silent => return None,
        Zone::Fails => answer.metadata.response_code = ResponseCode::ServFail,
        Zone::Exchangers(hosts, ttl) if query.query_type() == RecordType::MX => {
            for host in hosts {
                let exchanger = RData::MX(MX::new(10, Name::from_ascii(host).ok()?));
                answer.add_answer(Record::from_rdata(query.name().clone(), *ttl, exchanger));
            }
        }
        Zone::Texts(texts) if query.query_type() == RecordType::TXT => {
            for text in texts {
                // A string of a record is at most 255 octets (RFC 1035 §3.3.14); readers join them.
                let strings = text.as_bytes().chunks(255).map(<[u8]>::to_vec);
                let record = RData::TXT(TXT::from_bytes(
                    strings.collect::<Vec<_>>().iter().map(Vec::as_slice).collect(),
                ));
                answer.add_answer(Record::from_rdata(query.name().clone(), 3600, record));
            }
        }
        Zone::Addresses(addresses) if query.query_type() == RecordType::A => {
            for address in addresses {
                let record = RData::A(A(*address));
                answer.add_answer(Record::from_rdata(query.name().clone(), 3600, record));
            }
        }
        missing => {
            if *missing == Zone::Missing {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_authority(authority()?);
        }
    }
    Some(answer)
}

/// What says how long nothing is true (RFC 2308): ten minutes.
fn authority() -> Option<Record> {
    let (zone, mailbox) = (Name::from_ascii("test.").ok()?, Name::from_ascii("a.test.").ok()?);
    let soa = SOA::new(zone.clone(), mailbox, 1, 3600, 600, 86_400, 600);
    Some(Record::from_rdata(zone, 600, RData::SOA(soa)))
}
