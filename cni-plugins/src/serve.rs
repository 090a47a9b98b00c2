//! The plugin `netmode`: a call becomes a request to the agent, its reply a result.

use netmode_client::{Client, ClientError, DEFAULT_SOCKET};
use netmode_model::Code;
use netmode_model::cni::{self, Call, CniCode, CniError, Config, Verb};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// Who does not answer so long is taken for dead; the runtime calls again.
const PATIENCE: Duration = Duration::from_secs(2);

/// An attachment may wait for one that is being taken away.
const ANSWER: Duration = Duration::from_secs(30);

/// Serves a call; what it answers is printed, if anything.
///
/// # Errors
/// See [`CniError`].
pub fn serve(call: &Call, config: &Config) -> Result<Option<Value>, CniError> {
    let agent = Client::new(socket(config)?).with_timeouts(PATIENCE, ANSWER);
    match call.verb {
        Verb::Add => add(&agent, call, config).map(Some),
        Verb::Del => {
            let owner = cni::owner(&config.name, &call.container);
            agent.detach(&owner, &call.ifname).map(|()| None).map_err(|e| refused(&e))
        }
        Verb::Status => {
            agent.version().map(|_| None).map_err(|e| CniError { code: CniCode::NotAvailable, ..refused(&e) })
        }
        Verb::Check => {
            let request = cni::check(call, config)?;
            let netns = open(call.netns.as_deref().unwrap_or_default())?;
            agent.check_netns(&request, netns.as_fd()).map(|()| None).map_err(|e| refused(&e))
        }
        Verb::Gc => {
            let Some(request) = cni::collect(config)? else { return Ok(None) };
            agent.collect(&request).map(|()| None).map_err(|e| refused(&e))
        }
        // Answered without the agent.
        Verb::Version => Ok(None),
    }
}

/// The agent's socket: of the configuration, of the environment, or where it usually is.
fn socket(config: &Config) -> Result<PathBuf, CniError> {
    match config.get("socket") {
        Some(Value::String(path)) => Ok(path.into()),
        Some(other) => Err(CniError::new(CniCode::InvalidConfig, format!("socket {other}: a path is expected"))),
        None => Ok(std::env::var_os("NETMODE_SOCKET").map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)),
    }
}

fn add(agent: &Client, call: &Call, config: &Config) -> Result<Value, CniError> {
    let request = cni::request(call, config)?;
    let path = call.netns.clone().unwrap_or_default();
    let netns = open(&path)?;
    let reply = agent.attach_netns(&request, netns.as_fd()).map_err(|e| refused(&e))?;
    cni::result(&reply, &path, config.get("dns"), config.version)
}

/// Opened here and now: in the agent's eyes the path may be another one.
fn open(path: &str) -> Result<File, CniError> {
    // Not to wait for a writer, should it be a fifo.
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    opened
        .map_err(|error| CniError::new(CniCode::InvalidNetns, format!("CNI_NETNS {path:?} cannot be opened: {error}")))
}

fn refused(error: &ClientError) -> CniError {
    let code = match error.code() {
        Code::AgentUnreachable | Code::Unavailable => CniCode::TryAgain,
        Code::BadNetns => CniCode::InvalidNetns,
        Code::Invalid | Code::InvalidPort | Code::AddressOutside | Code::NotFound | Code::UnsupportedInMode => {
            CniCode::InvalidConfig
        }
        _ => CniCode::Refused,
    };
    CniError::new(code, error.to_string()).with_details(format!("netmode code {}", error.code()))
}
