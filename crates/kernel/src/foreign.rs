//! Firewalls of others: read, and given our two rules.

use crate::kernel::{Kernel, locked};
use crate::nft;
use crate::wire::Refused;
use netmode_model::foreign::{Foreign, RuleChange, TableFamily};
use netmode_model::op::OpError;
use netmode_model::{IfName, Place};

impl Kernel {
    /// What others have on the forward hook. From now on the monitor tells of changes of those tables.
    ///
    /// # Errors
    /// A dump that the kernel refused.
    pub fn foreign(&self) -> Result<Foreign, OpError> {
        let mut reader = locked(&self.reader);
        loop {
            let read = nft::read_foreign(&mut reader, self.table_names());
            let foreign = read.map_err(|e| e.of(&"nft list ruleset"))?;
            let tables = nft::tables(&foreign);
            // What changed in a new one while nobody told of it would stay unseen.
            let before = std::mem::replace(&mut *locked(&self.watched), tables.clone());
            if tables.is_subset(&before) {
                return Ok(Foreign { legacy: legacy(), ..foreign });
            }
        }
    }

    /// Carries out changes of chains of others, all or none.
    ///
    /// # Errors
    /// The change that the kernel refuses: EPERM where somebody owns the table, ENOENT where it has gone meanwhile.
    pub fn settle(&self, changes: &[RuleChange]) -> Result<(), OpError> {
        if changes.is_empty() {
            return Ok(());
        }
        locked(&self.guest).settle(changes).map_err(|aborted| {
            let step = aborted.at.and_then(|at| changes.get(at)).unwrap_or(&changes[0]);
            aborted.why.of(step)
        })
    }

    /// Puts a link of the host into a group, unless it is there.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn put_in_group(&self, dev: &IfName, group: u32) -> Result<(), OpError> {
        let step = format!("ip link set dev {dev} group {group}");
        let link = match self.link(&Place::Host, dev)? {
            Some(link) if link.group != group => link.index,
            _ => return Ok(()),
        };
        let set =
            self.pool.run(move |worker| -> Result<(), Refused> { worker.route(&Place::Host)?.set_group(link, group) });
        set.and_then(|done| done).map_err(|refused| refused.of(&step))
    }

    /// Address of the socket that writes tables of others.
    pub(crate) fn guest_port(&self) -> u32 {
        locked(&self.guest).port()
    }
}

/// Families with a filter table of the old kind. The files are there only with the module, and belong to the
/// namespace of the thread that reads.
fn legacy() -> Vec<TableFamily> {
    let has = |file: &str| {
        let names = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        names.lines().any(|name| name == "filter")
    };
    let files = [("ip_tables_names", TableFamily::Ip), ("ip6_tables_names", TableFamily::Ip6)];
    files.into_iter().filter(|(file, _)| has(file)).map(|(_, family)| family).collect()
}
