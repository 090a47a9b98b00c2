//! What can go wrong, with the operands inside.

use crate::image::ImageError;
use crate::program::ProgramError;
use crate::spec::BadSpec;
use netmode_model::{ApiError, Code, Id};
use std::io;
use std::path::{Path, PathBuf};

/// A container could not be made, run, asked or removed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The request is wrong in itself.
    #[error(transparent)]
    Spec(#[from] BadSpec),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A program is missing, hangs or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The command does not exist in the container (exit status 127).
    #[error("the command {0:?} does not exist in the container; check its spelling and the container's PATH")]
    CommandNotFound(String),
    /// The command exists and cannot be executed (exit status 126).
    #[error("the command {command:?} cannot be executed in the container: {why}; name an executable file")]
    CommandNotExecutable {
        /// The command.
        command: String,
        /// The kernel's or the runtime's reason.
        why: String,
    },
    /// The runtime refused, in its own words.
    #[error("the runtime could not {doing} container {}: {text}", id.short())]
    Runtime {
        /// What it was asked for.
        doing: &'static str,
        /// The container.
        id: Id,
        /// Its error text.
        text: String,
    },
    /// The monitor ended without an answer.
    #[error("conmon ended before container {} was made: {text}; see the log of the agent", id.short())]
    Monitor {
        /// The container.
        id: Id,
        /// What it wrote, if anything.
        text: String,
    },
    /// No such container on this machine.
    #[error("there is no container {}; \"netmode ps --all\" lists those there are", .0.short())]
    NotFound(Id),
    /// The container has ended, or has not been started.
    #[error("container {} is not running; start it with \"netmode start\" first", .0.short())]
    NotRunning(Id),
    /// The container is there and runs.
    #[error("container {} runs already; stop it with \"netmode stop\" first", .0.short())]
    Running(Id),
    /// A signal that does not exist.
    #[error("there is no signal {0:?}; give a name such as TERM or a number from 1 to 64")]
    NoSuchSignal(String),
    /// A mount failed.
    #[error("cannot mount {what} on {}: {source}", path.display())]
    Mount {
        /// What was to be mounted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A file of ours could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A record of ours cannot be understood.
    #[error("cannot read {}: {text}; remove the container with \"netmode rm -f\"", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// A directory of the configuration cannot be used.
    #[error("the directory {} cannot hold containers: {why}; choose another in netmode.toml", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// Some steps of a removal failed; all others were done.
    #[error("container {} is not removed completely: {}", id.short(), join(errors))]
    Remove {
        /// The container.
        id: Id,
        /// What failed.
        errors: Vec<ContainerError>,
    },
}

fn join(errors: &[ContainerError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ContainerError {
    /// The stable code for API and exit status.
    pub fn code(&self) -> Code {
        match self {
            Self::Spec(e) => e.code(),
            Self::Image(e) => e.code(),
            Self::Program(e) => e.code(),
            Self::CommandNotFound(_) => Code::CommandNotFound,
            Self::CommandNotExecutable { .. } => Code::CommandNotExecutable,
            Self::Runtime { .. } | Self::Monitor { .. } | Self::Remove { .. } => Code::Runtime,
            Self::NotFound(_) => Code::NotFound,
            Self::NotRunning(_) | Self::Running(_) => Code::WrongState,
            Self::NoSuchSignal(_) | Self::Directory { .. } => Code::Invalid,
            Self::Mount { .. } => Code::Kernel,
            Self::File { source, .. } if is_limit(source) => Code::Limit,
            Self::File { .. } | Self::Record { .. } => Code::State,
        }
    }

    pub(crate) fn file(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File { doing, path, source }
    }
}

/// No room, or no descriptor left.
fn is_limit(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
        || matches!(error.raw_os_error(), Some(n) if n == nix::errno::Errno::EMFILE as i32 || n == nix::errno::Errno::ENFILE as i32)
}

impl From<ContainerError> for ApiError {
    fn from(e: ContainerError) -> Self {
        ApiError::new(e.code(), e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_limit_and_not_a_broken_record() {
        let full = |n: nix::errno::Errno| ContainerError::file("write", "/x")(io::Error::from_raw_os_error(n as i32));
        assert_eq!(full(nix::errno::Errno::ENOSPC).code(), Code::Limit);
        assert_eq!(full(nix::errno::Errno::EMFILE).code(), Code::Limit);
        assert_eq!(full(nix::errno::Errno::EACCES).code(), Code::State);
    }
}
