//! A kernel on paper: carries operations out on a list of what holds. For tests, and for showing plans.

use crate::outside::{Apply, Hold, HoldFailure, Kept, Sockets};
use netmode_model::op::OpError;
use netmode_model::{Final, HostAddr, Inverse, Op, PortRange, Protocol};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a [`Recorder`] has seen, shared by its clones.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Paper>>);

/// The recorded state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paper {
    /// What holds, by the text of the operation that brought it about, with how often.
    pub holds: BTreeMap<String, usize>,
    /// Every step that was carried out, as text.
    pub steps: Vec<String>,
    /// The step at which to refuse, counted from 0 and down.
    pub refuse_at: Option<usize>,
    /// Ports that are held.
    pub held: Vec<(Protocol, HostAddr, PortRange)>,
}

impl Recorder {
    /// A copy of the state.
    pub fn paper(&self) -> Paper {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses the n-th operation from now with EIO.
    pub fn refuse_at(&self, n: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refuse_at = Some(n);
    }

    fn change(&self, op: &Op) -> Result<Inverse, OpError> {
        let mut paper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |errno| OpError { step: op.to_string(), errno, detail: String::new() };
        match paper.refuse_at {
            Some(0) => {
                paper.refuse_at = None;
                return Err(refused(5));
            }
            Some(n) => paper.refuse_at = Some(n - 1),
            None => {}
        }
        paper.steps.push(op.to_string());
        paper.carry_out(op).map_err(refused)
    }
}

impl Paper {
    fn carry_out(&mut self, op: &Op) -> Result<Inverse, i32> {
        let text = op.to_string();
        match op {
            Op::AddrDel { .. }
            | Op::RouteDel(_)
            | Op::RuleDel(_)
            | Op::ProhibitDel(_)
            | Op::BlackholeDel(_)
            | Op::ElementDel { .. }
            | Op::SetDel { .. }
            | Op::ChainDel { .. } => {
                let Inverse::Op(added) = op.inverse() else { return Err(22) };
                let added = added.to_string();
                self.holds.remove(&added).map(|_| op.inverse()).ok_or(2)
            }
            Op::LinkDown { .. } => {
                let Inverse::Op(up) = op.inverse() else { return Err(22) };
                self.holds.remove(&up.to_string());
                Ok(Inverse::Nothing)
            }
            Op::LinkDel { dev, .. } => {
                let word = format!(" {dev} ");
                self.holds.retain(|step, _| !step.contains(&word));
                Ok(Inverse::Nothing)
            }
            Op::TableDel { .. } => {
                self.holds.retain(|step, _| !step.starts_with("nft "));
                Ok(Inverse::Nothing)
            }
            Op::ChainSet { table, before: Some(before), .. } => {
                let earlier = Op::ChainSet { table: table.clone(), chain: before.clone(), before: None };
                self.holds.remove(&earlier.to_string());
                self.holds.insert(text, 1);
                Ok(op.inverse())
            }
            Op::Sysctl { at, key, value } => {
                *self.holds.entry(text).or_default() += 1;
                Ok(Inverse::Restore { at: at.clone(), key: key.clone(), ours: value.clone(), previous: String::new() })
            }
            _ if self.holds.contains_key(&text) => Err(17),
            _ => {
                self.holds.insert(text, 1);
                Ok(op.inverse())
            }
        }
    }

    fn drop_netns(&mut self, netns: &netmode_model::NetnsName) {
        // What is inside goes with the namespace, and so does a veth whose other end is.
        let inside =
            [format!("-n {netns} "), format!("exec {netns} "), format!("netns {netns}"), format!("add {netns}")];
        let gone: Vec<String> =
            self.holds.keys().filter(|s| inside.iter().any(|i| s.contains(i.as_str()))).cloned().collect();
        for step in gone {
            self.holds.remove(&step);
            if let Some(dev) = step.strip_prefix("ip link add name ").and_then(|s| s.split(' ').next()) {
                let word = format!(" dev {dev} ");
                self.holds.retain(|s, _| !s.contains(&word));
            }
        }
    }
}

impl Apply for Recorder {
    fn apply(&self, ops: &[Op]) -> Result<Vec<Inverse>, OpError> {
        let mut done = Vec::new();
        for op in ops {
            match self.change(op) {
                Ok(inverse) => done.push(inverse),
                Err(refused) => {
                    self.undo(done);
                    return Err(refused);
                }
            }
        }
        Ok(done)
    }

    fn undo(&self, inverses: Vec<Inverse>) -> Vec<OpError> {
        let mut failures = Vec::new();
        for inverse in inverses.into_iter().rev() {
            match inverse {
                Inverse::Op(op) => failures.extend(self.change(&op).err().filter(|e| e.errno != 2)),
                Inverse::Restore { at, key, ours, .. } => {
                    let step = Op::Sysctl { at, key, value: ours }.to_string();
                    let mut paper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(n) = paper.holds.get_mut(&step) {
                        *n -= 1;
                    }
                    paper.holds.retain(|_, n| *n > 0);
                }
                Inverse::NetnsDrop { netns } => failures.extend(self.finish(&[Final::NetnsDrop { netns }])),
                Inverse::Nothing => {}
            }
        }
        failures
    }

    fn finish(&self, steps: &[Final]) -> Vec<OpError> {
        let mut paper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for step in steps {
            paper.steps.push(step.to_string());
            match step {
                Final::NetnsDrop { netns } => paper.drop_netns(netns),
                Final::LinkDrop { dev } => {
                    let word = format!(" {dev} ");
                    paper.holds.retain(|step, _| !step.contains(&word));
                }
                Final::FlushConntrack { .. } | Final::Announce { .. } => {}
            }
        }
        Vec::new()
    }
}

impl Hold for Recorder {
    fn hold(
        &self,
        protocol: Protocol,
        host: HostAddr,
        ports: PortRange,
        _answering: bool,
    ) -> Result<Kept, HoldFailure> {
        let mut paper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clash = paper.held.iter().find(|(p, h, r)| *p == protocol && h.overlaps(host) && r.overlaps(ports));
        if let Some((_, _, range)) = clash {
            return Err(HoldFailure::Taken { port: range.first().max(ports.first()), holder: None });
        }
        paper.held.push((protocol, host, ports));
        Ok(Kept {
            by_socket: true,
            sockets: Box::new(Held(self.clone(), (protocol, host, ports))),
            ..Kept::by_record()
        })
    }
}

struct Held(Recorder, (Protocol, HostAddr, PortRange));

impl Sockets for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).held.retain(|h| *h != self.1);
    }
}
