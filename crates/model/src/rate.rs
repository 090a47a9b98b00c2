//! Bandwidth: `--net-rate in=…,out=…`, in the units of tc(8).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Least and greatest rate in bits per second: a byte a millisecond, and what no link of today reaches.
const BOUNDS: (u64, u64) = (8_000, 1_000_000_000_000);

/// The units of tc(8), greatest first, in bits per second.
const UNITS: [(&str, u64); 5] =
    [("tbit", 1_000_000_000_000), ("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

/// Bits per second: at least 8000, at most 10^12, whole bytes, as the kernel counts. Written as tc(8) writes it, `10mbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u64);

/// A text that is no rate, or one out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate: write a number and bit, kbit, mbit, gbit or tbit, from 8kbit to 1tbit")]
pub struct BadRate(pub String);

impl Rate {
    /// From bits per second.
    ///
    /// # Errors
    /// It is out of bounds.
    pub fn from_bits(bits: u64) -> Result<Self, BadRate> {
        let fits = (BOUNDS.0..=BOUNDS.1).contains(&bits);
        if fits { Ok(Self(bits - bits % 8)) } else { Err(BadRate(format!("{bits}bit"))) }
    }

    /// Bits per second.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Bytes per second, as the kernel counts.
    pub fn bytes(self) -> u64 {
        self.0 / 8
    }

    /// Bytes that may go out at once by a link of this MTU (bytes): what the rate brings in 4 ms (a tick of the slowest
    /// timer), and two whole frames at least, for what is larger than a burst never goes out.
    pub fn burst(self, mtu: u32) -> u32 {
        let frames = 2 * (u64::from(mtu) + FRAME);
        u32::try_from((self.bytes() / 250).max(frames)).unwrap_or(u32::MAX)
    }

    /// Bytes that may wait: what the rate brings within [`LATENCY_MS`], and a burst.
    pub fn limit(self, burst: u32) -> u32 {
        let waiting = self.bytes() * LATENCY_MS / 1000 + u64::from(burst);
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }
}

/// Longest time that a packet waits for its turn beside the time that a burst takes, in milliseconds.
pub const LATENCY_MS: u64 = 50;

/// Bytes around an IP packet on Ethernet: header and a VLAN tag.
const FRAME: u64 = 18;

impl FromStr for Rate {
    type Err = BadRate;
    fn from_str(s: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(s.chars().take(64).collect());
        let lower = s.to_ascii_lowercase();
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, *unit))).unwrap_or((&lower, 1));
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let bits = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)?;
        Self::from_bits(bits).map_err(|_| bad())
    }
}

impl TryFrom<String> for Rate {
    type Error = BadRate;
    fn try_from(s: String) -> Result<Self, BadRate> {
        s.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&UNITS[4]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// How fast a container's interfaces are, each for itself: towards it and from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetRate {
    /// Towards the container; as fast as it goes where none is given.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub inward: Option<Rate>,
    /// From the container; as fast as it goes where none is given.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub outward: Option<Rate>,
}

impl NetRate {
    /// With what another one limits and this one does not.
    pub fn or(self, other: Self) -> Self {
        Self { inward: self.inward.or(other.inward), outward: self.outward.or(other.outward) }
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A text that is no pair of rates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetRate {
    /// Neither direction.
    #[error("{0:?} is neither in=RATE nor out=RATE; write in=10mbit,out=5mbit, or none")]
    Direction(String),
    /// A direction twice.
    #[error("{0} is given twice; give one rate for each direction")]
    Twice(&'static str),
    /// Not a rate.
    #[error(transparent)]
    Rate(#[from] BadRate),
}

impl FromStr for NetRate {
    type Err = BadNetRate;
    /// `in=RATE,out=RATE`, or one of the two; `none` is no limit.
    fn from_str(s: &str) -> Result<Self, BadNetRate> {
        let mut rate = Self::default();
        if s == "none" {
            return Ok(rate);
        }
        for part in s.split(',') {
            let (which, slot, value) = match part.split_once('=') {
                Some(("in", value)) => ("in", &mut rate.inward, value),
                Some(("out", value)) => ("out", &mut rate.outward, value),
                _ => return Err(BadNetRate::Direction(part.chars().take(64).collect())),
            };
            if slot.replace(value.parse()?).is_some() {
                return Err(BadNetRate::Twice(which));
            }
        }
        Ok(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_written_as_tc_does() {
        for (given, bits, shown) in [
            ("10mbit", 10_000_000, "10mbit"),
            ("1Gbit", 1_000_000_000, "1gbit"),
            ("1500kbit", 1_500_000, "1500kbit"),
            ("8000", 8000, "8kbit"),
            ("1tbit", 1_000_000_000_000, "1tbit"),
            ("9999999bit", 9_999_992, "9999992bit"),
        ] {
            let rate: Rate = given.parse().unwrap();
            assert_eq!((rate.bits(), rate.to_string().as_str()), (bits, shown), "{given}");
        }
        for bad in ["", "bit", "-1mbit", "7999", "0", "2tbit", "1.5mbit", "10mbps", "99999999999999999999bit"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pair_of_rates() {
        let pair: NetRate = "in=10mbit,out=5mbit".parse().unwrap();
        assert_eq!(pair.inward.unwrap().bytes(), 1_250_000);
        assert_eq!(serde_json::to_value(pair).unwrap(), serde_json::json!({"in":"10mbit","out":"5mbit"}));
        assert!("none".parse::<NetRate>().unwrap().is_unlimited());
        for bad in ["", "10mbit", "up=1mbit", "in=1mbit,in=2mbit", "in=", "in=1mbit,"] {
            assert!(bad.parse::<NetRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_burst_holds_whole_packets_at_any_rate() {
        for bits in [8_000, 1_000_000, 1_000_000_000, 1_000_000_000_000] {
            let rate = Rate::from_bits(bits).unwrap();
            for mtu in [1500, 9000, 65_535] {
                let burst = rate.burst(mtu);
                assert!(burst >= mtu + 18 && rate.limit(burst) >= burst, "{bits} {mtu}");
            }
        }
    }
}
