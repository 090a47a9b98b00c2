//! A call, as its environment tells it.

use super::{CniCode, CniError};
use crate::link::IfName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest name of a link, in bytes: `IFNAMSIZ` less its NUL, include/uapi/linux/if.h.
const LONGEST_LINK: usize = 15;

/// Longest `CNI_CONTAINERID` and name of a network: they become names of files (`NAME_MAX`).
const LONGEST: usize = 255;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verb {
    /// Attach a container.
    Add,
    /// Take an attachment away.
    Del,
    /// Tell whether an attachment is as it should be.
    Check,
    /// Take away what none of the listed attachments needs.
    Gc,
    /// Tell whether ADD could be served.
    Status,
    /// Tell the versions that are understood.
    Version,
}

impl Verb {
    /// As `CNI_COMMAND` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The variables without which it cannot be (specification, section "Parameters"). `CNI_PATH` is needed by GC alone:
    /// for the others it matters only where another plugin is called.
    const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc => &["CNI_PATH"],
            Self::Status | Self::Version => &[],
        }
    }
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Call {
    /// What is to be done.
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty where the verb needs none.
    pub container: String,
    /// `CNI_NETNS` as it was given; results echo it.
    pub netns: Option<String>,
    /// `CNI_IFNAME`; empty where the verb needs none.
    pub ifname: String,
    /// `CNI_ARGS`, `KEY=VALUE;…`.
    pub args: String,
    /// Directories of `CNI_PATH`, in order; the caller's alone.
    #[serde(skip)]
    pub path: Vec<PathBuf>,
}

fn refused(message: String) -> CniError {
    CniError::new(CniCode::Environment, message)
}

impl Call {
    /// Reads a call from variables; one that is set and empty counts as unset, as libcni sets all of them always.
    ///
    /// # Errors
    /// [`CniCode::Environment`]: an unknown verb, variables that are missing (all are named), values that cannot be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let verb = get("CNI_COMMAND").ok_or_else(|| missing(&["CNI_COMMAND"]))?;
        let all = [Verb::Add, Verb::Del, Verb::Check, Verb::Gc, Verb::Status, Verb::Version];
        let known = all.into_iter().find(|v| v.as_str() == verb);
        let verb = known.ok_or_else(|| refused(format!("unknown CNI_COMMAND: {:?}", shown(&verb))))?;
        let lacking: Vec<&str> = verb.needs().iter().copied().filter(|name| get(name).is_none()).collect();
        if !lacking.is_empty() {
            return Err(missing(&lacking));
        }
        let text = |name: &str| get(name).unwrap_or_default();
        let (container, ifname) = (text("CNI_CONTAINERID"), text("CNI_IFNAME"));
        let path = text("CNI_PATH").split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
        let call = Self { verb, container, netns: get("CNI_NETNS"), ifname, args: text("CNI_ARGS"), path };
        call.check()?;
        Ok(call)
    }

    /// Whether container and link can be what they are said to be: whoever receives a call looks again.
    ///
    /// # Errors
    /// They cannot.
    pub fn check(&self) -> Result<(), CniError> {
        if !self.verb.needs().contains(&"CNI_CONTAINERID") {
            return Ok(());
        }
        let Self { container, ifname, .. } = self;
        word(container).map_err(|why| refused(format!("CNI_CONTAINERID {:?} {why}", shown(container))))?;
        link(ifname).map_err(|why| refused(format!("CNI_IFNAME {:?} {why}", shown(ifname))))
    }
}

impl Call {
    /// `CNI_IFNAME` as the name of a link.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn link(&self) -> Result<IfName, CniError> {
        self.ifname.parse().map_err(|e| refused(format!("CNI_IFNAME: {e}")))
    }
}

/// Words of the reference library, which people look for.
fn missing(names: &[&str]) -> CniError {
    refused(format!("required env variables [{}] missing", names.join(",")))
}

/// What a message shows of a value that somebody else chose.
fn shown(value: &str) -> String {
    value.chars().take(64).collect()
}

/// Whether a text can be the id of a container, or the name of a network: it becomes the name of a file.
///
/// # Errors
/// Why not.
pub(super) fn word(text: &str) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    match begins && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        false => Err("must begin with a letter or digit, and have only letters, digits, '_', '.' and '-'"),
        true if text.len() > LONGEST => Err("is longer than 255 bytes"),
        true => Ok(()),
    }
}

/// Whether a text can be the name of a link in the container.
fn link(text: &str) -> Result<(), &'static str> {
    match text {
        "." | ".." => Err("cannot be the name of a link"),
        long if long.len() > LONGEST_LINK => Err("is longer than the 15 bytes of a link's name"),
        odd if odd.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) => {
            Err("must have no '/', no ':' and no white space")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(variables: &[(&str, &str)]) -> Result<Call, CniError> {
        let all: BTreeMap<_, _> = variables.iter().copied().collect();
        Call::read(|name| all.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn every_missing_variable_is_named() {
        let error = read(&[("CNI_COMMAND", "ADD"), ("CNI_NETNS", "")]).unwrap_err();
        assert_eq!(error.message, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing");
        assert_eq!(error.code, CniCode::Environment);
        assert!(read(&[("CNI_COMMAND", "GC")]).unwrap_err().message.contains("[CNI_PATH]"));
        assert!(read(&[]).unwrap_err().message.contains("[CNI_COMMAND]"));
        for verb in ["add", "FOO", "ADD "] {
            assert!(read(&[("CNI_COMMAND", verb)]).unwrap_err().message.contains(verb), "{verb}");
        }
    }

    #[test]
    fn a_removal_needs_no_namespace_and_a_status_nothing() {
        let call = read(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "a.b-C_9"), ("CNI_IFNAME", "eth0")]).unwrap();
        assert_eq!((call.netns, call.ifname.as_str()), (None, "eth0"));
        let status = read(&[("CNI_COMMAND", "STATUS"), ("CNI_CONTAINERID", ""), ("CNI_PATH", "/a::/b")]).unwrap();
        assert_eq!(status.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let of = |id: &str, link: &str| read(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", id), ("CNI_IFNAME", link)]);
        for id in ["-bad", "a b", "a/b", "../x", &"x".repeat(256)] {
            assert!(of(id, "eth0").unwrap_err().message.contains("CNI_CONTAINERID"), "{id}");
        }
        for link in [".", "..", "a/b", "a:b", "a b", "abcdefghijklmnop"] {
            assert!(of("c1", link).unwrap_err().message.contains("CNI_IFNAME"), "{link}");
        }
        assert!(of("c1", "abcdefghijklmno").is_ok());
    }
}
