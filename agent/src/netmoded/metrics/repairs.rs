//! What somebody changed and the agent put back.

use crate::mended::{Kind, Mended};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the agent was started.
#[derive(Debug, Default)]
pub struct Repairs {
    tables: AtomicU64,
    rules: AtomicU64,
    networks: AtomicU64,
    endpoints: AtomicU64,
    firewalls: AtomicU64,
}

impl Repairs {
    /// Counts what a comparison put back.
    pub fn count(&self, mended: &[Mended]) {
        for one in mended {
            let counter = match one.kind {
                Kind::Table => &self.tables,
                Kind::PolicyRule => &self.rules,
                Kind::Network => &self.networks,
                Kind::Endpoint => &self.endpoints,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts rules that were put right in firewalls of others.
    pub fn count_firewalls(&self, rules: usize) {
        self.firewalls.fetch_add(rules as u64, Ordering::Relaxed);
    }

    /// Each kind by its label.
    pub fn all(&self) -> [(&'static str, u64); 5] {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("table", now(&self.tables)),
            ("policy-rule", now(&self.rules)),
            ("network", now(&self.networks)),
            ("endpoint", now(&self.endpoints)),
            ("firewall", now(&self.firewalls)),
        ]
    }
}
