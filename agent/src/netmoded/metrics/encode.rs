//! From what was gathered to text: names, types, units and help.

use super::operations::{Counted, Ended};
use super::scrape::{KINDS, PROTOCOLS, Scrape};
use netmode_model::state::LinkCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::Error;

/// Label sets have names and values.
type Pairs<'a, const N: usize> = [(&'static str, &'a str); N];

/// The text, up to its last line, `# EOF`.
pub fn text(scrape: Scrape) -> String {
    let mut registry = Registry::default();
    let mut out = String::with_capacity(4096 + scrape.traffic.len() * 512);
    registry.register_collector(Box::new(scrape));
    // A string takes everything.
    text::encode(&mut out, &registry).unwrap_or_default();
    out
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let to = &mut encoder;
        build(to)?;
        operations(to, &self.operations)?;
        self.state(to)?;
        self.network(to)?;
        self.tasks(to)
    }
}

/// A family of counters.
fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
    to: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    unit: Option<&Unit>,
    samples: impl Iterator<Item = (L, V)>,
) -> Result<(), Error> {
    let mut family = to.encode_descriptor(name, help, unit, MetricType::Counter)?;
    samples.into_iter().try_for_each(|(labels, value)| {
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    })
}

/// A family of gauges.
fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
    to: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    samples: impl Iterator<Item = (L, V)>,
) -> Result<(), Error> {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    samples.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
}

/// A number that has no labels.
fn alone(
    to: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    kind: MetricType,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    write(&mut to.encode_descriptor(name, help, None, kind)?)
}

fn build(to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let version: Pairs<'_, 1> = [("version", env!("CARGO_PKG_VERSION"))];
    alone(to, ("netmode_build", "The agent that answers"), MetricType::Info, |m| m.encode_info(&version))
}

fn operations(to: &mut DescriptorEncoder<'_>, all: &[Counted]) -> Result<(), Error> {
    let modes: Vec<String> = all.iter().map(|c| c.mode.to_string()).collect();
    let of = |(counted, mode): (&'_ Counted, &'_ String)| (counted.operation.label(), mode.clone(), counted.ended);
    let samples = all.iter().zip(&modes).map(of).flat_map(|(op, mode, ended)| {
        let one = move |(result, n): (Ended, u64)| {
            ([("op", op.to_owned()), ("mode", mode.clone()), ("result", result.label().to_owned())], n)
        };
        Ended::ALL.into_iter().zip(ended).map(one)
    });
    counters(to, ("netmode_operations", "Operations that have ended"), None, samples)?;
    let about = "Time from the begin of an operation to its end";
    let seconds = Unit::Seconds;
    let mut family =
        to.encode_descriptor("netmode_operation_duration", about, Some(&seconds), MetricType::Histogram)?;
    // Those that never happened are many, and tell nothing.
    for (counted, mode) in all.iter().zip(&modes).filter(|(c, _)| c.durations.count > 0) {
        let labels: Pairs<'_, 2> = [("op", counted.operation.label()), ("mode", mode)];
        let (times, mut one) = (&counted.durations, family.encode_family(&labels)?);
        one.encode_histogram::<NoLabelSet>(times.sum, times.count, &times.buckets, None)?;
    }
    Ok(())
}

impl Scrape {
    /// What stands, and what was put back.
    fn state(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let endpoints = self.endpoints.iter().map(|(mode, count)| ([("mode", mode.to_string())], *count));
        gauges(to, ("netmode_endpoints", "Endpoints that stand"), endpoints)?;
        let ports = PROTOCOLS.iter().zip(self.ports).flat_map(|(protocol, counts)| {
            let one =
                move |(kind, n): (&str, u64)| ([("protocol", protocol.to_string()), ("kind", kind.to_owned())], n);
            KINDS.into_iter().zip(counts).map(one)
        });
        gauges(to, ("netmode_ports", "Host ports that are given out"), ports)?;
        let pools = self.pools.iter().flat_map(|(pool, n)| {
            // A pool of IPv6 has more addresses than an integer can count.
            let states = [("used", n.used as f64), ("free", n.free as f64), ("resting", n.resting as f64)];
            states.map(|(state, n)| ([("pool", pool.as_str()), ("state", state)], n))
        });
        gauges(to, ("netmode_ipam_addresses", "Addresses of pools"), pools)?;
        let repairs = self.repairs.iter().map(|(object, n)| ([("object", *object)], *n));
        counters(to, ("netmode_drift_repairs", "Objects that somebody changed and that were put right"), None, repairs)
    }

    /// Names, security groups, connections.
    fn network(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let answers = self.answers.iter().map(|(code, n)| ([("rcode", *code)], *n));
        counters(to, ("netmode_dns_queries", "Questions that were answered, by response code"), None, answers)?;
        let single = [
            (("netmode_dns_forwarded", "Questions that were asked of other servers"), &self.forwarded),
            (("netmode_dns_dropped", "Packets that were no question"), &self.dropped),
        ];
        for (about, n) in single {
            alone(to, about, MetricType::Counter, |m| m.encode_counter::<NoLabelSet, _, u64>(n, None))?;
        }
        let records = [("written", self.flow_records.0), ("lost", self.flow_records.1)];
        let records = records.into_iter().map(|(result, n)| ([("result", result)], n));
        counters(to, ("netmode_flow_log_records", "Records of flow logs, by what became of them"), None, records)?;
        let verdicts = self.verdicts.iter().flat_map(|(id, verdicts)| {
            let of = |verdict, n| ([("sg", id.as_str()), ("verdict", verdict)], n);
            [of("accept", verdicts.accepted), of("drop", verdicts.dropped)]
        });
        let about = "Packets of tasks that carry a security group, by what became of them";
        counters(to, ("netmode_sg_packets", about), None, verdicts)?;
        let (entries, limit) = self.tracked;
        let about = ("netmode_conntrack_entries", "Connections that the host tracks");
        alone(to, about, MetricType::Gauge, |m| m.encode_gauge(&entries))?;
        let about = ("netmode_conntrack_entries_limit", "Connections that the host can track");
        alone(to, about, MetricType::Gauge, |m| m.encode_gauge(&limit))
    }

    fn tasks(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let bytes = Unit::Bytes;
        self.links(to, ("netmode_task_receive", "Bytes that a task received"), Some(&bytes), |c| c.rx_bytes)?;
        self.links(to, ("netmode_task_transmit", "Bytes that a task sent"), Some(&bytes), |c| c.tx_bytes)?;
        self.links(to, ("netmode_task_receive_packets", "Packets that a task received"), None, |c| c.rx_packets)?;
        self.links(to, ("netmode_task_transmit_packets", "Packets that a task sent"), None, |c| c.tx_packets)?;
        let about = ("netmode_task_receive_drops", "Packets for a task that were thrown away");
        self.links(to, about, None, |c| c.rx_dropped)?;
        let about = ("netmode_task_transmit_drops", "Packets of a task that were thrown away");
        self.links(to, about, None, |c| c.tx_dropped)?;
        let connections = self.connections.iter().map(|(task, n)| ([("task", task.as_str())], *n));
        gauges(to, ("netmode_task_connections", "Tracked connections that a task began or answers"), connections)
    }

    fn links(
        &self,
        to: &mut DescriptorEncoder<'_>,
        about: (&str, &str),
        unit: Option<&Unit>,
        count: fn(&LinkCounters) -> u64,
    ) -> Result<(), Error> {
        let samples = self.traffic.iter().map(|((task, interface), carried)| {
            ([("task", task.as_str()), ("interface", interface.as_str())], count(carried))
        });
        counters(to, about, unit, samples)
    }
}
