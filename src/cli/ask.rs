//! Asks the running daemon's own HTTP listener: what only it knows, and whether it is there.

use crate::config::listen::ListenAddress;
use crate::config::{Settings, default_listen};
use crate::serve::lanes::LaneNow;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A daemon that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The status and the body of an answer. A request of two lines needs no HTTP library.
///
/// # Errors
/// Why there is none, as people say it.
pub async fn get(settings: &Settings, path: &str) -> Result<(u16, String), String> {
    if settings.http.listen == Some(ListenAddress::Off) {
        return Err("unknown ([http] listen is off)".into());
    }
    let listen = settings
        .http
        .listen
        .as_ref()
        .map_or(default_listen::HTTP.to_owned(), ToString::to_string);
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let ask = async {
        let mut answer = String::new();
        match listen.strip_prefix("unix:") {
            Some(path) => {
                let mut stream = tokio::net::UnixStream::connect(path).await?;
                stream.write_all(request.as_bytes()).await?;
                stream.read_to_string(&mut answer).await?;
            }
            None => {
                let mut stream = tokio::net::TcpStream::connect(&listen).await?;
                stream.write_all(request.as_bytes()).await?;
                stream.read_to_string(&mut answer).await?;
            }
        }
        std::io::Result::Ok(answer)
    };
    let answer = match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("not reached at {listen}: {error}")),
        Err(_) => return Err(format!("does not answer at {listen}")),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("what answers at {listen} does not speak HTTP"))?;
    Ok((status, body.to_owned()))
}

/// What the daemon knows of its lanes.
///
/// # Errors
/// Why it does not tell, as people say it.
pub async fn lanes(settings: &Settings) -> Result<Vec<LaneNow>, String> {
    let (status, body) = get(settings, "/lanes").await?;
    if status != 200 {
        return Err(format!(
            "answers {status} about its lanes: is it of this version?"
        ));
    }
    serde_json::from_str(&body)
        .map_err(|error| format!("says what this version does not understand: {error}"))
}
