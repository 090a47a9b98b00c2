//! What a way to a server costs: requests one after the other, each with a connection of its own, drawn as bars.

use crate::failure::{FAILED, Failure, say};
use crate::lab::args::MeasureArgs;
use crate::output::{Output, print};
use netmode_model::Code;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests before those that count: addresses are resolved, caches are warm.
const WARM: usize = 5;
/// Characters of the longest bar.
const LONGEST: f64 = 40.0;

/// What one server's requests took, in microseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    name: String,
    address: SocketAddr,
    requests: usize,
    /// Half of the requests took no longer.
    median_us: u64,
    /// Nine of ten took no longer.
    ninetieth_us: u64,
}

/// Measures, prints, and writes the plot. Exit status 1 if the slowest is further from the fastest than allowed.
pub(crate) fn measure(args: &MeasureArgs, output: Output) -> Result<u8, Failure> {
    let servers: Vec<(String, SocketAddr)> = args.servers.iter().map(|text| server(text)).collect::<Result<_, _>>()?;
    let mut taken = vec![Vec::new(); servers.len()];
    // In turns, so that whatever else the machine does meets all of them alike.
    for round in 0..args.count + WARM {
        for (times, (name, address)) in taken.iter_mut().zip(&servers) {
            let time = request(*address).map_err(|error| {
                Failure::new(
                    Code::State,
                    format!("{name} ({address}) does not answer: {error}; is it running, and is it reached from here?"),
                )
            })?;
            if round >= WARM {
                times.push(time);
            }
        }
    }
    let costs: Vec<Cost> = servers.into_iter().zip(taken).map(|(server, times)| cost(server, times)).collect();
    if let Some(path) = &args.svg {
        let failed =
            |error: std::io::Error| Failure::new(Code::State, format!("cannot write {}: {error}", path.display()));
        std::fs::write(path, svg(&costs)).map_err(failed)?;
    }
    if output.structured() {
        output.data(&costs)?
    } else {
        print(&bars(&costs))?
    }
    let Some(far) = args.within.and_then(|factor| far_apart(&costs, factor)) else { return Ok(0) };
    say(&far);
    Ok(FAILED)
}

/// The slowest and the fastest, if the one takes more than so many times as long as the other.
fn far_apart(costs: &[Cost], factor: u64) -> Option<String> {
    let slowest = costs.iter().max_by_key(|cost| cost.median_us)?;
    let fastest = costs.iter().min_by_key(|cost| cost.median_us)?;
    let shown = |cost: &Cost| format!("{} {} µs", cost.name, cost.median_us);
    let is_far = slowest.median_us > fastest.median_us.max(1) * factor;
    is_far.then(|| format!("{}, {}", shown(slowest), shown(fastest)))
}

fn server(text: &str) -> Result<(String, SocketAddr), Failure> {
    let parsed = text.split_once('=').and_then(|(name, address)| Some((name.to_owned(), address.parse().ok()?)));
    parsed
        .ok_or_else(|| Failure::invalid(format!("{text:?} is no server; write NAME=ADDRESS:PORT, as web=192.0.2.1:80")))
}

/// From the first packet to the last one.
fn request(address: SocketAddr) -> std::io::Result<u64> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX))
}

fn cost((name, address): (String, SocketAddr), mut times: Vec<u64>) -> Cost {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 10).or(times.last()).copied().unwrap_or_default();
    Cost { name, address, requests: times.len(), median_us: at(5), ninetieth_us: at(9) }
}

#[allow(clippy::cast_precision_loss)] // microseconds of a request are small
fn share(value: u64, costs: &[Cost]) -> f64 {
    value as f64 / costs.iter().map(|cost| cost.ninetieth_us).max().unwrap_or(1).max(1) as f64
}

/// `█` up to the median, `░` on to the ninetieth.
fn bars(costs: &[Cost]) -> String {
    let width = costs.iter().map(|cost| cost.name.len()).max().unwrap_or_default();
    let mut text = "█ median   ░ nine of ten\n".to_owned();
    for cost in costs {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and LONGEST
        let length = |value| (share(value, costs) * LONGEST).round().max(1.0) as usize;
        let (solid, light) = (length(cost.median_us), length(cost.ninetieth_us));
        let bar = format!("{}{}", "█".repeat(solid), "░".repeat(light.saturating_sub(solid)));
        let _ = writeln!(text, "{:width$}  {:>6} µs  {:>6} µs  {bar}", cost.name, cost.median_us, cost.ninetieth_us);
    }
    text
}

/// The same as a picture.
fn svg(costs: &[Cost]) -> String {
    let height = 40 + costs.len() * 36;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <text x=\"10\" y=\"22\">One request with its connection: median, and where nine of ten end</text>\n"
    );
    for (row, cost) in costs.iter().enumerate() {
        let y = 40 + row * 36;
        let (solid, light) = (share(cost.median_us, costs) * 400.0, share(cost.ninetieth_us, costs) * 400.0);
        let name = cost.name.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            text,
            "<text x=\"10\" y=\"{}\">{name}</text>\n<rect x=\"120\" y=\"{y}\" width=\"{light:.0}\" height=\"24\" fill=\"#bcd\"/>\n\
             <rect x=\"120\" y=\"{y}\" width=\"{solid:.0}\" height=\"24\" fill=\"#36a\"/>\n<text x=\"{:.0}\" y=\"{}\">{} µs</text>",
            y + 17,
            128.0 + light,
            y + 17,
            cost.median_us
        );
    }
    text + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs() -> Vec<Cost> {
        let cost_of = |name: &str, times| cost(server(&format!("{name}=192.0.2.1:80")).unwrap(), times);
        vec![cost_of("host", (1..=100).collect()), cost_of("a<b", vec![400; 3])]
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let costs = costs();
        assert_eq!((costs[0].median_us, costs[0].ninetieth_us, costs[1].median_us), (51, 91, 400));
        assert!(server("192.0.2.1:80").is_err() && server("web=192.0.2.1").is_err());
    }

    #[test]
    fn the_slowest_has_the_longest_bar() {
        let text = bars(&costs());
        assert_eq!(text.lines().skip(1).map(|line| line.matches('█').count()).collect::<Vec<_>>(), [5, 40]);
        assert_eq!(far_apart(&costs(), 7).unwrap(), "a<b 400 µs, host 51 µs");
        assert_eq!(far_apart(&costs(), 8), None);
        let svg = svg(&costs());
        assert!(svg.contains("a&lt;b") && svg.contains("width=\"400\"") && svg.ends_with("</svg>\n"));
    }
}
