//! What the doctor says of other people's firewalls.

use crate::checks::finding;
use netmode_container::FIREWALLD_ZONE;
use netmode_engine::beside::{Beside, Shut, Way};
use netmode_model::IfName;
use netmode_model::api::{Finding, Level};
use netmode_model::foreign::{RuleChange, TableFamily};

const DROPS: &str = "drops forwarded traffic that it does not know";

/// A line for each firewall that drops what it does not know; `wanted` tells whether the configuration wants it mended.
pub fn lines(seen: &Beside, wanted: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = seen.shut.iter().map(|shut| line(shut, wanted)).collect();
    findings.extend(seen.legacy.iter().map(|family| legacy(*family)));
    if findings.is_empty() {
        findings.push(finding(Level::Ok, "other firewalls", "none drops forwarded traffic", None));
    }
    findings
}

fn line(shut: &Shut, wanted: bool) -> Finding {
    let off = || format!("{DROPS}, ours as well: [firewall] beside is false");
    let (level, message, fix) = match &shut.way {
        Way::Rules { at, stand: true, .. } => {
            (Level::Ok, format!("{DROPS}; two rules in {} let ours through", at.chain), None)
        }
        Way::Rules { rules, .. } => {
            let fix = rules.clone().map(|rule| RuleChange::Add(rule).to_string()).join(" && ");
            let lost = || format!("{DROPS}, ours as well: two rules are missing in {}", rules[0].at.chain);
            (if wanted { Level::Fail } else { Level::Warn }, if wanted { lost() } else { off() }, Some(fix))
        }
        Way::Firewalld { unknown, .. } if unknown.is_empty() => {
            (Level::Ok, format!("{DROPS}; our bridges are in a zone"), None)
        }
        Way::Firewalld { unknown, .. } => {
            let names: Vec<&str> = unknown.iter().map(IfName::as_str).collect();
            let message = format!("{DROPS}, ours as well: {} is in no zone", names.join(", "));
            let fix = format!("firewall-cmd --reload && systemctl reload netmode # zone {FIREWALLD_ZONE}");
            if wanted { (Level::Fail, message, Some(fix)) } else { (Level::Warn, off(), None) }
        }
        Way::Owned => {
            let message = format!("{DROPS}, ours as well: a process owns the table, and only that can let it through");
            (Level::Warn, message, Some("nft list tables".into()))
        }
    };
    finding(level, &format!("firewall {}", shut.base), message, fix.as_deref())
}

fn legacy(family: TableFamily) -> Finding {
    let program = if family == TableFamily::Ip6 { "ip6tables-legacy" } else { "iptables-legacy" };
    let message = "is of the old kind, which is left alone: if its FORWARD chain drops, it drops what is ours as well";
    finding(Level::Warn, &format!("firewall {program} filter"), message, Some(&format!("{program} -S FORWARD")))
}
