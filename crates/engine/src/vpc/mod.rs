//! awsvpc mode: subnets of a VPC, interfaces that stand in for ENIs, and what is open to them.
//!
//! A subnet is a [`Network`](crate::Network) with a [`Subnet`] part: what gives out addresses, records endpoints and
//! compares with the kernel is the same for both. [`wish`] makes one from a request, [`standin`] chooses what stands in
//! for an ENI, [`plan`] says what a subnet and an interface on it are made of.

mod changing;
mod group_error;
pub mod groups;
mod guarding;
mod lan;
pub mod plan;
pub mod standin;
mod subnet;
mod subnets;
pub mod wall;
pub mod wish;

pub use changing::Fresh;
pub use group_error::GroupError;
pub use groups::{Group, Groups};
pub use guarding::host_walls;
pub(crate) use lan::Asked;
pub use subnet::{Eni, Subnet};
pub use subnets::{Surveyed, VpcError, vpc_id};
