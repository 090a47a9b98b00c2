//! A typed method for each route of the API.

use crate::call::{Pending, Request, Way};
use crate::error::ClientError;
use crate::path::{encode, task};
use crate::session::Session;
use netmode_model::api::{
    Created, ExecRequest, Exited, Finding, KillRequest, NetworkView, Planned, PortView, RunRequest, StopRequest,
    TaskView, UpdateRequest, VersionReply,
};
use netmode_model::stats::{StatsQuery, TaskStats};
use netmode_model::{ConnectRequest, NetworkCreated, NetworkRequest, NetworkSummary};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/netmode/netmode.sock";

/// Time for an answer that needs no container: the agent works in milliseconds.
const QUICK: Duration = Duration::from_secs(30);

/// Time for the making of a task: a large image is unpacked on the way.
pub(crate) const LONG: Duration = Duration::from_secs(900);

/// Seconds between SIGTERM and SIGKILL where a stop names none ([`StopRequest`]).
const STOP: u32 = 10;

/// The agent, by its socket.
///
/// Nothing is opened before the first call; every call is a connection of its own, so one client
/// can be used from many threads.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    connect: Duration,
    pub(crate) quick: Duration,
}

impl Client {
    /// A client of the agent that listens at `socket`. Connecting may take 5 s, a quick answer 30 s.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, connect: Duration::from_secs(5), quick: QUICK }
    }

    /// With other limits: for the connection, and for the answers of calls that start, stop or wait for nothing.
    pub fn with_timeouts(mut self, connect: Duration, answer: Duration) -> Self {
        self.connect = connect;
        self.quick = answer;
        self
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn way(&self, answer: Option<Duration>) -> Way<'_> {
        Way { socket: &self.socket, connect: self.connect, answer }
    }

    /// Sends a body and reads the answer that comes at once.
    pub(crate) fn post<B: serde::Serialize, T: DeserializeOwned>(
        &self,
        target: impl Into<String>,
        body: &B,
    ) -> Result<T, ClientError> {
        let request = Request::new("POST", target).json(body)?;
        Pending::send(&self.way(Some(self.quick)), &request)?.answer()
    }

    /// Asks for a thing's removal.
    pub(crate) fn delete(&self, target: impl Into<String>) -> Result<(), ClientError> {
        self.act(&Request::new("DELETE", target), self.quick)
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, target: impl Into<String>) -> Result<T, ClientError> {
        Pending::send(&self.way(Some(self.quick)), &Request::new("GET", target))?.answer()
    }

    pub(crate) fn act(&self, request: &Request, limit: Duration) -> Result<(), ClientError> {
        Pending::<()>::send(&self.way(Some(limit)), request)?.done()
    }

    pub(crate) fn stream(&self, request: Request) -> Result<Session, ClientError> {
        Pending::<()>::send(&self.way(Some(self.quick)), &request.upgrade())?.session()
    }

    /// Who answers: `GET /v1/version`.
    ///
    /// # Errors
    /// Every call: [`ClientError::Unreachable`] when nobody listens, [`ClientError::Api`] when the agent refuses,
    /// [`ClientError::Protocol`] when the connection breaks, the time is up, or the answer makes no sense.
    pub fn version(&self) -> Result<VersionReply, ClientError> {
        self.get("/v1/version")
    }

    /// Makes a network.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn create_network(&self, request: &NetworkRequest) -> Result<NetworkCreated, ClientError> {
        self.post("/v1/networks", request)
    }

    /// Removes a network that nobody uses, by name or id.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove_network(&self, reference: &str) -> Result<(), ClientError> {
        self.act(&Request::new("DELETE", format!("/v1/networks/{}", encode(reference))), self.quick)
    }

    /// Removes every network that nobody uses, and tells which.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn prune_networks(&self) -> Result<Vec<NetworkCreated>, ClientError> {
        Pending::send(&self.way(Some(self.quick)), &Request::new("POST", "/v1/networks/prune"))?.answer()
    }

    /// Gives a running task an interface on a network.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn connect(&self, network: &str, request: &ConnectRequest) -> Result<NetworkView, ClientError> {
        let target = format!("/v1/networks/{}/connect", encode(network));
        Pending::send(&self.way(Some(self.quick)), &Request::new("POST", target).json(request)?)?.answer()
    }

    /// Takes a running task's interface on a network away.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn disconnect(&self, network: &str, request: &ConnectRequest) -> Result<(), ClientError> {
        let target = format!("/v1/networks/{}/disconnect", encode(network));
        self.act(&Request::new("POST", target).json(request)?, self.quick)
    }

    /// Makes a task with its network; `start` runs its container, too.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn create(&self, request: &RunRequest, start: bool) -> Result<Created, ClientError> {
        let request = Request::new("POST", format!("/v1/tasks?start={start}")).json(request)?;
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }

    /// What [`Client::create`] would do to the kernel.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn plan(&self, request: &RunRequest) -> Result<Planned, ClientError> {
        let request = Request::new("POST", "/v1/tasks/plan").json(request)?;
        Pending::send(&self.way(Some(LONG)), &request)?.answer()
    }

    /// The tasks; `all` also shows those that have ended.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn tasks(&self, all: bool) -> Result<Vec<TaskView>, ClientError> {
        self.get(format!("/v1/tasks?all={all}"))
    }

    /// A task by its name, id, or the unique beginning of its id; as in every call below.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn task(&self, reference: &str) -> Result<TaskView, ClientError> {
        self.get(task(reference, ""))
    }

    /// What tasks use.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn stats(&self, query: &StatsQuery) -> Result<Vec<TaskStats>, ClientError> {
        self.get(format!("/v1/stats?all={}&task={}", query.all, encode(&query.task)))
    }

    /// The metrics, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn metrics(&self) -> Result<String, ClientError> {
        Pending::<String>::send(&self.way(Some(self.quick)), &Request::new("GET", "/v1/metrics"))?.text()
    }

    /// Starts the container of a task that was made without starting it, or has ended.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn start(&self, reference: &str) -> Result<(), ClientError> {
        self.act(&Request::new("POST", task(reference, "/start")), LONG)
    }

    /// Ends a task: SIGTERM, and SIGKILL when its time is up.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn stop(&self, reference: &str, how: StopRequest) -> Result<(), ClientError> {
        let patience = Duration::from_secs(u64::from(how.timeout.unwrap_or(STOP)));
        self.act(&Request::new("POST", task(reference, "/stop")).json(&how)?, self.quick + patience)
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn kill(&self, reference: &str, how: &KillRequest) -> Result<(), ClientError> {
        self.act(&Request::new("POST", task(reference, "/kill")).json(how)?, self.quick)
    }

    /// Changes a task, also while it runs.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn update(&self, reference: &str, what: &UpdateRequest) -> Result<(), ClientError> {
        self.act(&Request::new("POST", task(reference, "/update")).json(what)?, self.quick)
    }

    /// Asks for the end of a task's container; the answer comes when it ends, without a limit of time.
    ///
    /// The request is on its way when this returns, so nothing is missed by what is asked next.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn wait(&self, reference: &str) -> Result<Pending<Exited>, ClientError> {
        Pending::send(&self.way(None), &Request::new("GET", task(reference, "/wait")))
    }

    /// Removes a task; `force` ends it first.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn remove(&self, reference: &str, force: bool) -> Result<(), ClientError> {
        let limit = self.quick + Duration::from_secs(u64::from(STOP));
        self.act(&Request::new("DELETE", task(reference, &format!("?force={force}"))), limit)
    }

    /// What a task has written, standard output and standard error: `tail` lines from the end at most, and nothing
    /// from before `since`, a time of RFC 3339 in UTC.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn logs(
        &self,
        reference: &str,
        follow: bool,
        tail: Option<u64>,
        since: Option<&str>,
    ) -> Result<Session, ClientError> {
        let tail = tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
        let since = since.map(|time| format!("&since={time}")).unwrap_or_default();
        self.stream(Request::new("GET", task(reference, &format!("/logs?follow={follow}{tail}{since}"))))
    }

    /// The standard streams of a task's container.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn attach(&self, reference: &str, size: Option<(u16, u16)>) -> Result<Session, ClientError> {
        // With the request, so that the terminal has its size before the container is started.
        let path = match size {
            Some((rows, cols)) => format!("/attach?rows={rows}&cols={cols}"),
            None => "/attach".into(),
        };
        self.stream(Request::new("GET", task(reference, &path)))
    }

    /// Runs a command in a running container.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn exec(&self, reference: &str, what: &ExecRequest) -> Result<Session, ClientError> {
        self.stream(Request::new("POST", task(reference, "/exec")).json(what)?)
    }

    /// The networks.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn networks(&self) -> Result<Vec<NetworkSummary>, ClientError> {
        self.get("/v1/networks")
    }

    /// A network in the shape of `docker network inspect`.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn network(&self, name: &str) -> Result<serde_json::Value, ClientError> {
        self.get(format!("/v1/networks/{}", encode(name)))
    }

    /// Every published port.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn ports(&self) -> Result<Vec<PortView>, ClientError> {
        self.get("/v1/ports")
    }

    /// The agent's look at its machine.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn doctor(&self) -> Result<Vec<Finding>, ClientError> {
        self.get("/v1/doctor")
    }

    /// Attaches a namespace, handed over as a descriptor; `request.netns` must be
    /// [`NetnsRef::Fd(0)`](netmode_model::api::NetnsRef::Fd).
    ///
    /// # Errors
    /// As [`Client::version`].
    #[cfg(feature = "fd")]
    pub fn attach_netns(
        &self,
        request: &netmode_model::api::AttachRequest,
        netns: std::os::fd::BorrowedFd<'_>,
    ) -> Result<netmode_model::api::AttachReply, ClientError> {
        let request = Request::new("POST", "/v1/endpoints").json(request)?;
        Pending::send_with_fd(&self.way(Some(self.quick)), &request, netns)?.answer()
    }

    /// Has a call of a CNI plugin served; its namespace, where there is one, is handed over as a descriptor.
    ///
    /// # Errors
    /// As [`Client::version`]. What the plugin refuses is part of the answer.
    #[cfg(feature = "fd")]
    pub fn cni(
        &self,
        request: &netmode_model::cni::CniRequest,
        netns: Option<std::os::fd::BorrowedFd<'_>>,
    ) -> Result<Pending<netmode_model::cni::CniReply>, ClientError> {
        let (request, way) = (Request::new("POST", "/v1/endpoints/cni").json(request)?, self.way(Some(self.quick)));
        match netns {
            Some(netns) => Pending::send_with_fd(&way, &request, netns),
            None => Pending::send(&way, &request),
        }
    }

    /// Takes an attachment back; one that is not there is done already, the agent decides.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn detach(&self, owner: &str, interface: &str) -> Result<(), ClientError> {
        let target = format!("/v1/endpoints?owner={}&interface={}", encode(owner), encode(interface));
        self.act(&Request::new("DELETE", target), self.quick)
    }
}
