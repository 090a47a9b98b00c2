//! What the configuration and the host together say.

use crate::config::Config;
use netmode_engine::Settings;
use netmode_engine::settings::DynamicPorts;
use netmode_kernel::Kernel;
use netmode_model::IfName;
use netmode_model::op::OpError;
use std::path::Path;

/// The settings of a configuration on this host.
///
/// # Errors
/// The kernel's port range cannot be read.
pub fn of(config: &Config, kernel: &Kernel) -> Result<Settings, OpError> {
    let dynamic = config.dynamic(kernel.local_port_range()?, kernel.reserved_ports()?);
    let default = Settings::default();
    Ok(Settings {
        instance: config.instance.clone().unwrap_or(default.instance),
        own_table: config.firewall.owner,
        source_guard: config.firewall.source_guard,
        flowtable: flowtable(&config.firewall.flowtable, kernel)?,
        mark: config.firewall.mark,
        rule_pref: config.firewall.rule_pref,
        bridge: config.bridge(),
        outward: DynamicPorts::outward(kernel.local_port_range()?),
        ipv6_only: config.vpc.ipv6_only,
        block_imds: config.vpc.block_imds,
        kernel_ipv6: Path::new("/proc/sys/net/ipv6").exists(),
        dynamic,
        ..Settings::default()
    })
}

/// The links that a flowtable shall be between; none where the kernel has no flowtables.
fn flowtable(wanted: &[IfName], kernel: &Kernel) -> Result<Vec<IfName>, OpError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let missing = kernel.features()?.into_iter().filter(|f| f.name == "flowtable").find_map(|f| f.missing);
    Ok(match missing {
        None => wanted.to_vec(),
        Some(reason) => {
            tracing::warn!(reason, "[firewall] flowtable: this kernel has none, so every packet meets the rules");
            Vec::new()
        }
    })
}
