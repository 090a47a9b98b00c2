//! The agent: what all requests share.

use crate::config::Config;
use crate::registry::{Registry, Task};
use crate::task::TaskRecord;
use netmode_container::Containers;
use netmode_engine::store::{self, Kind, Store};
use netmode_engine::Engine;
use netmode_kernel::Kernel;
use netmode_model::{ApiError, Code};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

/// What all requests share.
pub struct Agent {
    /// The configuration in force; SIGHUP replaces it.
    pub config: RwLock<Config>,
    /// Where the configuration is.
    pub config_path: PathBuf,
    /// Decisions.
    pub engine: Arc<Engine>,
    /// Linux.
    pub kernel: Arc<Kernel>,
    /// Containers.
    pub containers: Arc<Containers>,
    /// Tasks.
    pub tasks: Registry,
    /// Records.
    pub store: Arc<dyn Store>,
    /// Inode number of the namespace that is the host.
    pub netns: u64,
}

impl Agent {
    /// Changes a task's record, on disk first.
    ///
    /// # Errors
    /// The record could not be written; nothing has changed.
    pub fn update(&self, task: &Task, change: impl FnOnce(&mut TaskRecord)) -> Result<TaskRecord, ApiError> {
        let mut record = task.now();
        change(&mut record);
        self.write(&record)?;
        task.record.send_replace(record.clone());
        Ok(record)
    }

    /// Writes a task's record.
    ///
    /// # Errors
    /// The record could not be written.
    pub fn write(&self, record: &TaskRecord) -> Result<(), ApiError> {
        store::put(&*self.store, Kind::Task, &record.id.to_string(), record)
            .map_err(|e| ApiError::new(Code::State, e.to_string()))
    }

    /// The process of a task's container, 0 if there is none.
    pub fn pid(&self, record: &TaskRecord) -> i32 {
        if record.stopped() { 0 } else { self.containers.pid(record.id).unwrap_or(0) }
    }
}

/// Runs what waits for the kernel or for a program on a thread made for waiting.
///
/// # Errors
/// The work panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ApiError::new(Code::Unavailable, format!("the agent failed within a request: {e}")))
}
