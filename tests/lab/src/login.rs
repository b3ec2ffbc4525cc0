//! A server that Postfix asks who has logged in: Dovecot's authentication protocol (version 1), mechanism PLAIN, one
//! password for everybody. `smtpd_sasl_type = dovecot` and `smtpd_sasl_path =` [`Login::path`].
//!
//! On failure (a line that is no request): it says nothing, and the login fails.

use anyhow::Result;
use data_encoding::BASE64;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What logs everybody in.
pub const PASSWORD: &str = "secret";

/// What the server begins with: its version, its one mechanism, and names of its own that nobody here needs.
const GREETING: &str = "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00000000000000000000000000000000\nDONE\n";

/// The server; its thread ends with the process.
#[derive(Debug)]
pub struct Login(SocketAddr);

impl Login {
    /// Starts it.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Self(address))
    }

    /// Where it is, as Postfix spells it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("inet:{}", self.0)
    }
}

/// What a client says to log in, in one line of SMTP (RFC 4954, RFC 4616).
#[must_use]
pub fn command(user: &str, password: &str) -> String {
    let said = format!("\0{user}\0{password}");
    format!("AUTH PLAIN {}", BASE64.encode(said.as_bytes()))
}

fn serve(stream: TcpStream) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    answers.write_all(GREETING.as_bytes()).ok()?;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        if let Some(request) = line.strip_prefix("AUTH\t") {
            answers.write_all(answer(request)?.as_bytes()).ok()?;
        }
    }
    Some(())
}

/// `ID PLAIN … resp=BASE64`.
fn answer(request: &str) -> Option<String> {
    let (id, rest) = request.split_once('\t')?;
    let (_, response) = rest.split_once("resp=")?;
    let said = String::from_utf8(BASE64.decode(response.as_bytes()).ok()?).ok()?;
    let mut parts = said.split('\0').skip(1);
    let (user, password) = (parts.next()?, parts.next()?);
    Some(match password {
        PASSWORD => format!("OK\t{id}\tuser={user}\n"),
        _ => format!("FAIL\t{id}\tuser={user}\n"),
    })
}
