//! firewalld, asked by its own command: it speaks D-Bus, and one small thing is asked of it.
//!
//! Bridges are in a zone of ours, and a policy lets that zone's traffic out. Both are kept in firewalld's permanent
//! configuration, like everything that is to outlive its restart; the user sees them with `firewall-cmd --list-all
//! --zone=netmode` and can add to them. What comes in it lets pass of itself: translated ports and replies.

use crate::program::{self, ProgramError};
use netmode_model::IfName;
use std::path::PathBuf;
use std::time::Duration;

/// Our zone.
pub const ZONE: &str = "netmode";
/// Our policy; firewalld wants other names for policies than for zones.
pub const POLICY: &str = "netmode-out";

const PROGRAM: &str = "firewall-cmd";

/// A reload takes as long as its rules; half a second on a plain machine.
const LIMIT: Duration = Duration::from_secs(20);

/// firewalld does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum FirewalldError {
    /// Its command cannot be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It refused.
    #[error("firewall-cmd {words}: {why}")]
    Refused {
        /// What was asked.
        words: String,
        /// Its last words.
        why: String,
    },
    /// It has to read its configuration anew, and would lose what was changed only while it runs.
    #[error(
        "firewalld must be reloaded to know zone {ZONE}, and would lose what was changed without --permanent; \
         run \"firewall-cmd --runtime-to-permanent\" and \"firewall-cmd --reload\""
    )]
    WouldLose,
}

/// A running firewalld.
pub struct Firewalld(PathBuf);

impl Firewalld {
    /// Finds its command.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find() -> Result<Self, FirewalldError> {
        Ok(Self(program::find(PROGRAM)?))
    }

    fn ask(&self, words: &[&str]) -> Result<String, FirewalldError> {
        let mut command = program::command(&self.0);
        command.args(words);
        let output = program::run(command, &[], LIMIT)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(FirewalldError::Refused { words: words.join(" "), why: output.text() })
    }

    /// Whether our zone and policy are there, in what runs or (`--permanent`) in what is written.
    fn knows(&self, of: &[&str]) -> Result<bool, FirewalldError> {
        let has = |what, name| -> Result<bool, FirewalldError> {
            let list = self.ask(&[of, &[what]].concat())?;
            Ok(list.split_whitespace().any(|word| word == name))
        };
        Ok(has("--get-zones", ZONE)? && has("--get-policies", POLICY)?)
    }

    /// Puts bridges into our zone; makes that first, once, and has firewalld read its configuration anew then.
    ///
    /// # Errors
    /// Whatever firewalld says; [`FirewalldError::WouldLose`] if the reload would undo what somebody changed.
    pub fn admit(&self, bridges: &[IfName]) -> Result<(), FirewalldError> {
        let runs = self.knows(&[])?;
        // Asked before anything is written: afterwards the difference would be ours.
        let whole = runs || self.settings(&[])? == self.settings(&["--permanent"])?;
        if !self.knows(&["--permanent"])? {
            self.write()?;
        }
        if !whole {
            return Err(FirewalldError::WouldLose);
        }
        if !runs {
            self.ask(&["--reload"])?;
        }
        let zone = format!("--zone={ZONE}");
        for bridge in bridges {
            let add = format!("--add-interface={bridge}");
            self.ask(&["--permanent", &zone, &add])?;
            self.ask(&[&zone, &add])?;
        }
        Ok(())
    }

    /// Takes bridges that are no more out of our zone. What is not there is no error.
    pub fn forget(&self, bridges: &[IfName]) {
        let zone = format!("--zone={ZONE}");
        for bridge in bridges {
            let remove = format!("--remove-interface={bridge}");
            let _ = self.ask(&["--permanent", &zone, &remove]);
            let _ = self.ask(&[&zone, &remove]);
        }
    }

    /// Zones and policies as text, without what comes and goes by itself.
    fn settings(&self, of: &[&str]) -> Result<String, FirewalldError> {
        let mut text = String::new();
        for what in ["--list-all-zones", "--list-all-policies"] {
            let listed = self.ask(&[of, &[what]].concat())?;
            let lines = listed.lines().filter(|line| !line.trim_start().starts_with("interfaces:"));
            text.extend(lines.map(|line| line.trim_end_matches(" (active)").to_owned() + "\n"));
        }
        Ok(text)
    }

    fn write(&self) -> Result<(), FirewalldError> {
        let (zone, policy) = (format!("--new-zone={ZONE}"), format!("--new-policy={POLICY}"));
        let (of_policy, ingress) = (format!("--policy={POLICY}"), format!("--add-ingress-zone={ZONE}"));
        // It may be there already, half-made or not yet read.
        let _ = self.ask(&["--permanent", &zone]);
        let _ = self.ask(&["--permanent", &policy]);
        for words in [ingress.as_str(), "--add-egress-zone=ANY", "--set-target=ACCEPT"] {
            self.ask(&["--permanent", &of_policy, words])?;
        }
        Ok(())
    }

    /// Takes our zone and policy away, and our bridges out of it. What is not there is no error. What runs keeps both,
    /// with nothing in them, if reading the configuration anew would undo what somebody changed.
    ///
    /// # Errors
    /// Whatever firewalld says.
    pub fn dismiss(&self, bridges: &[IfName]) -> Result<(), FirewalldError> {
        let known = self.ask(&["--permanent", "--get-zones"])?;
        if !known.split_whitespace().any(|zone| zone == ZONE) {
            return Ok(());
        }
        self.forget(bridges);
        let whole = self.settings(&[])? == self.settings(&["--permanent"])?;
        // The policy first: it names the zone.
        let _ = self.ask(&["--permanent", &format!("--delete-policy={POLICY}")]);
        self.ask(&["--permanent", &format!("--delete-zone={ZONE}")])?;
        if whole {
            self.ask(&["--reload"])?;
        }
        Ok(())
    }
}
