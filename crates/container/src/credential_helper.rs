//! Docker's credential helpers: programs `docker-credential-NAME` that keep passwords (docker-credential-helpers).

use crate::program::{self, ProgramError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a helper may take: it may ask a person to open a key ring.
const LIMIT: Duration = Duration::from_secs(120);

/// What a helper is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The credentials of a server: `{"ServerURL", "Username", "Secret"}`.
    Get,
    /// To keep them.
    Store,
    /// To forget them.
    Erase,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Store => "store",
            Self::Erase => "erase",
        }
    }
}

/// A helper could not help.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// No program of that name.
    #[error(
        "the credential helper docker-credential-{0} is not on the PATH; install it, or take it out of docker's config.json"
    )]
    Missing(String),
    /// It refused.
    #[error("the credential helper docker-credential-{name} cannot {action}: {why}", action = action.word())]
    Refused {
        /// The helper.
        name: String,
        /// What was asked.
        action: Action,
        /// Its words.
        why: String,
    },
    /// It hangs or cannot be started.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Calls the helper of a name with the caller's environment, which is where helpers find their key rings. `input`
/// goes to its standard input; the answer is what it printed. Nothing is found where it has no such credentials.
///
/// # Errors
/// It is missing, refuses or hangs.
pub fn credential_helper(name: &str, action: Action, input: &str) -> Result<Option<Vec<u8>>, HelperError> {
    let path = find(name).ok_or_else(|| HelperError::Missing(name.chars().take(64).collect()))?;
    let mut command = Command::new(&path);
    command.arg(action.word());
    program::feed(&mut command, input.as_bytes()).map_err(|source| ProgramError::Start { path, source })?;
    let output = program::run(command, &[], LIMIT)?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let why = output.text();
    // The words are the protocol's (docker-credential-helpers, `credentials/error.go`).
    if why.contains("credentials not found in native keychain") {
        return Ok(None);
    }
    let why = why.lines().next_back().unwrap_or("no reason given").to_owned();
    Err(HelperError::Refused { name: name.into(), action, why })
}

/// On the caller's own PATH; the name is a word and no way to somewhere else.
fn find(name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let program = format!("docker-credential-{name}");
    let paths = std::env::var_os("PATH").filter(|_| plain)?;
    let absolute = |dir: &PathBuf| dir.is_absolute();
    std::env::split_paths(&paths).filter(absolute).map(|dir| dir.join(&program)).find(|p| runs(p))
}

fn runs(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_a_word() {
        for bad in ["", "../x", "a/b", "a b", "a;b"] {
            assert!(matches!(credential_helper(bad, Action::Get, ""), Err(HelperError::Missing(_))), "{bad}");
        }
    }
}
