//! `netmode stats`: what tasks use, once or every second.

use crate::args::{Format, StatsArgs};
use crate::failure::Failure;
use crate::listing::{Listing, Shown};
use crate::output::{Output, print};
use crate::tasks;
use netmode_client::Client;
use netmode_model::stats::{InterfaceStats, StatsQuery, TaskStats};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// From one table to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// To the upper left corner, everything behind it cleared (ECMA-48: CUP, ED).
const ANEW: &str = "\x1b[H\x1b[J";

/// Prints what tasks use: a table that is renewed on a terminal, everything else once.
///
/// # Errors
/// The agent cannot be asked, or there is no such task.
pub(crate) fn stats(client: &Client, args: &StatsArgs, output: Output) -> Result<(), Failure> {
    let listing = listing();
    listing.check(&args.list, output)?;
    let names = args.tasks.iter().map(|name| tasks::some(name)).collect::<Result<Vec<_>, _>>()?;
    let query = StatsQuery { task: names.join(","), all: args.all };
    let table = matches!(output.format, Format::Table | Format::Wide) && args.list.format.is_none() && !output.quiet;
    if args.no_stream || !table || !std::io::stdout().is_terminal() {
        return listing.print(client.stats(&query)?, &args.list, output);
    }
    loop {
        let begun = Instant::now();
        let rows = client.stats(&query)?;
        print(ANEW)?;
        listing.print(rows, &args.list, output)?;
        std::thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
    }
}

fn listing<'a>() -> Listing<'a, TaskStats> {
    use Shown::{Always, Asked, Wide};
    let memory = |t: &TaskStats| format!("{} / {}", bytes(t.memory_bytes), bytes(t.memory_limit_bytes));
    let pair = |t: &TaskStats, of: [fn(&InterfaceStats) -> u64; 2], text: fn(u64) -> String| match &t.interfaces[..] {
        [] => "-".into(),
        all => of.map(|count| text(all.iter().map(count).sum())).join(" / "),
    };
    let plain = |n: u64| n.to_string();
    Listing::new(|t: &TaskStats| t.id.short())
        .column("Name", Always, |t| t.name.to_string())
        .column("ID", Always, |t| t.id.short())
        .column("Mode", Wide, |t| t.network_mode.to_string())
        .column("CPUPerc", Always, |t| format!("{:.2}%", t.cpu_percent))
        .headed("CPU %")
        .column("MemUsage", Always, memory)
        .headed("MEM USAGE / LIMIT")
        .column("MemPerc", Always, |t| format!("{:.2}%", share(t.memory_bytes, t.memory_limit_bytes)))
        .headed("MEM %")
        .column("NetIO", Always, move |t| pair(t, [|i| i.receive_bytes, |i| i.transmit_bytes], bytes))
        .headed("NET RX / TX")
        .column("Packets", Always, move |t| pair(t, [|i| i.receive_packets, |i| i.transmit_packets], plain))
        .headed("PACKETS RX / TX")
        .column("Drops", Always, move |t| pair(t, [|i| i.receive_drops, |i| i.transmit_drops], plain))
        .headed("DROPS RX / TX")
        .column("Conns", Always, |t| t.connections.map_or_else(|| "-".into(), |n| n.to_string()))
        .column("PIDs", Always, |t| t.pids.to_string())
        .column("State", Asked, |t| t.state.to_string())
        .column("CPUSeconds", Asked, |t| format!("{:.3}", t.cpu_seconds))
        .key(&["name"], |t, value| t.name.as_str().contains(value))
        .key(&["id"], |t, value| t.id.to_string().starts_with(value))
        .key(&["mode"], |t, value| t.network_mode.to_string() == value)
}

/// In percent; of nothing it is nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// As docker writes sizes of memory: `12.5MiB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_in_powers_of_1024() {
        let texts = [0, 1023, 1024, 1536, 150 << 20, 3 << 30, 5 << 50].map(bytes);
        assert_eq!(texts, ["0B", "1023B", "1.0KiB", "1.5KiB", "150MiB", "3.0GiB", "5120TiB"]);
        assert_eq!((share(1, 0), share(1, 4)), (0.0, 25.0));
    }
}
