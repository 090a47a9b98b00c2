//! A project's networks at the agent: made before its tasks, removed behind them.

use super::network::Network;
use super::project::Project;
use super::request::{self, label};
use super::told;
use crate::failure::Failure;
use crate::output::Output;
use netmode_client::Client;
use netmode_model::{Code, NetworkRequest, NetworkSummary};

type Result<T> = std::result::Result<T, Failure>;

/// Makes the networks that are not there.
///
/// # Errors
/// The first that cannot be made, is somebody else's, or was made from something else.
pub(crate) fn ensure(client: &Client, project: &Project, output: Output) -> Result<()> {
    let there = client.networks()?;
    for network in &project.networks {
        let wanted = request::network(&project.name, network)?;
        match there.iter().find(|known| known.name == network.name) {
            Some(known) if network.external => told(output, &format!("network {} is there", known.name)),
            Some(known) => check(known, &wanted, &project.name)?,
            None if network.external => return Err(missing(network)),
            None => {
                client.create_network(&wanted)?;
                told(output, &format!("network {} made", network.name));
            }
        }
    }
    Ok(())
}

fn missing(network: &Network) -> Failure {
    let Network { key, name, .. } = network;
    let text = format!(
        "network {key}: there is no network {name}, which the file calls external; make it with \
         \"netmode network create {name}\", or take \"external\" out"
    );
    Failure::new(Code::NotFound, text)
}

/// Whether a network of this name is the project's, and made as the file says.
fn check(known: &NetworkSummary, wanted: &NetworkRequest, project: &str) -> Result<()> {
    let name = &known.name;
    match known.labels.get(label::PROJECT) {
        Some(owner) if owner == project => {}
        Some(owner) => {
            let text = format!("network {name} belongs to the project {owner}; give this one another name");
            return Err(Failure::new(Code::NameTaken, text));
        }
        None => {
            let text = format!(
                "network {name} was not made for the project {project}; remove it with \"netmode network rm {name}\", \
                 or write \"external: true\" to join it"
            );
            return Err(Failure::new(Code::NameTaken, text));
        }
    }
    if known.labels.get(label::HASH) != wanted.labels.get(label::HASH) {
        let text = format!(
            "network {name} was made from another text of the file; take the project down first: \
             \"netmode compose -p {project} down\""
        );
        return Err(Failure::new(Code::WrongState, text));
    }
    Ok(())
}

/// The names of the project's networks.
///
/// # Errors
/// The agent cannot be asked.
pub(crate) fn of(client: &Client, project: &str) -> Result<Vec<String>> {
    let all = client.networks()?.into_iter();
    let ours = all.filter(|network| network.labels.get(label::PROJECT).is_some_and(|name| name == project));
    Ok(ours.map(|network| network.name).collect())
}
