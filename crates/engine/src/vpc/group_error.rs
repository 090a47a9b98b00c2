//! Why something of security groups cannot be, in the words of EC2 where they are known.

use crate::store::StoreError;
use ipnetwork::IpNetwork;
use netmode_model::group::{Direction, Traffic};
use netmode_model::op::OpError;
use netmode_model::{ApiError, Code};

/// Why a group could not be made, changed or removed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is none.
    #[error("The security group {0:?} does not exist; \"netmode sg ls\" lists the groups")]
    NotFound(String),
    /// There is none.
    #[error("The prefix list {0:?} does not exist; \"netmode sg lists\" shows them")]
    NoList(String),
    /// A name that cannot be.
    #[error(
        "the name {0:?} cannot be that of a security group: 1 to 255 characters of a-z, A-Z, 0-9, spaces and ._-:/()#,@[]+=&;{{}}!$*, not beginning with sg-"
    )]
    BadName(String),
    /// A text that is too long.
    #[error("a description has at most 255 characters; shorten it")]
    Description,
    /// The name is taken.
    #[error("The security group {0:?} already exists; choose another name")]
    Duplicate(String),
    /// The default group stays.
    #[error("the specified group: \"{0}\" name: \"default\" cannot be deleted by a user")]
    CannotDelete(String),
    /// Somebody carries or names it.
    #[error("resource {id} has a dependent object: {what}; end or change that first")]
    InUse {
        /// The group or list.
        id: String,
        /// Who.
        what: String,
    },
    /// No more rules fit.
    #[error("The maximum number of rules per security group has been reached: {group} has 60 of {direction}")]
    Full {
        /// The group.
        group: String,
        /// Which way.
        direction: Direction,
    },
    /// The rule is there.
    #[error("the specified rule \"peer: {peer}, {traffic}, ALLOW\" already exists in {group}")]
    RuleThere {
        /// The group.
        group: String,
        /// The other end.
        peer: String,
        /// What.
        traffic: Traffic,
    },
    /// The rule is not there.
    #[error("The specified rule does not exist in this security group: {0}; \"netmode sg show\" lists its rules")]
    NoRule(String),
    /// Nobody is named.
    #[error("a rule needs somebody: give --cidr, --group or --prefix-list")]
    NoPeer,
    /// Bits behind the length.
    #[error("CIDR block {given} is malformed: it has bits set behind its length; write {meant}")]
    HostBits {
        /// What was given.
        given: IpNetwork,
        /// What it may mean.
        meant: IpNetwork,
    },
    /// Too many of a task.
    #[error("these groups have {0} rules; those of a task have at most 1000 in all; name fewer groups")]
    TooMany(usize),
    /// The kernel refused.
    #[error("the kernel refused a step, and those before it were taken back: {0}")]
    Kernel(#[from] OpError),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let code = match &error {
            GroupError::NotFound(_) | GroupError::NoList(_) | GroupError::NoRule(_) => Code::NotFound,
            GroupError::Duplicate(_) | GroupError::RuleThere { .. } => Code::NameTaken,
            GroupError::CannotDelete(_) => Code::Forbidden,
            GroupError::InUse { .. } => Code::WrongState,
            GroupError::Full { .. } | GroupError::TooMany(_) => Code::Limit,
            GroupError::Kernel(_) => Code::Kernel,
            GroupError::Store(_) => Code::State,
            _ => Code::Invalid,
        };
        // What scripts for AWS look for.
        let prefix = if matches!(error, GroupError::CannotDelete(_)) { "Client.CannotDelete: " } else { "" };
        Self::new(code, format!("{prefix}{error}"))
    }
}
