//! The tail of a log file: bounded chunks of whole lines, each with the position behind it, through
//! rotation, truncation and restarts. [`Stream`] is the same for standard input.
//!
//! The reading goes on in a thread of its own, so that a disk or a network file system that hangs delays
//! nothing else. It wakes on the file system's notices, and looks every 250 ms all the same, because
//! notices do not cross NFS. A slow consumer makes it wait (two chunks ahead, no more).
//!
//! On failure (no permission, a broken disk) the error is handed over once and reading is tried again;
//! a log that does not exist is waited for.

mod follow;
mod position;
mod split;

pub use position::Position;
pub use split::{Chunk, MAX_LINE, MAX_LINES, Stream};

use follow::Follower;
use notify::{RecursiveMode, Watcher};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the file is looked at without a notice.
const LOOK: Duration = Duration::from_millis(250);

/// How much before the position is handed over as context, in octets.
pub const CONTEXT: u64 = 4 * 1024 * 1024;

/// Where to begin in a log that has no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is written from now on.
    #[default]
    End,
    /// With its first line.
    Beginning,
}

/// The tail of one log file.
#[derive(Debug)]
pub struct Tail {
    chunks: mpsc::Receiver<io::Result<Chunk>>,
}

impl Tail {
    /// Follows the log at `path` from a position that an earlier [`Chunk`] had, or from `start`. Up to
    /// [`CONTEXT`] octets before that place come first, in chunks that say so; then a chunk without lines
    /// that has the position of that place.
    ///
    /// # Errors
    /// `InvalidData` where the position is none; what starting a thread says.
    pub fn open(path: &Path, position: Option<&str>, start: Start) -> io::Result<Self> {
        let position: Option<Position> = position.map(serde_json::from_str).transpose()?;
        let follower = Follower::new(path, position, start);
        let (sender, chunks) = mpsc::channel(2);
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("log-tail".to_owned())
            .spawn(move || run(&path, follower, &sender))?;
        Ok(Self { chunks })
    }

    /// The next lines, as soon as there is one. Dropping the future loses nothing. `None` only if the
    /// thread has ended.
    ///
    /// # Errors
    /// What reading says; the next call goes on.
    pub async fn next(&mut self) -> io::Result<Option<Chunk>> {
        self.chunks.recv().await.transpose()
    }
}

/// How many octets of the log at `path` are still to be read behind a position; `None` where the position is
/// in a file of another name (a rotation that was not followed yet), or nowhere.
#[must_use]
pub fn lag(path: &Path, position: &str) -> Option<u64> {
    let position: Position = serde_json::from_str(position).ok()?;
    let metadata = std::fs::metadata(path).ok()?;
    let same = position::Identity::from(&metadata)
        == position::Identity {
            dev: position.dev,
            inode: position.inode,
        };
    same.then(|| metadata.len().saturating_sub(position.offset))
}

/// The thread: until nobody listens.
fn run(path: &Path, mut follower: Follower, sender: &mpsc::Sender<io::Result<Chunk>>) {
    let (_watcher, notices) = watch(path);
    let mut failed = None;
    let mut context = true;
    loop {
        let read = if context {
            follower.context().and_then(|mut chunks| {
                chunks.push(follower.here()?);
                Ok(chunks)
            })
        } else {
            follower.poll().map(|chunk| chunk.into_iter().collect())
        };
        let idle = match read {
            Ok(chunks) => {
                failed = None;
                let idle = !std::mem::take(&mut context) && chunks.is_empty();
                for chunk in chunks {
                    if sender.blocking_send(Ok(chunk)).is_err() {
                        return;
                    }
                }
                idle
            }
            Err(error) => {
                let again = failed.replace(error.kind()) == Some(error.kind());
                if !again && sender.blocking_send(Err(error)).is_err() {
                    return;
                }
                true
            }
        };
        if idle && (sender.is_closed() || !wait(&notices)) {
            return;
        }
    }
}

/// Waits for a notice or for the next look; `false` never comes as long as the watcher's sender is kept.
fn wait(notices: &Receiver<()>) -> bool {
    !matches!(notices.recv_timeout(LOOK), Err(RecvTimeoutError::Disconnected))
}

/// Watches the log's directory (renames and new files are seen there). Where that fails, the look every
/// 250 ms is all there is.
fn watch(path: &Path) -> (impl Sized, Receiver<()>) {
    let (sender, notices) = sync_channel(1);
    let name = path.file_name().map(std::ffi::OsStr::to_owned);
    let notice = sender.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.map_or(true, |event| {
            !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        });
        if ours {
            // One notice is as good as many: a full channel has one waiting.
            let _ = notice.try_send(());
        }
    });
    let watcher = watcher.and_then(|mut watcher| {
        watcher.watch(&position::directory(path), RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::debug!(%error, path = %path.display(), "no notices of the file system; looking every 250 ms");
    }
    // The second sender keeps the channel open where there is no watcher.
    ((watcher.ok(), sender), notices)
}

#[cfg(test)]
mod tests;
