//! `netmode version`.

use crate::failure::Failure;
use crate::output::{Output, print};
use crate::text::plain;
use netmode_client::Client;
use netmode_model::api::VersionReply;
use serde::Serialize;
use std::time::Duration;

/// This program's version is of use without an agent; nobody waits longer than this for the other one.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    agent: Option<VersionReply>,
}

/// Prints both versions; an agent that does not answer is no failure.
pub(crate) fn version(client: &Client, output: Output) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    if output.quiet {
        return print(&format!("{own}\n"));
    }
    let agent = client.clone().with_timeouts(PATIENCE, PATIENCE).version();
    if output.structured() {
        return output.data(&Versions { client: own, agent: agent.ok() });
    }
    let agent = match agent {
        Ok(agent) => {
            format!("{} (API {}, host namespace {})", plain(&agent.version), plain(&agent.api), agent.netns)
        }
        Err(error) => format!("unknown: {error}"),
    };
    print(&format!("netmode {own}\nagent   {agent}\n"))
}
