//! What the agent and its command line share: the configuration, and the checks that need no agent.
#![forbid(unsafe_code)]

pub mod checks;
pub mod config;
