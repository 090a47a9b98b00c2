//! Standard input, which has the configuration.

use netmode_model::cni::{CniCode, CniError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::AsFd;

/// Longest configuration, in bytes: a chain of plugins hands its results on in it.
const LONGEST: u64 = 4 << 20;

/// All of it, however slowly it comes.
///
/// # Errors
/// It cannot be read, or is longer than anything that a runtime sends.
pub fn all() -> Result<Vec<u8>, CniError> {
    let bad = |why: String| CniError::new(CniCode::Io, format!("standard input cannot be read: {why}"));
    let mut text = Vec::new();
    std::io::stdin().take(LONGEST + 1).read_to_end(&mut text).map_err(|e| bad(e.to_string()))?;
    if text.len() as u64 > LONGEST { Err(bad(format!("it is longer than {LONGEST} bytes"))) } else { Ok(text) }
}

/// What is there at this moment: nobody is waited for.
pub fn at_hand() -> Vec<u8> {
    let mut text = Vec::new();
    let mut part = [0; 65_536];
    let mut stdin = std::io::stdin().lock();
    while (text.len() as u64) < LONGEST && ready() {
        match stdin.read(&mut part) {
            Ok(count) if count > 0 => text.extend_from_slice(&part[..count]),
            _ => break,
        }
    }
    text
}

fn ready() -> bool {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
