//! Images and registries, as they travel over the unix socket.

use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PullPolicy {
    /// Always: what has not changed since is not fetched again.
    #[default]
    Always,
    /// Where this host has no image of that name.
    Missing,
    /// Never.
    Never,
}

/// A word that is no pull policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown pull policy {0:?}: choose always, missing or never")]
pub struct UnknownPull(pub String);

impl FromStr for PullPolicy {
    type Err = UnknownPull;
    fn from_str(s: &str) -> Result<Self, UnknownPull> {
        match s {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            _ => Err(UnknownPull(s.chars().take(64).collect())),
        }
    }
}

/// Who asks a registry. Kept by the agent for one request only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistryAuth {
    /// User.
    pub username: String,
    /// Password or access token.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub password: Secret,
    /// An OAuth2 refresh token, instead of the two.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub identity_token: Secret,
}

/// An image to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullRequest {
    /// `[REGISTRY/]NAME[:TAG][@DIGEST]`, read as docker reads it.
    pub reference: String,
    /// When it is fetched.
    #[serde(default)]
    pub policy: PullPolicy,
    /// For a registry that asks who it is.
    #[serde(default)]
    pub auth: Option<RegistryAuth>,
}

/// How far the fetching of an image has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullProgress {
    /// What is being done.
    pub phase: PullPhase,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all; 0 where that is not known.
    pub total: u64,
}

/// A step of fetching an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PullPhase {
    /// The registry is asked what the name stands for.
    Resolving,
    /// Layers are fetched.
    Downloading,
    /// Layers become a directory.
    Unpacking,
}

/// An image that is here now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pulled {
    /// Its name in full: `docker.io/library/nginx:latest`.
    pub reference: String,
    /// Digest of its configuration: what docker calls the image id.
    pub id: String,
    /// Digest of what the registry has under that name.
    pub digest: String,
    /// It was not here before.
    pub fresh: bool,
}

/// An image of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageView {
    /// Digest of its configuration, `sha256:` and 64 hex digits.
    pub id: String,
    /// Its names with tags: `docker.io/library/nginx:latest`.
    pub repo_tags: Vec<String>,
    /// Its names with what the registry had under them: `docker.io/library/nginx@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Archives and layouts that it was made of.
    pub files: Vec<String>,
    /// When it was built, RFC 3339, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Bytes of its files on this host.
    pub size: u64,
    /// Operating system and architecture: `linux/amd64`.
    pub platform: String,
    /// Names of the tasks that use it, also of those that are stopped.
    pub used_by: Vec<String>,
}

/// What the removal of an image took.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImagesRemoved {
    /// Names that lead nowhere any more.
    pub untagged: Vec<String>,
    /// Ids of images whose files are gone.
    pub deleted: Vec<String>,
    /// Bytes of those files.
    pub bytes: u64,
}

/// Which images a prune removes; never one that a task uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImagePruneRequest {
    /// Also those that have a name.
    pub all: bool,
}

/// User and password to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginRequest {
    /// `HOST[:PORT]`; `docker.io` for Docker's own.
    pub registry: String,
    /// Who.
    pub auth: RegistryAuth,
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        })
    }
}
