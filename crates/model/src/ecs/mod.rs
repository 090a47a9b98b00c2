//! Task definitions of Amazon ECS, as `aws ecs register-task-definition --cli-input-json` takes them and
//! `describe-task-definition` answers them (ECS API reference, RegisterTaskDefinition), and the tasks that run by them.

mod definition;
mod read;
mod task;

pub use definition::*;
pub use read::{BadDefinition, Reading, read};
pub use task::*;
