//! `netmode doctor`: the agent's findings, or what can be seen without it.

use crate::failure::Failure;
use crate::output::Output;
use netmode_client::{Client, ClientError};
use netmode_model::api::{Finding, Level};
use std::path::Path;

/// Prints the findings; the exit status is that of the worst.
pub(crate) fn doctor(client: &Client, output: Output) -> Result<u8, Failure> {
    let findings = match client.doctor() {
        Ok(findings) => findings,
        // It is when the agent is dead that one asks.
        Err(error @ (ClientError::Unreachable { .. } | ClientError::Protocol(_))) => alone(&error),
        Err(error) => return Err(error.into()),
    };
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let row = |finding: &Finding| {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        vec![level.into(), finding.object.clone(), finding.message.clone(), finding.fix.clone().unwrap_or_default()]
    };
    output.listing(&findings, &["LEVEL", "OBJECT", "FOUND", "FIX"], || findings.iter().map(row).collect())?;
    Ok(match worst {
        Level::Ok => 0,
        Level::Warn => 1,
        Level::Fail => 2,
    })
}

/// Without the agent: why it does not answer, and what it needs to run.
fn alone(error: &ClientError) -> Vec<Finding> {
    let (message, fix) = match error {
        ClientError::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            (error.to_string(), "usermod -aG netmode USER")
        }
        ClientError::Unreachable { .. } => (error.to_string(), "systemctl start netmode"),
        _ => (error.to_string(), "systemctl restart netmode"),
    };
    let mut findings = vec![finding(Level::Fail, "agent", message, Some(fix.into()))];
    findings.extend(kernel());
    findings.extend(["runc", "conmon"].map(program));
    findings
}

fn finding(level: Level, object: &str, message: String, fix: Option<String>) -> Finding {
    Finding { level, object: object.into(), message, fix }
}

/// The oldest kernel that netmode runs on.
const FLOOR: (u32, u32) = (5, 15);

fn kernel() -> Option<Finding> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    let (level, fix) = if version >= FLOOR { (Level::Ok, None) } else { (Level::Fail, Some("apt-get upgrade".into())) };
    let floor = format!("{}.{}", FLOOR.0, FLOOR.1);
    Some(finding(level, "kernel", format!("Linux {release}; {floor} or newer is needed"), fix))
}

/// Whether a program is found where the agent would look for it.
fn program(name: &str) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/sbin"].map(|dir| Path::new(dir).into()));
    let found = places.map(|dir| dir.join(name)).find(|file| file.is_file());
    match found {
        Some(file) => finding(Level::Ok, name, file.display().to_string(), None),
        None => finding(Level::Fail, name, "not installed".into(), Some(format!("apt-get install {name}"))),
    }
}
