//! The agent: what all requests share.

use crate::beside::Beside;
use crate::cni::Ipam;
use crate::config::Config;
use crate::foreign::Busy;
use crate::forwarding::Forwarding;
use crate::join::Linux;
use crate::legacy::Held;
use crate::log::LogFilter;
use crate::metrics::{Ended, Operation};
use crate::registry::{Registry, Task};
use crate::relay::Relays;
use crate::reset::Ending;
use crate::task::TaskRecord;
use crate::vpc;
use crate::{ecs, events, flowlogs, instance, metadata, metrics, names, seats};
use netmode_container::Containers;
use netmode_engine::endpoint::EndpointLink;
use netmode_engine::store::{self, Kind, Store};
use netmode_engine::{Attach, AttachError, Endpoint, Engine, NetnsUse};
use netmode_kernel::Kernel;
use netmode_model::{ApiError, Code, Id};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// How long the kernel may take to delete a link.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// What all requests share.
pub struct Agent {
    /// The configuration in force; SIGHUP replaces it.
    pub config: RwLock<Config>,
    /// Where the configuration is.
    pub config_path: PathBuf,
    /// Decisions.
    pub engine: Arc<Engine>,
    /// The kernel, as the engine sees it.
    pub linux: Linux,
    /// Linux.
    pub kernel: Arc<Kernel>,
    /// Containers.
    pub containers: Arc<Containers>,
    /// Tasks.
    pub tasks: Registry,
    /// Addresses that the IPAM plugin `host-local` has given out.
    pub ipam: Ipam,
    /// Namespaces of others that are being attached or detached.
    pub busy: Busy,
    /// Tasks of task definitions.
    pub ecs: ecs::Tasks,
    /// Services.
    pub services: ecs::service::Services,
    /// This host as a container instance.
    pub instance: instance::Instance,
    /// The VPC.
    pub vpc: vpc::Kept,
    /// Read while a task that uses an image is entered, written while images are removed.
    pub images: tokio::sync::RwLock<()>,
    /// What has happened.
    pub events: events::Events,
    /// Names and resolvers.
    pub names: names::Names,
    /// What is served in namespaces of containers.
    pub seats: seats::Seats,
    /// Flow logs.
    pub flowlogs: flowlogs::FlowLogs,
    /// What happened, counted.
    pub metrics: metrics::Metrics,
    /// Metadata for tasks in host mode.
    pub metadata: metadata::OnHost,
    /// What is carried from the host's `::1`.
    pub relays: Relays,
    /// Records.
    pub store: Arc<dyn Store>,
    /// The host's forwarding.
    pub forwarding: Forwarding,
    /// Firewalls of others.
    pub beside: Beside,
    /// Who keeps sockets for a successor.
    pub legacy: Held,
    /// Inode number of the namespace that is the host.
    pub netns: u64,
    /// What is logged.
    pub log: LogFilter,
    /// When the agent was started, RFC 3339.
    pub started_at: String,
    /// Directory of what dies with the machine.
    pub run_dir: PathBuf,
    /// Directory of what outlives a reboot.
    pub state_dir: PathBuf,
    /// Whether a reset has begun.
    pub ending: Ending,
}

impl Agent {
    /// Changes a task's record, on disk first.
    ///
    /// # Errors
    /// The record could not be written; nothing has changed.
    pub fn update(&self, task: &Task, change: impl FnOnce(&mut TaskRecord)) -> Result<TaskRecord, ApiError> {
        let mut record = task.now();
        change(&mut record);
        self.write(&record)?;
        task.record.send_replace(record.clone());
        Ok(record)
    }

    /// Writes a task's record.
    ///
    /// # Errors
    /// The record could not be written.
    pub fn write(&self, record: &TaskRecord) -> Result<(), ApiError> {
        store::put(&*self.store, Kind::Task, &record.id.to_string(), record)
            .map_err(|e| ApiError::new(Code::State, e.to_string()))
    }

    /// Attaches an endpoint, and tells the log how long it took.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub fn attach(&self, request: &Attach) -> Result<Endpoint, ApiError> {
        let begun = Instant::now();
        self.until_free(request);
        let made = match self.engine.attach(request) {
            Err(full) if self.is_vacant_after(&full, request) => self.engine.attach(request),
            made => made,
        };
        let made = made.map_err(ApiError::from);
        let made = made.map(|(endpoint, failures)| {
            for failure in failures {
                tracing::warn!(endpoint = %endpoint.id, %failure, "attached, but for this");
            }
            endpoint
        });
        let made = made.inspect(|endpoint| {
            self.relays.begin(&self.engine, endpoint.id);
            vpc::joined(&self.engine, endpoint);
            self.flowlogs.joined(self, endpoint);
            events::told::attached(self, endpoint);
        });
        let took = begun.elapsed();
        self.metrics.operations.count(Operation::Attach, request.requested.effective(), Ended::of(&made), took);
        let (endpoint, micros) = (made?, took.as_micros() as u64);
        tracing::debug!(endpoint = %endpoint.id, owner = endpoint.owner.name, mode = %endpoint.mode, micros, "attached");
        Ok(endpoint)
    }

    /// Waits until the kernel has deleted the link of who had the wanted address last: a task that is stopped and started
    /// gets its own again.
    fn until_free(&self, request: &Attach) {
        let ips = [request.net.ip.map(IpAddr::V4), request.net.ip6.map(IpAddr::V6)];
        let wants = |link: &EndpointLink| {
            let address = ips.iter().flatten().any(|ip| link.addrs.iter().any(|a| a.ip() == *ip));
            link.network == request.network && (address || request.net.mac_address == Some(link.mac))
        };
        self.until(|| !self.engine.is_leaving(|e| e.link.as_ref().is_some_and(wants)));
    }

    /// Where all addresses or all ENIs are in use, waits for those of who has just gone. Tells whether there were any.
    fn is_vacant_after(&self, full: &AttachError, request: &Attach) -> bool {
        let code = full.code();
        let in_the_way = |link: &EndpointLink| match code {
            Code::ResourceEni => link.eni.is_some(),
            Code::PoolExhausted => link.network == request.network || request.or_else.contains(&link.network),
            _ => false,
        };
        let leaves = || self.engine.is_leaving(|e| e.link.as_ref().is_some_and(in_the_way));
        let some = leaves();
        self.until(|| !leaves());
        some
    }

    /// Waits for the kernel to delete a link.
    pub fn until(&self, gone: impl Fn() -> bool) {
        let begun = Instant::now();
        while !gone() && begun.elapsed() < LINK_PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Detaches an endpoint; what could not be taken back goes to the log.
    pub fn detach(&self, endpoint: Id) {
        let begun = Instant::now();
        self.relays.end(endpoint);
        self.flowlogs.leaves(endpoint);
        let leaves = self.engine.endpoint(endpoint);
        let made = leaves.as_ref().and_then(|e| match &e.netns {
            NetnsUse::Own(netns) => Some(netns),
            _ => None,
        });
        self.names.forget(endpoint);
        made.into_iter().for_each(|netns| self.seats.forget(netns));
        let failures = self.engine.detach(endpoint);
        // A flow log that was made meanwhile may have found it standing.
        self.flowlogs.leaves(endpoint);
        let (mode, ended) = (leaves.as_ref().map(|e| e.mode), Ended::whole(&failures));
        for failure in failures {
            tracing::warn!(%endpoint, %failure, "could not be taken back");
        }
        leaves.iter().for_each(|endpoint| events::told::detached(self, endpoint));
        vpc::left(&self.engine, leaves);
        let took = begun.elapsed();
        // What was not there any more was nothing to take away.
        if let Some(mode) = mode {
            self.metrics.operations.count(Operation::Detach, mode, ended, took);
        }
        let micros = took.as_micros() as u64;
        tracing::debug!(%endpoint, micros, "detached");
    }

    /// Takes an endpoint's link away and leaves its namespace; what could not be taken back goes to the log.
    ///
    /// # Errors
    /// The record could not be written; nothing has changed.
    pub fn unlink(&self, endpoint: Id) -> Result<(), ApiError> {
        let begun = Instant::now();
        let leaves = self.engine.endpoint(endpoint);
        let failures = self.engine.unlink(endpoint)?;
        if let Some(mode) = leaves.as_ref().map(|e| e.mode) {
            self.metrics.operations.count(Operation::Detach, mode, Ended::whole(&failures), begun.elapsed());
        }
        self.names.forget(endpoint);
        self.relays.end(endpoint);
        for failure in failures {
            tracing::warn!(%endpoint, %failure, "could not be taken back");
        }
        leaves.iter().filter(|e| e.link.is_some()).for_each(|endpoint| events::told::detached(self, endpoint));
        Ok(())
    }

    /// The process of a task's container, 0 if there is none.
    pub fn pid(&self, record: &TaskRecord) -> i32 {
        if record.stopped() { 0 } else { self.containers.pid(record.id).unwrap_or(0) }
    }
}

/// Runs what waits for the kernel or for a program on a thread made for waiting, on the same behalf.
///
/// # Errors
/// The work panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(events::carry(work))
        .await
        .map_err(|e| ApiError::new(Code::Unavailable, format!("the agent failed within a request: {e}")))
}
