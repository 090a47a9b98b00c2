//! `netmode subnet` and `netmode eni`.

use crate::args::{Format, Global};
use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::network::each;
use crate::output::{Output, print};
use crate::request;
use crate::vpc_args::{EniCommand, SubnetCommand};
use netmode_client::Client;
use netmode_model::vpc::{EniView, GroupRef, SubnetView};

type Result<T> = std::result::Result<T, Failure>;

/// `netmode subnet …`.
pub(crate) fn subnet(client: &Client, command: &SubnetCommand, global: &Global) -> Result<()> {
    let (listed, shown) = (Output::of(global, Format::Table), Output::of(global, Format::Json));
    match command {
        SubnetCommand::Ls(args) => subnets(client, args, listed),
        SubnetCommand::Show { subnets } => {
            let all = subnets.iter().map(|name| Ok(client.subnet(request::some("subnet", name)?)?));
            shown.data(&all.collect::<Result<Vec<_>>>()?)
        }
        SubnetCommand::Create(args) => {
            let made = client.create_subnet(&request::subnet(args)?)?;
            match args.dry_run || listed.structured() {
                true => shown.data(&made),
                false => print(&format!("{}\n", made.subnet_id)),
            }
        }
        SubnetCommand::Rm { subnets } => {
            each(subnets, |name| Ok(client.remove_subnet(request::some("subnet", name)?)?))
        }
    }
}

fn subnets(client: &Client, list: &ListArgs, output: Output) -> Result<()> {
    let listing = Listing::new(|s: &SubnetView| s.subnet_id.clone())
        .column("SubnetId", Shown::Always, |s| s.subnet_id.clone())
        .headed("ID")
        .column("Name", Shown::Always, |s| s.name.clone())
        .column("CidrBlock", Shown::Always, |s| s.cidr_block.map(|p| p.to_string()).unwrap_or_default())
        .headed("CIDR")
        .column("Ipv6CidrBlock", Shown::Wide, |s| s.ipv6_cidr_block.map(|p| p.to_string()).unwrap_or_default())
        .headed("IPV6 CIDR")
        .column("AvailableIpAddressCount", Shown::Always, |s| s.available_ip_address_count.to_string())
        .headed("AVAILABLE")
        .column("Utilization", Shown::Always, |s| format!("{}%", s.utilization))
        .headed("USED")
        .column("Backend", Shown::Always, |s| s.backend.to_string())
        .column("Parent", Shown::Always, |s| s.parent.as_ref().map(ToString::to_string).unwrap_or_default())
        .column("Nat", Shown::Wide, |s| s.nat.to_string())
        .column("AvailabilityZone", Shown::Wide, |s| s.availability_zone.clone())
        .headed("ZONE")
        .column("Reason", Shown::Wide, |s| s.backend_reason.clone())
        .key(&["name"], |s, value| s.name.contains(value))
        .key(&["id"], |s, value| s.subnet_id.starts_with(value))
        .key(&["backend"], |s, value| s.backend.to_string() == value);
    listing.check(list, output)?;
    listing.print(client.subnets()?, list, output)
}

/// `netmode eni …`.
pub(crate) fn eni(client: &Client, command: &EniCommand, global: &Global) -> Result<()> {
    match command {
        EniCommand::Ls(args) => enis(client, args, Output::of(global, Format::Table)),
        EniCommand::Show { enis } => {
            let all = enis.iter().map(|name| Ok(client.eni(request::some("ENI", name)?)?));
            Output::of(global, Format::Json).data(&all.collect::<Result<Vec<_>>>()?)
        }
        EniCommand::Delete { enis } => each(enis, |name| Ok(client.remove_eni(request::some("ENI", name)?)?)),
    }
}

/// Groups by their names.
pub(crate) fn groups(all: &[GroupRef]) -> String {
    all.iter().map(|g| g.group_name.clone()).collect::<Vec<_>>().join(", ")
}

fn enis(client: &Client, list: &ListArgs, output: Output) -> Result<()> {
    let listing = Listing::new(|e: &EniView| e.network_interface_id.clone())
        .column("NetworkInterfaceId", Shown::Always, |e| e.network_interface_id.clone())
        .headed("ID")
        .column("Task", Shown::Always, |e| e.attachment.task.clone())
        .column("PrivateIpAddress", Shown::Always, |e| {
            e.private_ip_address.map(|ip| ip.to_string()).unwrap_or_default()
        })
        .headed("ADDRESS")
        .column("MacAddress", Shown::Always, |e| e.mac_address.to_string())
        .headed("MAC")
        .column("SubnetId", Shown::Always, |e| e.subnet_id.clone())
        .headed("SUBNET")
        .column("Groups", Shown::Always, |e| groups(&e.groups))
        .column("Backend", Shown::Always, |e| e.backend.to_string())
        .column("Status", Shown::Always, |e| e.attachment.status.clone())
        .column("PrivateDnsName", Shown::Wide, |e| e.private_dns_name.clone())
        .headed("NAME")
        .column("HostPath", Shown::Wide, |e| e.host_path.clone())
        .headed("HOST PATH")
        .key(&["task"], |e, value| e.attachment.task == value)
        .key(&["id"], |e, value| e.network_interface_id.starts_with(value))
        .key(&["subnet"], |e, value| e.subnet_id == value);
    listing.check(list, output)?;
    listing.print(client.enis()?, list, output)
}
