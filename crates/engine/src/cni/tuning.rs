//! The plugin `tuning`: kernel variables and properties of a link that another plugin has made.

use super::ask::{Ask, Planned};
use super::invalid;
use netmode_model::cni::{CniError, CniResult, Keys};
use netmode_model::op::LinkFlag;
use netmode_model::{IfName, Mac, Op};

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let previous = ask.previous("tuning")?;
    let keys = ask.keys();
    let args = keys.object("args")?.object("cni")?;
    let dev = ask.call.link()?;
    let mut ops = variables(ask, &keys, &dev)?;
    ops.extend(variables(ask, &args, &dev)?);
    let at = || ask.at.clone();
    let configured = keys.parsed::<Mac>("mac", "a hardware address of six bytes")?;
    let mac = ask.runtime()?.mac.or(configured);
    ops.extend(mac.map(|mac| Op::LinkMac { at: at(), dev: dev.clone(), mac }));
    for (key, flag) in [("promisc", LinkFlag::Promisc), ("allmulti", LinkFlag::Allmulti)] {
        // A flag that is not given stays as it is; `promisc` has no such third value in the reference.
        let given = [&args, &keys].into_iter().find(|keys| keys.get(key).is_some());
        let on = given.map(|keys| keys.flag(key)).transpose()?;
        let on = on.filter(|on| *on || flag == LinkFlag::Allmulti);
        ops.extend(on.map(|on| Op::LinkFlag { at: at(), dev: dev.clone(), flag, on }));
    }
    let number = |key: &str, most| {
        Ok::<_, CniError>(match args.integer(key, 1, most)? {
            None => keys.integer(key, 0, most)?.filter(|value| *value > 0),
            given => given,
        })
    };
    let mtu = number("mtu", 65_535)?.and_then(|mtu| u32::try_from(mtu).ok());
    ops.extend(mtu.map(|mtu| Op::LinkMtu { at: at(), dev: dev.clone(), mtu }));
    let length = number("txQLen", u64::from(u32::MAX))?.and_then(|length| u32::try_from(length).ok());
    ops.extend(length.map(|length| Op::LinkQueue { at: at(), dev: dev.clone(), length }));
    Ok(Planned { ops, result: changed(previous, &dev, mac, mtu), ..Planned::default() })
}

/// `sysctl`: names with dots or slashes, `IFNAME` for the link; of the network alone, which is the container's own.
fn variables(ask: &Ask<'_>, keys: &Keys<'_>, dev: &IfName) -> Result<Vec<Op>, CniError> {
    let mut ops = Vec::new();
    for (name, value) in keys.object("sysctl")?.pairs() {
        let bad = |why: &str| invalid(format!("sysctl {:?}: {why}", name.chars().take(128).collect::<String>()));
        let value = value.as_str().ok_or_else(|| bad("its value has to be a text"))?;
        let path = if name.contains('/') { name.trim_start_matches('/').to_owned() } else { name.replace('.', "/") };
        // After the dots are gone: a link's name may have some.
        let path = path.replace("IFNAME", dev.as_str());
        let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !path.starts_with("net/") || !plain {
            return Err(bad("only variables of the network can be set, such as net.core.somaxconn"));
        }
        ops.push(Op::Sysctl { at: ask.at.clone(), key: path, value: value.to_owned() });
    }
    Ok(ops)
}

/// The result with what has become of the link.
fn changed(previous: &CniResult, dev: &IfName, mac: Option<Mac>, mtu: Option<u32>) -> Option<CniResult> {
    let (index, _) = previous.inside(dev.as_str()).filter(|_| mac.is_some() || mtu.is_some())?;
    let mut result = previous.clone();
    let interface = &mut result.interfaces[index];
    interface.mac = mac.map_or_else(|| interface.mac.clone(), |mac| mac.to_string());
    interface.mtu = mtu.or(interface.mtu);
    Some(result)
}
