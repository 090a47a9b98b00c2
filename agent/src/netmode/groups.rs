//! `netmode sg` and `netmode prefix-list`.

use crate::args::{Format, Global};
use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::network::each;
use crate::output::{Output, print};
use crate::request;
use crate::vpc_args::{PrefixListCommand, SgCommand};
use netmode_client::Client;
use netmode_model::group::{Effective, GroupView, PrefixList};

type Result<T> = std::result::Result<T, Failure>;

/// `netmode sg …`.
pub(crate) fn sg(client: &Client, command: &SgCommand, global: &Global) -> Result<()> {
    let (listed, shown) = (Output::of(global, Format::Table), Output::of(global, Format::Json));
    let one = |name: &str| Ok::<_, Failure>(client.group(request::some("security group", name)?)?);
    match command {
        SgCommand::Ls(args) => list(client, args, listed),
        SgCommand::Show { groups } => shown.data(&groups.iter().map(|name| one(name)).collect::<Result<Vec<_>>>()?),
        SgCommand::Create { name, description } => {
            let made = client.create_group(&request::group(name, description))?;
            if listed.structured() { shown.data(&made) } else { print(&format!("{}\n", made.group_id)) }
        }
        SgCommand::Rm { groups } => {
            each(groups, |name| Ok(client.remove_group(request::some("security group", name)?)?))
        }
        SgCommand::Authorize(args) => {
            let added = client.authorize(&args.group, &request::rules(args)?)?;
            if listed.structured() {
                return shown.data(&added);
            }
            added.iter().try_for_each(|rule| print(&format!("{}\n", rule.id)))
        }
        SgCommand::Revoke { rule, cut, rules } => {
            let mut wanted = request::rules(rules)?;
            (wanted.rule_ids, wanted.cut) = (rule.clone(), *cut);
            let removed = client.revoke(&rules.group, &wanted)?;
            if listed.structured() {
                return shown.data(&removed);
            }
            removed.iter().try_for_each(|rule| print(&format!("{}\n", rule.id)))
        }
        SgCommand::Effective { task } => {
            let reply = client.open_to(request::some("task", task)?)?;
            if listed.structured() {
                return shown.data(&reply);
            }
            let headings = ["DIRECTION", "TRAFFIC", "PEER", "ADDRESSES", "GROUP", "RULE"];
            listed.listing(&reply, &headings, || reply.rules.iter().map(row).collect())
        }
    }
}

fn row(open: &Effective) -> Vec<String> {
    let addresses: Vec<String> = open.addresses.iter().map(ToString::to_string).collect();
    vec![
        open.direction.to_string(),
        open.traffic.to_string(),
        open.peer.clone(),
        addresses.join("\n"),
        open.group.group_name.clone(),
        open.rule_id.clone(),
    ]
}

fn list(client: &Client, list: &ListArgs, output: Output) -> Result<()> {
    let listing = Listing::new(|g: &GroupView| g.group_id.clone())
        .column("GroupId", Shown::Always, |g| g.group_id.clone())
        .headed("ID")
        .column("GroupName", Shown::Always, |g| g.group_name.clone())
        .headed("NAME")
        .column("Rules", Shown::Always, |g| g.rules.len().to_string())
        .column("Enis", Shown::Always, |g| g.network_interfaces.len().to_string())
        .headed("ENIS")
        .column("Description", Shown::Always, |g| g.description.clone())
        .key(&["name"], |g, value| g.group_name.contains(value))
        .key(&["id"], |g, value| g.group_id.starts_with(value));
    listing.check(list, output)?;
    listing.print(client.groups()?, list, output)
}

/// `netmode prefix-list …`.
pub(crate) fn prefix_list(client: &Client, command: &PrefixListCommand, global: &Global) -> Result<()> {
    match command {
        PrefixListCommand::Ls => {
            let lists = client.prefix_lists()?;
            let entries = |l: &PrefixList| l.entries.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            let row = |l: &PrefixList| vec![l.prefix_list_id.clone(), l.prefix_list_name.clone(), entries(l)];
            let output = Output::of(global, Format::Table);
            output.listing(&lists, &["ID", "NAME", "ENTRIES"], || lists.iter().map(row).collect())
        }
        PrefixListCommand::Set { name, entry } => {
            let made = client.put_prefix_list(&request::prefix_list(name, entry)?)?;
            print(&format!("{}\n", made.prefix_list_id))
        }
        PrefixListCommand::Rm { lists } => {
            each(lists, |name| Ok(client.remove_prefix_list(request::some("prefix list", name)?)?))
        }
    }
}
