//! Files that hold secrets: nobody else may read them, and they are read no further than a secret can be long.

use anyhow::bail;
use secrecy::SecretSlice;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The octets of a file of at most so many.
///
/// # Errors
/// Where it cannot be read, is for others to read as well, or is longer.
pub(super) fn read(path: &Path, longest: u64) -> anyhow::Result<SecretSlice<u8>> {
    let file = std::fs::File::open(path)?;
    let about = file.metadata()?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("expected mode 0600 (nobody else may read it), found {mode:04o}");
    }
    // One buffer, so that no other keeps a part of it.
    let mut octets = Vec::with_capacity(usize::try_from(about.len().min(longest))? + 1);
    file.take(longest + 1).read_to_end(&mut octets)?;
    let octets = SecretSlice::from(octets);
    if u64::try_from(secrecy::ExposeSecret::expose_secret(&octets).len())? > longest {
        bail!("expected at most {longest} octets, found more");
    }
    Ok(octets)
}
