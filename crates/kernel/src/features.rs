//! What this kernel can do, by trial in a namespace that is thrown away.

use crate::kernel::Kernel;
use crate::nft::Owner;
use crate::wire::Refused;
use netmode_model::nft::{Action, Chain, Rule, Ruleset, TableName};
use netmode_model::{IfName, Op};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// A part of the kernel that netmode uses where it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Why it is missing; `None` if it is there.
    pub missing: Option<String>,
    /// What is done without it.
    pub fallback: &'static str,
}

impl Kernel {
    /// Tries every feature. The kernel may load modules for it.
    ///
    /// # Errors
    /// No namespace can be made to try in.
    pub fn features(&self) -> Result<Vec<Feature>, netmode_model::op::OpError> {
        let tried = self.pool.run(|worker| {
            worker.scratch(|route| {
                let link = |name: &str| name.parse::<IfName>().map_err(|e| Refused::new(Errno::EINVAL, e.to_string()));
                let parent = link("parent").and_then(|dev| route.add_parent(&dev));
                let mut child = |kind| parent.clone().and_then(|index| route.add_child(kind, index));
                vec![
                    feature("nft-owner", own_table(), "the monitor repairs what others delete from the table"),
                    feature("nflog", tell(), "flow logs tell of no refusal"),
                    feature("flowtable", carry(), "every packet of a connection meets the rules"),
                    feature("ipv6", open(AddressFamily::Inet6, SockType::Datagram, SockProtocol::Udp), "IPv4 only"),
                    feature(
                        "sctp",
                        open(AddressFamily::Inet, SockType::Stream, SockProtocol::Sctp),
                        "SCTP ports are reserved by record, not held",
                    ),
                    feature("macvlan", child(Child::MacVlan), "veth and bridge"),
                    feature("ipvlan", child(Child::IpVlan), "macvlan"),
                    feature("vlan", child(Child::Vlan), "one link per network"),
                ]
            })
        });
        tried.and_then(|tried| tried).map_err(|refused| refused.of(&"unshare --net"))
    }
}

/// A link on top of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    MacVlan,
    IpVlan,
    Vlan,
}

fn feature(name: &'static str, tried: Result<(), Refused>, fallback: &'static str) -> Feature {
    let text = |refused: Refused| match refused.detail.as_str() {
        "" => Errno::from_raw(refused.errno).desc().to_owned(),
        detail => detail.to_owned(),
    };
    Feature { name, missing: tried.err().map(text), fallback }
}

/// A table that its owner leaves behind (Linux 6.9).
fn own_table() -> Result<(), Refused> {
    let ruleset =
        Ruleset { table: TableName::inet("trial"), owner: true, flowtable: None, sets: Vec::new(), chains: Vec::new() };
    let mut owner = Owner::open(None)?;
    owner.transact(&[&Op::TableAdd(ruleset)]).map_err(|aborted| aborted.why)?;
    if owner.persists() { Ok(()) } else { Err(Refused::new(Errno::EOPNOTSUPP, "tables cannot outlive their owner")) }
}

/// A rule that tells of what it drops (nfnetlink_log).
fn tell() -> Result<(), Refused> {
    let rule = Rule { matches: Vec::new(), action: Action::Refuse("trial".into()) };
    let chain = Chain { name: "trial".into(), base: None, rules: vec![rule] };
    let ruleset = Ruleset {
        table: TableName::inet("told"),
        owner: false,
        flowtable: None,
        sets: Vec::new(),
        chains: vec![chain],
    };
    let mut owner = Owner::open(None)?;
    owner.transact(&[&Op::TableAdd(ruleset)]).map_err(|aborted| aborted.why)?;
    if owner.tells() { Ok(()) } else { Err(Errno::ENOENT.into()) }
}

/// A flowtable, and a rule that fills it (nf_flow_table_inet, nft_flow_offload).
fn carry() -> Result<(), Refused> {
    let rule = Rule { matches: Vec::new(), action: Action::FlowAdd("trial".into()) };
    let chain = Chain { name: "trial".into(), base: None, rules: vec![rule] };
    let flowtable = Some("trial".into());
    let ruleset =
        Ruleset { table: TableName::inet("fast"), owner: false, flowtable, sets: Vec::new(), chains: vec![chain] };
    Owner::open(None)?.transact(&[&Op::TableAdd(ruleset)]).map_err(|aborted| aborted.why)
}

fn open(family: AddressFamily, kind: SockType, protocol: SockProtocol) -> Result<(), Refused> {
    Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).map(drop)?)
}
