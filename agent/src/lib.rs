//! What the agent and its command line share: the configuration, the checks that need no agent, times as
//! they are written, and the look-up of groups.
#![forbid(unsafe_code)]

pub mod checks;
pub mod config;
pub mod firewalls;
pub mod group;
pub mod moment;
pub mod settings;
pub mod standing;
