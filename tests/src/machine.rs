//! Everything that a refused request must leave as it was.

use crate::lab::Lab;
use crate::{eventually, patience};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The state of the host, each part as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine(BTreeMap<&'static str, String>);

/// What is looked at, and the shell command that shows it.
const PARTS: &[(&str, &str)] = &[
    ("rules", "nft -s list ruleset"),
    ("links", "ip -j link | jq -c '.[] | [.ifname,.link,.master,.address,.mtu,.operstate,.group,.ifalias]'"),
    ("addresses", "ip -br addr"),
    ("routes", "ip route show table all; ip -6 route show table all | sed 's/ expires [0-9]*sec//'"),
    ("policy rules", "ip rule; ip -6 rule"),
    ("namespaces", "ls /run/netns"),
    // A record is the same if its bytes are; times of access do not count.
    ("records", "cd / && find run/netmode var/lib/netmode -xdev -type f -exec sha256sum {} + | sort -k2"),
    ("containers", "runc list -q 2>/dev/null; ls /run/runc 2>/dev/null; :"),
    ("processes", "ps -eo comm= | grep -cE '^(conmon|runc)' || :"),
    ("mounts", "cut -d' ' -f5 /proc/self/mountinfo | sort"),
    (
        "sysctls",
        "cd /proc/sys/net && grep -s . ipv[46]/conf/*/*forwarding ipv4/conf/*/route_localnet ipv4/conf/*/rp_filter || :",
    ),
];

impl Machine {
    /// Looks.
    pub fn now(lab: &Lab) -> Self {
        let script: String =
            PARTS.iter().map(|(name, command)| format!("echo '=== {name}'\n( {command} )\n")).collect();
        let text = lab.sh(&script);
        let mut parts = BTreeMap::new();
        for section in text.split("=== ").skip(1) {
            let (title, body) = section.split_once('\n').unwrap_or((section, ""));
            if let Some((name, _)) = PARTS.iter().find(|(name, _)| *name == title) {
                parts.insert(*name, body.to_owned());
            }
        }
        let ports = lab.netmode(&["port", "ls", "-o", "json"]).stdout;
        parts.insert("published ports", ports);
        Self(parts)
    }

    /// Looks until nothing changes any more: what ended a moment ago may still be on its way out.
    pub fn settled(lab: &Lab) -> Self {
        let mut last = Self::now(lab);
        eventually("the machine is at rest", 2.0, || {
            std::thread::sleep(Duration::from_millis(50));
            let now = Self::now(lab);
            std::mem::replace(&mut last, now) == last
        });
        last
    }

    /// One part.
    pub fn part(&self, name: &str) -> &str {
        self.0.get(name).map_or_else(|| panic!("no part {name}"), String::as_str)
    }

    /// Asserts that the machine is as it was. What goes away a moment later (a namespace's links) may take a second.
    #[track_caller]
    pub fn assert_unchanged(&self, lab: &Lab, after: &str) {
        if let Err(change) = self.is_unchanged(lab) {
            panic!("after {after}: {change}");
        }
    }

    /// The same, as a question; the error shows the parts that changed.
    pub fn is_unchanged(&self, lab: &Lab) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs_f64(patience());
        let mut now = Self::now(lab);
        while now != *self && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
            now = Self::now(lab);
        }
        if now == *self {
            return Ok(());
        }
        let changed = self.0.iter().filter(|(name, was)| now.part(name) != was.as_str());
        Err(changed.map(|(name, was)| format!("{name}:{} ", difference(was, now.part(name)))).collect())
    }
}

/// The lines that only one of two texts has.
fn difference(was: &str, is: &str) -> String {
    let gone = was.lines().filter(|line| !is.lines().any(|l| l == *line)).map(|line| format!(" -[{line}]"));
    let new = is.lines().filter(|line| !was.lines().any(|l| l == *line)).map(|line| format!(" +[{line}]"));
    gone.chain(new).take(8).collect()
}

/// How many descriptors of sockets the agent has open: it shows ports that are still held after a refusal.
pub fn agent_sockets(lab: &Lab) -> usize {
    let script = format!("ls -l /proc/{}/fd | grep -c socket: || :", lab.agent_pid());
    lab.sh(&script).trim().parse().unwrap_or(0)
}
