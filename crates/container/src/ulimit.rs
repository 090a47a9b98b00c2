//! Resource limits of a container, `NAME=SOFT[:HARD]` (getrlimit(2)).

use nix::sys::resource::{Resource, getrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType as Type};

/// A limit that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUlimit {
    /// Not of the form, or no such limit.
    #[error("the ulimit {0:?} is not NAME=SOFT[:HARD] with a name such as nofile and numbers, -1 for no limit")]
    Malformed(String),
    /// Soft above hard.
    #[error("the ulimit {0:?} has a soft limit above its hard one; lower the first number")]
    Order(String),
    /// Given twice.
    #[error("the ulimit {0:?} is given twice; leave one out")]
    Twice(String),
    /// Above what the agent has, which it may not raise.
    #[error(
        "the ulimit {given:?} is above the agent's hard limit of {hard}; choose less, or raise the limit of netmoded's unit"
    )]
    AboveHard {
        /// As given.
        given: String,
        /// The agent's hard limit.
        hard: u64,
    },
}

const KINDS: [(&str, Type, Option<Resource>); 16] = [
    ("as", Type::RlimitAs, Some(Resource::RLIMIT_AS)),
    ("core", Type::RlimitCore, Some(Resource::RLIMIT_CORE)),
    ("cpu", Type::RlimitCpu, Some(Resource::RLIMIT_CPU)),
    ("data", Type::RlimitData, Some(Resource::RLIMIT_DATA)),
    ("fsize", Type::RlimitFsize, Some(Resource::RLIMIT_FSIZE)),
    ("locks", Type::RlimitLocks, Some(Resource::RLIMIT_LOCKS)),
    ("memlock", Type::RlimitMemlock, Some(Resource::RLIMIT_MEMLOCK)),
    ("msgqueue", Type::RlimitMsgqueue, Some(Resource::RLIMIT_MSGQUEUE)),
    ("nice", Type::RlimitNice, Some(Resource::RLIMIT_NICE)),
    ("nofile", Type::RlimitNofile, Some(Resource::RLIMIT_NOFILE)),
    ("nproc", Type::RlimitNproc, Some(Resource::RLIMIT_NPROC)),
    ("rss", Type::RlimitRss, Some(Resource::RLIMIT_RSS)),
    ("rtprio", Type::RlimitRtprio, Some(Resource::RLIMIT_RTPRIO)),
    ("rttime", Type::RlimitRttime, Some(Resource::RLIMIT_RTTIME)),
    ("sigpending", Type::RlimitSigpending, Some(Resource::RLIMIT_SIGPENDING)),
    ("stack", Type::RlimitStack, Some(Resource::RLIMIT_STACK)),
];

/// Understands the limits; those above our own hard limits are refused unless we `may_raise` them.
pub(crate) fn parse_all(given: &[String], may_raise: bool) -> Result<Vec<PosixRlimit>, BadUlimit> {
    let mut limits: Vec<PosixRlimit> = Vec::new();
    for text in given {
        let limit = parse(text, may_raise)?;
        if limits.iter().any(|l| l.typ() == limit.typ()) {
            return Err(BadUlimit::Twice(text.clone()));
        }
        limits.push(limit);
    }
    Ok(limits)
}

/// What is set where nobody chose a limit of open files: this soft one, which may be raised to our own hard limit.
pub(crate) fn open_files(given: &[PosixRlimit], soft: Option<u64>) -> Option<PosixRlimit> {
    let (soft, (_, hard)) = (soft?, getrlimit(Resource::RLIMIT_NOFILE).ok()?);
    let chosen = given.iter().any(|limit| limit.typ() == Type::RlimitNofile);
    let limit = PosixRlimitBuilder::default().typ(Type::RlimitNofile).soft(soft.min(hard)).hard(hard).build().ok();
    limit.filter(|_| !chosen)
}

fn parse(text: &str, may_raise: bool) -> Result<PosixRlimit, BadUlimit> {
    let malformed = || BadUlimit::Malformed(text.into());
    let (name, values) = text.split_once('=').ok_or_else(malformed)?;
    let (_, typ, resource) = KINDS.iter().find(|(n, ..)| *n == name).ok_or_else(malformed)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft).ok_or_else(malformed)?, number(hard).ok_or_else(malformed)?);
    if soft > hard {
        return Err(BadUlimit::Order(text.into()));
    }
    let ours = resource.and_then(|r| getrlimit(r).ok()).map_or(u64::MAX, |(_, hard)| hard);
    if hard > ours && !may_raise {
        return Err(BadUlimit::AboveHard { given: text.into(), hard: ours });
    }
    PosixRlimitBuilder::default().typ(*typ).soft(soft).hard(hard).build().map_err(|_| malformed())
}

/// A number, or -1 and `unlimited` for none.
fn number(text: &str) -> Option<u64> {
    match text {
        "-1" | "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let limit = parse("nofile=10:20", true).unwrap();
        assert_eq!((limit.typ(), limit.soft(), limit.hard()), (Type::RlimitNofile, 10, 20));
        assert_eq!(parse("core=-1", true).unwrap().hard(), u64::MAX);
        assert_eq!(parse("nproc=7", true).unwrap().hard(), 7);
        for bad in ["", "nofile", "nofile=", "nofile=x", "files=1", "nofile=1:2:3"] {
            assert_eq!(parse(bad, true), Err(BadUlimit::Malformed(bad.into())));
        }
        assert!(matches!(parse("nofile=3:2", true), Err(BadUlimit::Order(_))));
        assert!(matches!(parse_all(&["cpu=1".into(), "cpu=2".into()], true), Err(BadUlimit::Twice(_))));
    }

    #[test]
    fn open_files_are_limited_softly_where_nobody_chose() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let limit = open_files(&[], Some(7)).unwrap();
        assert_eq!((limit.typ(), limit.soft(), limit.hard()), (Type::RlimitNofile, 7, hard));
        assert_eq!(open_files(&[], Some(u64::MAX)).unwrap().soft(), hard);
        assert_eq!(open_files(&[parse("nofile=10:20", true).unwrap()], Some(7)), None);
        assert_eq!(open_files(&[], None), None);
    }

    #[test]
    fn above_the_hard_limit_needs_the_right_to_raise_it() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let above = format!("nofile={}", hard.saturating_add(1));
        assert!(parse(&above, true).is_ok());
        assert!(matches!(parse(&above, false), Err(BadUlimit::AboveHard { .. })));
    }
}
