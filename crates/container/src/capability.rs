//! Which capabilities a container has (capabilities(7)).

use oci_spec::runtime::Capability;
use std::collections::HashSet;

/// Every capability at the position of its bit (`include/uapi/linux/capability.h`).
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set without NET_RAW: with it a container can forge packets of its neighbours, and ping
/// works without it through `net.ipv4.ping_group_range`.
const DEFAULT: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A capability that cannot be given or taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCapability {
    /// No such capability.
    #[error("there is no capability {0:?}; see capabilities(7) for the names, or use ALL")]
    Unknown(String),
    /// The agent itself does not have it.
    #[error(
        "the capability {0:?} cannot be given: netmoded itself does not have it; add it to the unit's CapabilityBoundingSet"
    )]
    Lacking(String),
}

/// Whether a set of bits has a capability.
pub(crate) fn has(bits: u64, name: &str) -> bool {
    ALL.iter().position(|n| *n == name).is_some_and(|bit| bits & (1 << bit) != 0)
}

/// (Docker's default, plus what is added) less what is dropped, within `bounding`.
pub(crate) fn choose(
    add: &[String],
    drop: &[String],
    privileged: bool,
    bounding: u64,
) -> Result<HashSet<Capability>, BadCapability> {
    let add = names(add)?;
    let drop = names(drop)?;
    if let Some(lacking) = add.iter().find(|n| **n != "ALL" && !has(bounding, n)) {
        return Err(BadCapability::Lacking((*lacking).into()));
    }
    let base: &[&str] = match (privileged || add.contains(&"ALL"), drop.contains(&"ALL")) {
        (true, _) => &ALL,
        (false, true) => &[],
        (false, false) => &DEFAULT,
    };
    let added = add.into_iter().filter(|n| *n != "ALL");
    let chosen = base.iter().copied().filter(|n| !drop.contains(n)).chain(added.filter(|n| !drop.contains(n)));
    chosen.filter(|n| has(bounding, n)).map(typed).collect()
}

fn names(given: &[String]) -> Result<Vec<&'static str>, BadCapability> {
    given
        .iter()
        .map(|text| {
            let upper = text.to_ascii_uppercase();
            let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let known = ALL.iter().chain(&["ALL"]).find(|n| **n == name).copied();
            known.ok_or_else(|| BadCapability::Unknown(text.clone()))
        })
        .collect()
}

fn typed(name: &str) -> Result<Capability, BadCapability> {
    name.parse().map_err(|_| BadCapability::Unknown(name.into()))
}

/// The name with which profiles call it.
pub(crate) fn full_name(capability: &Capability) -> String {
    format!("CAP_{capability}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(add: &[&str], drop: &[&str], privileged: bool) -> Result<u64, BadCapability> {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let set = choose(&own(add), &own(drop), privileged, u64::MAX)?;
        let bit = |c: &Capability| ALL.iter().position(|n| *n == c.to_string()).unwrap();
        Ok(set.iter().fold(0, |bits, c| bits | 1 << bit(c)))
    }

    #[test]
    fn the_default_is_dockers_without_net_raw() {
        assert_eq!(bits(&[], &[], false), Ok(0xa804_05fb));
        assert_eq!(bits(&["net_raw"], &[], false), Ok(0xa804_25fb));
        assert_eq!(bits(&["CAP_NET_ADMIN"], &["ALL"], false), Ok(1 << 12));
        assert_eq!(bits(&[], &["chown"], false), Ok(0xa804_05fa));
        assert_eq!(bits(&[], &[], true), Ok((1 << 41) - 1));
        assert_eq!(bits(&["ALL"], &["CHOWN"], false), Ok((1 << 41) - 2));
    }

    #[test]
    fn unknown_and_lacking_ones_are_refused() {
        assert_eq!(bits(&["CHOW"], &[], false), Err(BadCapability::Unknown("CHOW".into())));
        let without = !(1 << 12);
        assert!(matches!(choose(&["NET_ADMIN".into()], &[], false, without), Err(BadCapability::Lacking(_))));
        assert_eq!(choose(&["ALL".into()], &[], false, without).unwrap().len(), 40);
    }
}
