//! `netmode flow-log`: who sent what to whom, as VPC flow logs have it.

use crate::args::{Format, Global};
use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::network::each;
use crate::output::{Output, print};
use crate::{request, values};
use clap::{Args, Subcommand, ValueEnum};
use netmode_client::Client;
use netmode_model::flowlog::{FlowLogRequest, FlowLogView, TrafficType};

type Result<T> = std::result::Result<T, Failure>;

/// `netmode flow-log`.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowLogCommand {
    /// List flow logs, with what was written and what was lost
    Ls(ListArgs),
    /// Show flow logs
    Show {
        /// Ids
        #[arg(required = true, value_name = "FLOW-LOG")]
        logs: Vec<String>,
    },
    /// Record the traffic of every ENI, of a subnet's or of one, and print the flow log's id
    Create(FlowLogArgs),
    /// Remove flow logs; what was recorded stays where it is
    #[command(visible_alias = "delete")]
    Rm {
        /// Ids
        #[arg(required = true, value_name = "FLOW-LOG")]
        logs: Vec<String>,
    },
}

/// Which traffic.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Traffic {
    /// What security groups let pass.
    Accept,
    /// What they refuse.
    Reject,
    /// Both.
    All,
}

/// Options of `netmode flow-log create`.
#[derive(Debug, Args)]
pub(crate) struct FlowLogArgs {
    /// A subnet by name or id; every ENI of the VPC where neither --subnet nor --eni is given
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<String>,
    /// An ENI by its id, or by its task
    #[arg(long, value_name = "ENI")]
    eni: Option<String>,
    /// Which traffic
    #[arg(long, value_enum, ignore_case = true, default_value = "all")]
    traffic_type: Traffic,
    /// Seconds that a record is about: 60 or 600
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    max_aggregation_interval: u32,
    /// Fields, such as '${srcaddr} ${dstaddr} ${action}'; the 14 of version 2 where none is given
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// file:NAME (below /var/log/netmode), file:/PATH, journald or stdout (the agent's)
    #[arg(long = "to", visible_alias = "log-destination", value_name = "PLACE")]
    to: String,
    /// Size after which a file is put aside
    #[arg(long, value_name = "SIZE", default_value = "64m")]
    max_size: String,
    /// How many files that were put aside are kept
    #[arg(long, value_name = "COUNT", default_value = "5")]
    keep: u32,
}

fn wanted(args: &FlowLogArgs) -> Result<FlowLogRequest> {
    let size = values::size(&args.max_size).and_then(|bytes| u64::try_from(bytes).ok());
    let bad = || Failure::invalid(values::refused("--max-size", &args.max_size, "write a size, such as 64m"));
    Ok(FlowLogRequest {
        subnet: args.subnet.clone(),
        eni: args.eni.clone(),
        traffic_type: match args.traffic_type {
            Traffic::Accept => TrafficType::Accept,
            Traffic::Reject => TrafficType::Reject,
            Traffic::All => TrafficType::All,
        },
        max_aggregation_interval: Some(args.max_aggregation_interval),
        log_format: args.log_format.clone(),
        log_destination: args.to.clone(),
        max_size: Some(size.ok_or_else(bad)?),
        keep: Some(args.keep),
    })
}

/// `netmode flow-log …`.
pub(crate) fn flow_log(client: &Client, command: &FlowLogCommand, global: &Global) -> Result<()> {
    let (listed, shown) = (Output::of(global, Format::Table), Output::of(global, Format::Json));
    match command {
        FlowLogCommand::Ls(args) => list(client, args, listed),
        FlowLogCommand::Show { logs } => {
            let all = logs.iter().map(|id| Ok(client.flow_log(request::some("flow log", id)?)?));
            shown.data(&all.collect::<Result<Vec<_>>>()?)
        }
        FlowLogCommand::Create(args) => {
            let made = client.create_flow_log(&wanted(args)?)?;
            if listed.structured() { shown.data(&made) } else { print(&format!("{}\n", made.flow_log_id)) }
        }
        FlowLogCommand::Rm { logs } => each(logs, |id| Ok(client.remove_flow_log(request::some("flow log", id)?)?)),
    }
}

fn traffic(view: &FlowLogView) -> &'static str {
    match view.traffic_type {
        TrafficType::Accept => "ACCEPT",
        TrafficType::Reject => "REJECT",
        TrafficType::All => "ALL",
    }
}

fn list(client: &Client, list: &ListArgs, output: Output) -> Result<()> {
    let listing = Listing::new(|l: &FlowLogView| l.flow_log_id.clone())
        .column("FlowLogId", Shown::Always, |l| l.flow_log_id.clone())
        .headed("ID")
        .column("ResourceId", Shown::Always, |l| l.resource_id.clone())
        .headed("RESOURCE")
        .column("TrafficType", Shown::Always, |l| traffic(l).into())
        .headed("TRAFFIC")
        .column("MaxAggregationInterval", Shown::Always, |l| format!("{}s", l.max_aggregation_interval))
        .headed("INTERVAL")
        .column("LogDestination", Shown::Always, |l| l.log_destination.clone())
        .headed("TO")
        .column("Records", Shown::Always, |l| l.records.to_string())
        .column("Lost", Shown::Always, |l| l.lost.to_string())
        .column("DeliverLogsStatus", Shown::Always, |l| l.deliver_logs_status.clone())
        .headed("STATUS")
        .column("DeliverLogsErrorMessage", Shown::Wide, |l| l.deliver_logs_error_message.clone().unwrap_or_default())
        .headed("ERROR")
        .column("LogFormat", Shown::Wide, |l| l.log_format.clone())
        .headed("FORMAT")
        .key(&["id"], |l, value| l.flow_log_id.starts_with(value))
        .key(&["resource"], |l, value| l.resource_id == value)
        .key(&["status"], |l, value| l.deliver_logs_status.eq_ignore_ascii_case(value));
    listing.check(list, output)?;
    listing.print(client.flow_logs()?, list, output)
}
