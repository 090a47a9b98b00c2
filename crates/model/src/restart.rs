//! What becomes of a task whose container ended: `--restart` in docker's words.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Always; one that somebody stopped, when the agent starts.
    Always,
    /// Always, but for one that somebody stopped.
    UnlessStopped,
    /// When its exit status is not 0.
    OnFailure {
        /// At most so many times; without a limit where none is given.
        most: Option<u32>,
    },
}

/// A word that is no restart policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown restart policy {0:?}: choose no, always, unless-stopped or on-failure[:TIMES]")]
pub struct UnknownPolicy(pub String);

impl FromStr for RestartPolicy {
    type Err = UnknownPolicy;
    fn from_str(s: &str) -> Result<Self, UnknownPolicy> {
        let unknown = || UnknownPolicy(s.chars().take(64).collect());
        match s.split_once(':') {
            None => match s {
                "no" => Ok(Self::No),
                "always" => Ok(Self::Always),
                "unless-stopped" => Ok(Self::UnlessStopped),
                "on-failure" => Ok(Self::OnFailure { most: None }),
                _ => Err(unknown()),
            },
            Some(("on-failure", times)) if times.bytes().all(|b| b.is_ascii_digit()) => {
                let times = times.parse().map_err(|_| unknown())?;
                // docker: 0 is no limit.
                Ok(Self::OnFailure { most: Some(times).filter(|n| *n > 0) })
            }
            Some(_) => Err(unknown()),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = UnknownPolicy;
    fn try_from(s: String) -> Result<Self, UnknownPolicy> {
        s.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> String {
        policy.to_string()
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
            Self::OnFailure { most: None } => f.write_str("on-failure"),
            Self::OnFailure { most: Some(n) } => write!(f, "on-failure:{n}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_docker_writes_them() {
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:3"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("on-failure:0".parse(), Ok(RestartPolicy::OnFailure { most: None }));
        for bad in ["", "Always", "always:3", "on-failure:", "on-failure:-1", "on-failure:+1", "on-failure:99999999999"]
        {
            assert_eq!(bad.parse::<RestartPolicy>(), Err(UnknownPolicy(bad.into())));
        }
    }
}
