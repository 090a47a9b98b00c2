//! The delegated IPAM plugin: found in `CNI_PATH`, called with the environment and the input that we were called with
//! (specification, section "Plugin Delegation").

use crate::program::{Program, is_executable, is_own};
use netmode_model::cni::{Call, CniCode, CniError, Config};

/// Plugins of ours that give addresses: they need no process of their own.
const OURS: [&str; 2] = ["host-local", "static"];

/// Who gives addresses.
pub enum Delegate<'a> {
    /// Nobody.
    Nobody,
    /// A plugin of ours, by its name.
    Ours(String),
    /// Somebody else's.
    Theirs(Program<'a>),
}

impl<'a> Delegate<'a> {
    /// The one that a configuration names.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(call: &Call, config: &Config, text: &'a [u8]) -> Result<Self, CniError> {
        let Some(name) = config.keys().object("ipam")?.text("type")?.map(str::to_owned) else {
            return Ok(Self::Nobody);
        };
        let bad = |why: &str| CniError::new(CniCode::InvalidConfig, format!("ipam type {name:?} {why}"));
        if name.contains('/') || name == "." || name == ".." {
            return Err(bad("cannot be the name of a plugin"));
        }
        let found = call.path.iter().map(|dir| dir.join(&name)).find(|path| is_executable(path));
        let path = found.ok_or_else(|| bad("is in none of the directories of CNI_PATH"))?;
        match (is_own(&path), OURS.contains(&name.as_str())) {
            (false, _) => Ok(Self::Theirs(Program::at(&name, path, text))),
            (true, true) => Ok(Self::Ours(name)),
            // It would call itself again and again.
            (true, false) => Err(bad("is no plugin that gives addresses")),
        }
    }
}
