//! Which kernel variables the plugin `tuning` may set: the administrator's list, as the reference has it.

use netmode_model::cni::{CniCode, CniError, Config};
use regex::Regex;
use std::io;

/// A regular expression a line; without the file everything of the network is allowed.
const PATH: &str = "/etc/cni/tuning/allowlist.conf";

/// Whether all variables that a configuration wants are on the list.
///
/// # Errors
/// One is not, or the list cannot be read: then nobody knows what is allowed.
pub(super) fn admit(config: &Config) -> Result<(), CniError> {
    let unreadable = |why: String| CniError::new(CniCode::Refused, format!("{PATH} cannot be used: {why}"));
    let list = match std::fs::read_to_string(PATH) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty());
    let allowed: Vec<Regex> = lines.map(Regex::new).collect::<Result<_, _>>().map_err(|e| unreadable(e.to_string()))?;
    let (keys, args) = (config.keys(), config.keys().object("args")?.object("cni")?);
    for keys in [keys.object("sysctl")?, args.object("sysctl")?] {
        if let Some((name, _)) = keys.pairs().find(|(name, _)| !allowed.iter().any(|line| line.is_match(name))) {
            let text = format!("sysctl {:?} is not allowed by {PATH}", name.chars().take(128).collect::<String>());
            return Err(CniError::new(CniCode::InvalidConfig, text));
        }
    }
    Ok(())
}
