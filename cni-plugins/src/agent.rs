//! The agent, which serves every call.

use netmode_client::{Client, ClientError, DEFAULT_SOCKET};
use netmode_model::Code;
use netmode_model::cni::{Call, CniCode, CniError, CniRequest, Config, Ipam, Verb};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// Who says nothing so long is taken for dead; the runtime calls again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who lives may take so long: an attachment waits for one that is being taken away.
const ANSWER: Duration = Duration::from_secs(30);

/// One way to the agent for all that a call needs of it.
pub struct Agent<'a> {
    client: Client,
    call: &'a Call,
    config: &'a Config,
    netns: Option<File>,
    host: u64,
}

impl<'a> Agent<'a> {
    /// The agent that a configuration names.
    ///
    /// # Errors
    /// No path, or a namespace that is none, or our own, where the verb needs one.
    pub fn of(call: &'a Call, config: &'a Config) -> Result<Self, CniError> {
        let client = Client::new(socket(config)?).with_timeouts(PATIENCE, ANSWER);
        let host = std::fs::metadata("/proc/self/ns/net").map_or(0, |own| own.ino());
        let needed = matches!(call.verb, Verb::Add | Verb::Check);
        // What is gone at DEL is gone.
        let netns = match open(call.netns.as_deref().unwrap_or_default()) {
            Ok(file) => Some(file),
            Err(_) if !needed => None,
            Err(error) => return Err(error),
        };
        let is_own = |file: &File| file.metadata().is_ok_and(|meta| meta.ino() == host && host != 0);
        if needed && netns.as_ref().is_some_and(is_own) {
            let path = call.netns.as_deref().unwrap_or_default();
            let text =
                format!("CNI_NETNS {path:?} is the namespace of the plugin itself, the host's; name the container's");
            return Err(CniError::new(CniCode::InvalidNetns, text));
        }
        Ok(Self { client, call, config, netns, host })
    }

    /// Whether there is a namespace to work in: what `CNI_NETNS` names may be a file that has been one.
    pub fn has_namespace(&self) -> bool {
        self.netns.as_ref().and_then(|netns| fstatfs(netns).ok()).is_some_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
    }

    /// Has a plugin's part of the call served.
    ///
    /// # Errors
    /// The agent's refusal, or that it does not answer.
    pub fn serve(&self, plugin: &str, ipam: Ipam) -> Result<Option<Value>, CniError> {
        self.ask(plugin, ipam, false)
    }

    /// Asks whether ADD could be, or whether what another plugin has made is there (CHECK).
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, plugin: &str) -> Result<(), CniError> {
        self.ask(plugin, Ipam::None, true).map(drop)
    }

    fn ask(&self, plugin: &str, ipam: Ipam, only_ask: bool) -> Result<Option<Value>, CniError> {
        let request = CniRequest {
            plugin: plugin.to_owned(),
            call: self.call.clone(),
            host: self.host,
            only_ask,
            config: Value::Object(self.config.keys.clone()),
            ipam,
        };
        let reply = self.client.cni(&request, self.netns.as_ref().map(AsFd::as_fd)).and_then(|pending| {
            if !pending.begins_within(PATIENCE) {
                // It is busy with this, or with nothing at all any more.
                Client::new(self.client.socket().into()).with_timeouts(PATIENCE, PATIENCE).version()?;
            }
            pending.answer()
        });
        let reply = reply.map_err(|error| self.unserved(&error))?;
        reply.error.map_or(Ok(reply.result), Err)
    }

    fn unserved(&self, error: &ClientError) -> CniError {
        let code = match error.code() {
            Code::AgentUnreachable | Code::Unavailable if self.call.verb == Verb::Status => CniCode::NotAvailable,
            Code::AgentUnreachable | Code::Unavailable => CniCode::TryAgain,
            Code::BadRequest | Code::Invalid | Code::TooLarge => CniCode::InvalidConfig,
            _ => CniCode::Refused,
        };
        CniError::new(code, error.to_string()).with_details(format!("netmode code {}", error.code()))
    }
}

/// The agent's socket: of the configuration, of the environment, or where it usually is.
fn socket(config: &Config) -> Result<PathBuf, CniError> {
    match config.keys().text("socket")? {
        Some(path) => Ok(path.into()),
        None => Ok(std::env::var_os("NETMODE_SOCKET").map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)),
    }
}

/// Opened here and now: in the agent's eyes the path may be another one.
fn open(path: &str) -> Result<File, CniError> {
    // Not to wait for a writer, should it be a fifo.
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    opened
        .map_err(|error| CniError::new(CniCode::InvalidNetns, format!("CNI_NETNS {path:?} cannot be opened: {error}")))
}
