//! The network modes of ECS.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The mode in effect.
///
/// ECS gives a task one of four; `default` and an absent mode mean [`Mode::Bridge`] on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The task has an interface of its own with an address of the subnet.
    Awsvpc,
    /// Each container has a namespace with a veth into a bridge; ports are published by NAT.
    Bridge,
    /// The host's own namespace.
    Host,
    /// A namespace with nothing but `lo`.
    None,
}

/// What was asked for; `default` is kept apart from `bridge` so that both can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RequestedMode {
    /// Task interface.
    Awsvpc,
    /// Bridge and NAT.
    Bridge,
    /// Host's namespace.
    Host,
    /// Loopback only.
    None,
    /// Nothing said, or the word itself: `bridge` on Linux (ECS `networkMode`).
    #[default]
    Default,
}

/// The five words, in the order of the ECS console.
pub const MODES: [&str; 5] = ["awsvpc", "bridge", "host", "none", "default"];

/// A word that is no network mode. ECS's agent would log it and go on; here it is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown network mode {0:?}: choose one of awsvpc, bridge, host, none, default")]
pub struct UnknownMode(pub String);

impl RequestedMode {
    /// The mode that takes effect.
    pub fn effective(self) -> Mode {
        match self {
            Self::Awsvpc => Mode::Awsvpc,
            Self::Bridge | Self::Default => Mode::Bridge,
            Self::Host => Mode::Host,
            Self::None => Mode::None,
        }
    }
}

impl FromStr for RequestedMode {
    type Err = UnknownMode;
    fn from_str(s: &str) -> Result<Self, UnknownMode> {
        match s {
            "awsvpc" => Ok(Self::Awsvpc),
            "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            "" | "default" => Ok(Self::Default),
            other => Err(UnknownMode(other.into())),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Awsvpc => "awsvpc",
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
        })
    }
}

impl fmt::Display for RequestedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            other => other.effective().fmt(f),
        }
    }
}
