//! Values of flags: text to type, and what is wrong with it in one sentence.

use netmode_model::PortRange;
use std::fmt;

/// `--memory 512m`: bytes; suffixes b, k, m, g are powers of 1024, as docker's.
pub(crate) fn size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[number.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: i64 = number.parse().ok().filter(|n| digits && *n > 0)?;
    number.checked_mul(1 << shift)
}

/// `--cpus 1.5`.
pub(crate) fn cpus(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|n: &f64| plain && n.is_finite() && *n > 0.0)
}

/// The weights that cgroups(7) takes.
pub(crate) fn cpu_shares(text: &str) -> Option<u64> {
    text.parse().ok().filter(|n| (2..=262_144).contains(n))
}

/// `--pids-limit 100`, -1 for no limit.
pub(crate) fn pids_limit(text: &str) -> Option<i64> {
    text.parse().ok().filter(|n| *n == -1 || *n > 0)
}

/// `--expose 80`, `8000-8010/udp`.
pub(crate) fn expose(text: &str) -> Result<(), String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(format!("unknown protocol {protocol:?}: choose tcp, udp or sctp"));
    }
    ports.parse::<PortRange>().map(|_| ()).map_err(|e| e.to_string())
}

/// `--add-host NAME:ADDRESS`, as the API writes it: docker's `NAME=ADDRESS` and `[v6]` are taken, too.
pub(crate) fn add_host(text: &str) -> Option<String> {
    let (name, address) = text.split_once(['=', ':']).filter(|(name, _)| !name.is_empty())?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let known = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    let visible = name.chars().all(|c| c.is_ascii_graphic() && c != '#');
    (known && visible).then(|| format!("{name}:{address}"))
}

/// `--ulimit nofile=1024:2048`; -1 and `unlimited` are no limit.
pub(crate) fn ulimit(text: &str) -> bool {
    let Some((name, limits)) = text.split_once('=') else { return false };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |n: &str| match n {
        "-1" | "unlimited" => Some(u64::MAX),
        n => n.parse().ok(),
    };
    let known = name.bytes().all(|b| b.is_ascii_lowercase()) && !name.is_empty();
    matches!((known, number(soft), number(hard)), (true, Some(soft), Some(hard)) if soft <= hard)
}

/// A name that every shell takes for an environment variable.
pub(crate) fn variable(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `KEY=VALUE` with a key.
pub(crate) fn key_value(text: &str) -> Option<(String, String)> {
    text.split_once('=').filter(|(key, _)| !key.is_empty()).map(|(key, value)| (key.into(), value.into()))
}

/// The signal by name, with or without SIG, or number; `None` if there is no such signal.
pub(crate) fn signal(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number).then(|| number.to_string());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |digits: &str| digits.parse::<u8>().is_ok_and(|n| n <= 30);
    let known = format!("SIG{name}").parse::<nix::sys::signal::Signal>().is_ok()
        || ["RTMIN+", "RTMAX-"].iter().any(|p| name.strip_prefix(p).is_some_and(real_time))
        || matches!(name, "RTMIN" | "RTMAX");
    known.then(|| name.to_string())
}

/// Why a value of a flag is refused.
pub(crate) fn refused(flag: &str, value: impl fmt::Debug, because: impl fmt::Display) -> String {
    format!("{flag} {value:?} is not allowed: {because}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("1g"), Some(1 << 30));
        assert_eq!(size("512m"), Some(512 << 20));
        assert_eq!(size("64KB"), Some(64 << 10));
        assert_eq!(size("4096"), Some(4096));
        for bad in ["", "g", "1.5g", "-1", "0", "1t", "9999999999g", "1 g", "+1"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_and_names_are_checked() {
        assert_eq!(cpus("1.5"), Some(1.5));
        for bad in ["", "0", "-1", "inf", "nan", "1e3", "."] {
            assert_eq!(cpus(bad), None, "{bad}");
        }
        assert_eq!((pids_limit("-1"), pids_limit("0"), pids_limit("9")), (Some(-1), None, Some(9)));
        assert!(ulimit("nofile=1024") && ulimit("nofile=1024:2048") && ulimit("core=-1"));
        assert!(!ulimit("nofile") && !ulimit("nofile=2:1") && !ulimit("=1") && !ulimit("nofile=x"));
        assert!(variable("PORT") && variable("_x1") && !variable("1x") && !variable("A=B") && !variable(""));
        assert_eq!(signal("term").as_deref(), Some("TERM"));
        assert_eq!(signal("SIGUSR1").as_deref(), Some("USR1"));
        assert_eq!(signal("15").as_deref(), Some("15"));
        assert_eq!(signal("RTMIN+3").as_deref(), Some("RTMIN+3"));
        for bad in ["", "0", "65", "NOPE", "SIG", "TERM;x"] {
            assert_eq!(signal(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_are_written_as_the_api_has_them() {
        assert_eq!(add_host("db:192.0.2.1").as_deref(), Some("db:192.0.2.1"));
        assert_eq!(add_host("db=[2001:db8::1]").as_deref(), Some("db:2001:db8::1"));
        assert_eq!(add_host("db:2001:db8::1").as_deref(), Some("db:2001:db8::1"));
        assert_eq!(add_host("gw:host-gateway").as_deref(), Some("gw:host-gateway"));
        for bad in ["db", ":192.0.2.1", "db:x", "a b:192.0.2.1", "a\n:192.0.2.1"] {
            assert_eq!(add_host(bad), None, "{bad}");
        }
    }
}
