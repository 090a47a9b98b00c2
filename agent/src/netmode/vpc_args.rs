//! The command line of the VPC's objects.

use crate::listing::ListArgs;
use clap::{Args, Subcommand};

/// `netmode subnet`.
#[derive(Debug, Subcommand)]
pub(crate) enum SubnetCommand {
    /// List subnets
    Ls(ListArgs),
    /// Show subnets with their free addresses, what stands in for an ENI, and why
    Show {
        /// Names or ids
        #[arg(required = true, value_name = "SUBNET")]
        subnets: Vec<String>,
    },
    /// Make a subnet and print its id
    Create(Box<SubnetCreateArgs>),
    /// Remove subnets that nobody uses
    #[command(visible_alias = "delete")]
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "SUBNET")]
        subnets: Vec<String>,
    },
}

/// `netmode subnet create`.
#[derive(Debug, Args)]
pub(crate) struct SubnetCreateArgs {
    /// The IPv4 prefix, /16 to /28
    #[arg(long, visible_alias = "cidr-block", value_name = "PREFIX")]
    pub(crate) cidr: Option<String>,
    /// An IPv6 prefix, /64
    #[arg(long, visible_alias = "ipv6-cidr-block", value_name = "PREFIX")]
    pub(crate) ipv6_cidr: Option<String>,
    /// The link that interfaces are on: auto (that of the default route), or a name
    #[arg(long, value_name = "auto|LINK", default_value = "auto")]
    pub(crate) parent: String,
    /// What stands in for an ENI: auto, veth, macvlan[:private|vepa], ipvlan[:l3|l3s], vlan
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) backend: String,
    /// A router that somebody else runs, one for IPv4 and one for IPv6
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<String>,
    /// Where addresses are taken from, a part of the prefix; needed on a LAN
    #[arg(long, value_name = "PREFIX")]
    pub(crate) ip_range: Option<String>,
    /// Addresses or prefixes that are not given out
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// What leaves the VPC gets the host's address; without a word that is so where nobody else routes to the subnet
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) nat: Option<bool>,
    /// IPv6: connections begin from inside alone (egress-only internet gateway)
    #[arg(long)]
    pub(crate) egress_only: bool,
    /// 802.1Q ids for the backend vlan
    #[arg(long, value_name = "FIRST[-LAST]")]
    pub(crate) vlan: Option<String>,
    /// Zone of the names ip-a-b-c-d.ZONE
    #[arg(long, value_name = "ZONE")]
    pub(crate) dns_zone: Option<String>,
    /// Availability zone, as tasks see it
    #[arg(long, value_name = "ZONE")]
    pub(crate) availability_zone: Option<String>,
    /// Show what would be made, and make nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Its name
    pub(crate) name: String,
}

/// `netmode eni`.
#[derive(Debug, Subcommand)]
pub(crate) enum EniCommand {
    /// List ENIs
    Ls(ListArgs),
    /// Show ENIs: addresses, groups, what stands in for them, and how the host reaches them
    Show {
        /// Ids, addresses or tasks
        #[arg(required = true, value_name = "ENI")]
        enis: Vec<String>,
    },
    /// Refused: an ENI is released by its task's end alone
    #[command(visible_aliases = ["rm", "detach"])]
    Delete {
        /// Ids, addresses or tasks
        #[arg(required = true, value_name = "ENI")]
        enis: Vec<String>,
    },
}

/// `netmode sg`.
#[derive(Debug, Subcommand)]
pub(crate) enum SgCommand {
    /// List security groups
    Ls(ListArgs),
    /// Show security groups with their rules
    Show {
        /// Names or ids
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Make a security group (nothing comes in, everything may go out) and print its id
    Create {
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// Its name
        name: String,
    },
    /// Remove security groups that no task uses
    #[command(visible_alias = "delete")]
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Let something pass: adds a rule for each peer and prints their ids
    Authorize(RulesArgs),
    /// Take rules away; connections that they have let pass go on
    Revoke {
        /// A rule by its id
        #[arg(long, value_name = "RULE")]
        rule: Vec<String>,
        /// Cut the connections of the group's tasks as well
        #[arg(long)]
        cut: bool,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Show what is open to a task, and by which rule
    Effective {
        /// Name, id or beginning of an id
        task: String,
    },
}

/// Rules of `netmode sg authorize` and `revoke`.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// What comes to the task (the default)
    #[arg(long, conflicts_with = "egress")]
    pub(crate) ingress: bool,
    /// What the task sends
    #[arg(long)]
    pub(crate) egress: bool,
    /// tcp, udp, icmp, icmpv6, a number, or all
    #[arg(long, default_value = "all")]
    pub(crate) protocol: String,
    /// A port, FIRST-LAST, or for icmp TYPE[/CODE]; all where none is given: --protocol tcp --port 80
    #[arg(long, value_name = "PORT", allow_hyphen_values = true)]
    pub(crate) port: Option<String>,
    /// Addresses
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub(crate) cidr: Vec<String>,
    /// The tasks of a security group
    #[arg(long = "group", visible_alias = "source-group", value_name = "GROUP", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// A prefix list
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) prefix_list: Vec<String>,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// The group, by name or id
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
}

/// `netmode prefix-list`.
#[derive(Debug, Subcommand)]
pub(crate) enum PrefixListCommand {
    /// List prefix lists
    Ls,
    /// Make a prefix list, or give one other entries
    Set {
        /// A prefix
        #[arg(long, required = true, value_name = "PREFIX", value_delimiter = ',')]
        entry: Vec<String>,
        /// Its name
        name: String,
    },
    /// Remove prefix lists that no rule names
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "LIST")]
        lists: Vec<String>,
    },
}
