//! Why an image cannot be had, used or removed.

use crate::program::ProgramError;
use netmode_model::Code;
use std::io;
use std::path::{Path, PathBuf};

/// An image could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No such file.
    #[error(
        "the image {0:?} is neither a file nor an OCI layout on this host; make one with \"docker save -o FILE IMAGE\" and give its absolute path"
    )]
    NoSuchFile(String),
    /// No such image in the store.
    #[error("there is no image {0} on this host; fetch it with \"netmode pull {0}\", or see \"netmode images\"")]
    NotHere(String),
    /// No such image in the registry.
    #[error("the registry {registry} has no image {reference}; check its name and tag")]
    NotThere {
        /// As it would be.
        reference: String,
        /// Who was asked.
        registry: String,
    },
    /// The name of an image or registry cannot be one.
    #[error("the image {text:?} has no possible name: {why}; write [REGISTRY/]NAME[:TAG] or NAME@sha256:DIGEST")]
    BadReference {
        /// As given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The beginning of several ids.
    #[error("several images have an id that begins with {0}; give more digits (see \"netmode images\")")]
    Ambiguous(String),
    /// There is something, but no image.
    #[error("{reference:?} is not an image that can be used: {why}; give a \"docker save\" tar or an OCI layout")]
    NotAnImage {
        /// As given.
        reference: String,
        /// The reason.
        why: String,
    },
    /// A layer that no program takes apart, or that says something forbidden.
    #[error("the image {reference} cannot be unpacked: {why}; have it built again")]
    BadLayer {
        /// As given.
        reference: String,
        /// umoci's reason.
        why: String,
    },
    /// Made for other machines.
    #[error("the image {reference:?} is for {image} and this host is {host}; get the image for {host}")]
    WrongArchitecture {
        /// As given.
        reference: String,
        /// The image's operating system and architecture.
        image: String,
        /// This host's.
        host: String,
    },
    /// The registry wants a user and a password.
    #[error(
        "the registry {registry} does not give {what} to somebody unknown (401); log in with \"netmode login {registry}\", or check the name"
    )]
    LoginNeeded {
        /// Who said so.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// The registry does not take the user and the password.
    #[error(
        "the registry {registry} does not accept this user and password for {what} (401); log in again with \"netmode login {registry}\""
    )]
    Denied {
        /// Who said so.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// Who answers cannot show that it is the registry.
    #[error(
        "the certificate of the registry {registry} does not verify: {why}; put the certificate of its authority into /etc/docker/certs.d/{registry}/ca.crt"
    )]
    Certificate {
        /// Who was asked.
        registry: String,
        /// The TLS library's reason.
        why: String,
    },
    /// No answer, or an error.
    #[error("the registry {registry} cannot be used: {why}; check its name and the network, then try again")]
    Registry {
        /// Who was asked.
        registry: String,
        /// skopeo's reason.
        why: String,
    },
    /// The disk is full.
    #[error(
        "the image {reference} does not fit: no space is left in {}; make room (\"netmode image prune -a\" removes images that no task uses) and try again",
        dir.display()
    )]
    Full {
        /// As given.
        reference: String,
        /// The store.
        dir: PathBuf,
    },
    /// Somebody removed it while it was on its way.
    #[error("the image {0} was removed while it was fetched; fetch it again")]
    Removed(String),
    /// A program is missing or hangs.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The store could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl ImageError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Program(e) => e.code(),
            Self::Full { .. } => Code::Limit,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Code::Limit,
            Self::File { .. } | Self::Removed(_) => Code::State,
            Self::NotHere(_) | Self::NotThere { .. } => Code::NoSuchImage,
            Self::BadReference { .. } | Self::Ambiguous(_) => Code::Invalid,
            Self::LoginNeeded { .. } | Self::Denied { .. } => Code::RegistryDenied,
            Self::Certificate { .. } => Code::RegistryCertificate,
            Self::Registry { .. } => Code::RegistryFailed,
            Self::NoSuchFile(_) => Code::NoSuchPath,
            Self::NotAnImage { .. } | Self::BadLayer { .. } | Self::WrongArchitecture { .. } => Code::BadImage,
        }
    }

    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn not(reference: &str, why: impl Into<String>) -> Self {
        Self::NotAnImage { reference: reference.into(), why: why.into() }
    }
}
