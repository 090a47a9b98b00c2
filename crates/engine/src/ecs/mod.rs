//! Task definitions: what may not be ([`validate`]), in which order containers come ([`order`]), and what each container
//! is on this machine ([`compose`]). All of it decided from the definition alone.

pub mod compose;
pub mod order;
pub mod profile;
pub mod validate;

pub use compose::{Composed, Member};
pub use validate::Invalid;
