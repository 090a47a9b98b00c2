//! What a request has reserved: addresses and names by record, ports by record and by a socket.

use crate::attach::Attach;
use crate::endpoint::{self, Endpoint, EndpointLink, Progress};
use crate::engine::{Engine, answers};
use crate::error::AttachError;
use crate::ipam::IpamError;
use crate::modes;
use crate::outside::{HoldFailure, Kept};
use crate::ports::Within;
use netmode_model::api::NetOptions;
use netmode_model::{HostAddr, Id, PortRange, PortSpec, Protocol, Published};
use std::sync::PoisonError;

/// What a request has reserved: given back unless it is [kept](Reserved::keep).
pub(crate) struct Reserved<'a> {
    engine: &'a Engine,
    endpoint: Option<Endpoint>,
    kept: Vec<(Published, Kept)>,
}

impl Engine {
    /// Takes addresses on the network of a request, or on one of those that would do as well.
    pub(crate) fn take_link(&self, endpoint: &Endpoint, request: &Attach) -> Result<EndpointLink, AttachError> {
        let limit = *self.eni_limit.read().unwrap_or_else(PoisonError::into_inner);
        let mut leases = self.leases();
        // Under the same lock as what follows: two that want the last slot do not both get it.
        if let Some(limit) = limit.filter(|_| modes::needs(endpoint.mode).eni) {
            let used = leases.enis();
            if used >= limit {
                return Err(AttachError::NoSlot { used, limit });
            }
        }
        let all: Vec<String> = std::iter::once(&request.network).chain(&request.or_else).cloned().collect();
        let mut first = None;
        for network in leases.by_free(&all) {
            match leases.take_link(&network, endpoint, request) {
                Err(full @ AttachError::Address { source: IpamError::Exhausted { .. }, .. }) => {
                    first.get_or_insert(full);
                }
                other => return other,
            }
        }
        Err(first.unwrap_or_else(|| AttachError::NoSuchNetwork(request.network.clone())))
    }

    /// Reserves addresses, names and ports for a request.
    pub(crate) fn reserve(&self, request: &Attach) -> Result<Reserved<'_>, AttachError> {
        let mode = request.requested.effective();
        modes::admit(mode, &request.net)?;
        let mut endpoint = Endpoint {
            v: endpoint::VERSION,
            id: request.id,
            owner: request.owner.clone(),
            mode,
            requested: request.requested,
            progress: Progress::Intent,
            netns: request.netns.clone(),
            inode: request.inode,
            link: None,
            ports: Vec::new(),
            created: request.now.clone(),
        };
        let link = modes::needs(mode).link;
        if link {
            endpoint.link = Some(self.take_unused_link(&endpoint, request)?);
        }
        self.leases().name(endpoint.id, &endpoint.owner);
        let mut reserved = Reserved { engine: self, endpoint: Some(endpoint), kept: Vec::new() };
        reserved.take_ports(&request.net)?;
        Ok(reserved)
    }
}

impl Reserved<'_> {
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone().unwrap_or_else(|| unreachable!("taken by keep, which consumes self"))
    }

    pub(crate) fn keep(mut self, record: Endpoint) {
        let kept = std::mem::take(&mut self.kept);
        self.endpoint = None;
        self.engine.stand(record, kept);
    }

    /// Takes the ports of every mapping: by record first, then by a socket.
    fn take_ports(&mut self, net: &NetOptions) -> Result<(), AttachError> {
        // A task with an ENI has all ports of its own address.
        if self.endpoint.as_ref().is_some_and(|e| modes::needs(e.mode).eni) {
            return Ok(());
        }
        for spec in &net.ports {
            self.refuse_unreachable_family(spec)?;
            let fixed = match self.endpoint.as_ref().and_then(|e| e.link.as_ref()) {
                Some(_) => spec.host_ports,
                None => Some(spec.container),
            };
            match fixed {
                Some(host_ports) => self.take_fixed(spec, host_ports)?,
                None => self.take_dynamic(spec.protocol, spec.host, spec.container.count(), Some(spec.container))?,
            }
        }
        match net.port_env {
            Some(_) => self.take_dynamic(Protocol::Tcp, HostAddr::Any, 1, None),
            None => Ok(()),
        }
    }

    fn id(&self) -> Id {
        self.endpoint.as_ref().map_or_else(|| unreachable!("taken by keep, which consumes self"), |e| e.id)
    }

    fn answers(&self, host: HostAddr) -> bool {
        self.endpoint.as_ref().is_some_and(|e| answers(e, host))
    }

    fn refuse_unreachable_family(&self, spec: &PortSpec) -> Result<(), AttachError> {
        match self.endpoint.as_ref().and_then(|e| e.link.as_ref()) {
            Some(link) if !spec.host.has_v4() && link.addr(false).is_none() => {
                Err(AttachError::NoIpv6 { spec: *spec, network: link.network.clone() })
            }
            _ => Ok(()),
        }
    }

    fn take_fixed(&mut self, spec: &PortSpec, host_ports: PortRange) -> Result<(), AttachError> {
        let published = mapping(spec, host_ports);
        let id = self.id();
        self.engine.leases().take_ports(&published, id)?;
        match self.engine.hold.hold(spec.protocol, spec.host, host_ports, self.answers(spec.host)) {
            Ok(kept) => {
                self.add(published, kept);
                Ok(())
            }
            Err(failure) => {
                self.engine.leases().ports.release(&published, id);
                let failure = match failure {
                    HoldFailure::Taken { port, .. } => {
                        HoldFailure::Taken { port, holder: self.engine.hold.holder(spec.protocol, port) }
                    }
                    other => other,
                };
                Err(not_held(published, failure))
            }
        }
    }

    /// Chooses `count` neighbouring ports for the container's ports, or for the same ports inside.
    fn take_dynamic(
        &mut self,
        protocol: Protocol,
        host: HostAddr,
        count: u32,
        container: Option<PortRange>,
    ) -> Result<(), AttachError> {
        let (id, answering) = (self.id(), self.answers(host));
        let dynamic = &self.engine.settings.dynamic;
        let within = Within { protocol, host, range: dynamic.range, skip: &dynamic.skip };
        let hold = &self.engine.hold;
        // Binding waits for nothing, so the order of choice may be kept under the lock.
        let chosen = self.engine.leases().ports.choose(&within, count, |ports, run| {
            let published = Published { host, host_ports: run, container: container.unwrap_or(run), protocol };
            match hold.hold(protocol, host, run, answering) {
                Ok(kept) => match ports.take(&published, id) {
                    Ok(()) => Ok(Ok((published, kept))),
                    Err(clash) => Ok(Err(clash.port)),
                },
                Err(HoldFailure::Taken { port, .. }) => Ok(Err(port)),
                Err(failure) => Err(not_held(published, failure)),
            }
        })?;
        let (published, kept) = chosen.ok_or(AttachError::PortsExhausted { count })?;
        self.add(published, kept);
        Ok(())
    }

    fn add(&mut self, published: Published, kept: Kept) {
        let Some(endpoint) = &mut self.endpoint else { return };
        endpoint.ports.push(published);
        // In host mode the container binds its ports itself: the trial has shown that they are free.
        let kept = if modes::needs(endpoint.mode).link { kept } else { Kept::by_record() };
        self.kept.push((published, kept));
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            self.kept.clear();
            let mut leases = self.engine.leases();
            leases.release_ports(&endpoint);
            leases.release_link(&endpoint, None);
        }
    }
}

fn mapping(spec: &PortSpec, host_ports: PortRange) -> Published {
    Published { host: spec.host, host_ports, container: spec.container, protocol: spec.protocol }
}

/// Narrows the mapping to the port that stands in the way.
fn not_held(published: Published, failure: HoldFailure) -> AttachError {
    let port = match &failure {
        HoldFailure::Taken { port, .. } => PortRange::single(*port),
        _ => None,
    };
    AttachError::NotHeld {
        published: Published { host_ports: port.unwrap_or(published.host_ports), ..published },
        failure,
    }
}
