//! Links that go: an address is free again when its link has been seen gone.

use crate::agent::Agent;
use netmode_kernel::monitor::{Change, Monitor};
use netmode_model::Place;
use std::sync::Arc;

/// Follows what the kernel tells of links. The kernel takes a link away some milliseconds after its namespace
/// was dropped.
///
/// # Errors
/// The kernel's messages cannot be subscribed to.
pub fn watch(agent: &Arc<Agent>) -> std::io::Result<()> {
    let agent = agent.clone();
    let mut monitor = Monitor::open(&agent.kernel)?;
    tokio::spawn(async move {
        loop {
            match monitor.next().await {
                Ok(Change::Link { name: Some(name), gone: true, .. }) => {
                    agent.engine.link_gone(&name);
                }
                Ok(Change::Lost) => look(&agent),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "the kernel's messages cannot be read any more; restart the agent");
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Messages were lost: every link that is on its way is looked for.
fn look(agent: &Agent) {
    for dev in agent.engine.leaving() {
        if let Ok(None) = agent.kernel.link(&Place::Host, &dev) {
            agent.engine.link_gone(&dev);
        }
    }
}
