//! The links of standing endpoints change: they leave their network, get the way out, become faster or slower.

use crate::bridge;
use crate::endpoint::{Endpoint, EndpointLink};
use crate::engine::{Engine, lock};
use crate::error::AttachError;
use crate::modes;
use netmode_model::op::OpError;
use netmode_model::{Id, Inverse, NetRate, Op, Place};
use std::sync::PoisonError;

impl Engine {
    /// Takes an endpoint's link and ports away and leaves its namespace. Its address is free when the link has been
    /// [seen gone](Engine::link_gone).
    ///
    /// # Errors
    /// The record could not be written; nothing has changed then.
    pub fn unlink(&self, id: Id) -> Result<Vec<OpError>, AttachError> {
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = self.endpoint(id) else { return Ok(Vec::new()) };
        let Some(link) = before.link.clone() else { return Ok(Vec::new()) };
        let after = Endpoint { link: None, ports: Vec::new(), ..before.clone() };
        self.record(&after)?;
        let plan = modes::unlink(&before, self.settings());
        lock(&self.leaving).insert(link.host_dev.clone(), before.clone());
        let steps = plan.ops.into_iter().rev().map(Inverse::Op).collect();
        let mut failures = self.outside.undo(steps);
        failures.extend(self.outside.finish(&plan.then));
        let let_go = lock(&self.live).get_mut(&id).map(|live| {
            live.record = after;
            (std::mem::take(&mut live.kept), std::mem::replace(&mut live._left, Box::new(())))
        });
        drop(let_go);
        self.leases().release_ports(&before);
        Ok(failures)
    }

    /// Has the way out of an endpoint's namespace lead over its network. Tells whether that has one.
    ///
    /// # Errors
    /// The kernel refused the route, or the record could not be written; nothing has changed then.
    pub fn give_route(&self, id: Id) -> Result<bool, AttachError> {
        let outward = |link: &EndpointLink| self.network(&link.network).filter(|n| !n.internal);
        let Some(network) = self.endpoint(id).and_then(|e| outward(e.link.as_ref()?)) else { return Ok(false) };
        let change = |link: &mut EndpointLink| {
            link.gateways = link.addrs.iter().filter_map(|a| network.next_hop(a.ip())).collect();
        };
        self.change_link(id, change, |link, at| {
            link.gateways.iter().map(|via| Op::RouteAdd(link.way_out(at.clone(), *via))).collect()
        })
    }

    /// Gives an endpoint's link another rate; one without a link has none.
    ///
    /// # Errors
    /// The kernel refused it, or the record could not be written; nothing has changed then.
    pub fn set_rate(&self, id: Id, rate: NetRate) -> Result<bool, AttachError> {
        let before = self.endpoint(id);
        // A bucket is never there without a record that names it: whoever dies in between leaves none behind.
        if let Some(mut endpoint) = before.clone()
            && let Some(link) = &mut endpoint.link
        {
            link.rate = rate.or(link.rate);
            self.record(&endpoint)?;
        }
        let changed = self.change_link(id, |link| link.rate = rate, bridge::rates);
        if let (Err(_), Some(before)) = (&changed, before) {
            // The refusal is what is told; the next agent would at worst limit what was not limited.
            let _ = self.record(&before);
        }
        changed
    }

    /// Changes a standing endpoint's link: in the kernel by the operations for what it has become, then in the record.
    /// Tells whether it has one. The caller sees to it that it is not detached meanwhile: a record would be left.
    fn change_link(
        &self,
        id: Id,
        change: impl Fn(&mut EndpointLink),
        operations: impl FnOnce(&EndpointLink, &Place) -> Vec<Op>,
    ) -> Result<bool, AttachError> {
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(mut endpoint) = self.endpoint(id) else { return Ok(false) };
        let Some(at) = endpoint.netns.name().cloned().map(Place::Netns) else { return Ok(false) };
        let Some(link) = &mut endpoint.link else { return Ok(false) };
        change(link);
        let undo = self.outside.apply(&operations(link, &at))?;
        if let Err(unrecorded) = self.record(&endpoint) {
            self.outside.undo(undo);
            return Err(unrecorded);
        }
        // Another part of it may have changed meanwhile.
        if let Some(link) = lock(&self.live).get_mut(&id).and_then(|live| live.record.link.as_mut()) {
            change(link);
        }
        Ok(true)
    }
}
