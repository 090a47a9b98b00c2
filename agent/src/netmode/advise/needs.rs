//! What a task may need, and how each mode serves it: the one table that `netmode advise` decides by.
//!
//! The cells say what Amazon's documentation says of its modes; where netmode can do more, the cell says so.

use Fit::{Best, No, Poorly, Yes};
use netmode_model::Mode;
use serde::Serialize;

/// The modes in the order of the table's columns. Where two serve equally well, the one that comes first is chosen.
pub(crate) static CHOICES: [Choice; 4] = [
    Choice {
        mode: Mode::Awsvpc,
        command: "netmode run -d --mode awsvpc IMAGE",
        changes: &[],
        second: "it would do as well, but takes an address of a subnet",
    },
    Choice {
        mode: Mode::Bridge,
        command: "netmode run -d -p 8080:80 IMAGE",
        changes: &[("dynamic-ports", "-p 8080:80", "-p 80"), ("names", "run -d", "run -d --network NAME")],
        second: "it would do as well, but its traffic is translated and clients need to know ports of the host",
    },
    Choice {
        mode: Mode::Host,
        command: "netmode run -d --mode host -p 8080 IMAGE",
        changes: &[],
        second: "it would do as well, but is discouraged: it reaches every service on the host's loopback",
    },
    Choice {
        mode: Mode::None,
        command: "netmode run -d --mode none IMAGE",
        changes: &[],
        second: "it would do as well, but nobody reaches it and it reaches nobody",
    },
];

/// A mode that can be recommended.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) mode: Mode,
    /// How a task in it is started.
    pub(crate) command: &'static str,
    /// What a need makes of that: its flag, and which words become which.
    pub(crate) changes: &'static [(&'static str, &'static str, &'static str)],
    /// Why it was not chosen though it serves every need equally well.
    pub(crate) second: &'static str,
}

/// How well a mode serves a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fit {
    /// Not at all.
    No,
    /// With what the reason says.
    Poorly,
    /// It does.
    Yes,
    /// Better than any other.
    Best,
}

impl Fit {
    /// What it counts beside the fits of other needs.
    pub(crate) fn weight(self) -> u32 {
        self as u32
    }

    pub(crate) fn word(self) -> &'static str {
        ["no", "poorly", "yes", "best"][self as usize]
    }
}

/// A need: a flag of `netmode advise`.
#[derive(Debug)]
pub(crate) struct Need {
    /// The flag without its dashes.
    pub(crate) flag: &'static str,
    /// The flag's help.
    pub(crate) what: &'static str,
    /// How each of [`CHOICES`] serves it, and why.
    pub(crate) cells: [(Fit, &'static str); 4],
}

/// Every need.
pub(crate) static NEEDS: [Need; 18] = [
    Need {
        flag: "own-address",
        what: "An address of its own, which other machines reach",
        cells: [
            (Best, "every task has an interface with an address of its subnet"),
            (No, "other machines do not reach the bridge's addresses"),
            (No, "the task has the host's address"),
            (No, "there is nothing but the loopback"),
        ],
    },
    Need {
        flag: "same-port-on-every-copy",
        what: "Every copy on a host is reached on the same port (80, say)",
        cells: [
            (Best, "nothing is bound on the host: each copy has the port at its own address"),
            (No, "a port of the host leads to one copy; the others need other ports"),
            (No, "only the first copy can bind the port"),
            (No, "no port is reached from outside"),
        ],
    },
    Need {
        flag: "rules-per-task",
        what: "Security groups for each task",
        cells: [
            (Best, "security groups belong to the task's own interface"),
            (No, "tasks share the host's rules (netmode's --security-group on a bridge is an extension)"),
            (No, "the task shares the host's rules"),
            (No, "there is no traffic to have rules for"),
        ],
    },
    Need {
        flag: "flow-logs",
        what: "The traffic of each task is seen apart from others' (flow logs)",
        cells: [
            (Best, "each task has an interface of its own to watch"),
            (No, "outside, all tasks are seen as the host's one interface"),
            (No, "the task's traffic is the host's"),
            (No, "there is no traffic to see"),
        ],
    },
    Need {
        flag: "ip-targets",
        what: "A load balancer has each task's address as a target",
        cells: [
            (Best, "a target is the task's address and the container's port"),
            (No, "targets are the host and the published port"),
            (No, "targets are the host and its port"),
            (No, "nothing can be a target"),
        ],
    },
    Need {
        flag: "names",
        what: "Others find it by its name",
        cells: [
            (Best, "the task's name leads to its own address"),
            (Yes, "on a network of your own (netmode network create); not on the default bridge"),
            (No, "only the host has a name; the port has to be found by SRV records"),
            (No, "nobody can reach what the name would mean"),
        ],
    },
    Need {
        flag: "localhost-between-containers",
        what: "Containers of a task reach each other on localhost",
        cells: [
            (Best, "the containers of a task share a network namespace"),
            (No, "each container has a namespace of its own; they meet by address, --link or name"),
            (Poorly, "they do, and so does every other service on the host's loopback"),
            (No, "each container is alone with its loopback"),
        ],
    },
    Need {
        flag: "fargate",
        what: "The same definition shall run on Fargate",
        cells: [
            (Yes, "it is the one mode that Fargate has"),
            (No, "Fargate does not have it"),
            (No, "Fargate does not have it"),
            (No, "Fargate does not have it"),
        ],
    },
    Need {
        flag: "host-port",
        what: "Clients come to a fixed port of the host's address",
        cells: [
            (No, "nothing is bound on the host"),
            (Yes, "-p publishes it"),
            (Yes, "the task binds it itself"),
            (No, "ports cannot be published"),
        ],
    },
    Need {
        flag: "different-ports",
        what: "The port outside differs from the container's (8080 to 80)",
        cells: [
            (No, "both ports must be equal"),
            (Yes, "-p 8080:80 translates"),
            (No, "both ports must be equal"),
            (No, "ports cannot be published"),
        ],
    },
    Need {
        flag: "dynamic-ports",
        what: "The agent chooses a free port of the host for each copy",
        cells: [
            (No, "nothing is bound on the host"),
            (Best, "-p 80 publishes on a free port of the ephemeral range"),
            (No, "the application binds its own port (netmode's --port-env is an extension)"),
            (No, "ports cannot be published"),
        ],
    },
    Need {
        flag: "many-ports",
        what: "Broad ranges of ports, or ports that nobody knows before",
        cells: [
            (Yes, "every port of the task's own address is its own; nothing has to be declared"),
            (Poorly, "every range has to be published, and is translated"),
            (Best, "the application binds what it wants, without a rule"),
            (No, "no port is reached from outside"),
        ],
    },
    Need {
        flag: "top-speed",
        what: "The fastest network",
        cells: [
            (Yes, "no ports are translated, no bridge is shared"),
            (No, "packets pass the bridge and are translated"),
            (Best, "nothing lies between the task and the host's network"),
            (No, "there is no network"),
        ],
    },
    Need {
        flag: "host-interfaces",
        what: "The task sees and uses the host's own interfaces and loopback",
        cells: [
            (No, "the task has a namespace of its own"),
            (No, "the task has a namespace of its own"),
            (Yes, "the task is in the host's namespace"),
            (No, "the task has a namespace of its own"),
        ],
    },
    Need {
        flag: "apart-from-host",
        what: "The task must not reach services on the host's loopback",
        cells: [
            (Yes, "the task has a namespace of its own"),
            (Yes, "the task has a namespace of its own"),
            (No, "the host's loopback is the task's"),
            (Yes, "the task has a namespace of its own"),
        ],
    },
    Need {
        flag: "many-tasks",
        what: "More tasks on a host than it may have interfaces or addresses",
        cells: [
            (Poorly, "the instance's type limits the interfaces; trunking raises the limit"),
            (Yes, "tasks need no interface of the subnet"),
            (Yes, "tasks need no interface of the subnet"),
            (Yes, "tasks need no interface of the subnet"),
        ],
    },
    Need {
        flag: "outbound",
        what: "The task connects to others",
        cells: [
            (Yes, "by the subnet's router"),
            (Yes, "by the host's address"),
            (Yes, "as the host does"),
            (No, "nothing leads out"),
        ],
    },
    Need {
        flag: "no-network",
        what: "Nothing comes in and nothing goes out: local work",
        cells: [
            (No, "the task is on the network"),
            (No, "the task is on the network"),
            (No, "the task is on the host's network"),
            (Best, "there is nothing but the loopback; volumes and logs work"),
        ],
    },
];
