//! On whose behalf something is done. It travels with the work: into other tasks by [`spawn`], to blocking threads by
//! [`carry`].

use netmode_model::event::Text;
use std::future::Future;
use tokio::task::JoinHandle;

tokio::task_local! {
    static BY: By;
}

/// Who does something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// `uid` and a number, `agent`, or `kernel`.
    pub actor: Text,
    /// The command that asked for it, or what happened before.
    pub cause: Text,
}

impl By {
    /// Somebody who asked for it.
    pub fn caller(uid: u32, cause: impl Into<Text>) -> Self {
        Self { actor: format!("uid {uid}").into(), cause: cause.into() }
    }

    /// This agent by itself.
    pub fn agent(cause: impl Into<Text>) -> Self {
        Self { actor: "agent".into(), cause: cause.into() }
    }

    /// What the kernel has told.
    pub fn kernel(cause: impl Into<Text>) -> Self {
        Self { actor: "kernel".into(), cause: cause.into() }
    }

    /// Of the work at hand.
    pub fn current() -> Self {
        carried().unwrap_or_else(|| Self::agent(""))
    }
}

/// Of the work at hand, where it is said.
fn carried() -> Option<By> {
    BY.try_with(By::clone).ok()
}

/// Does something on somebody's behalf.
pub async fn scope<F: Future>(by: By, work: F) -> F::Output {
    BY.scope(by, work).await
}

/// The same, at once.
pub fn within<T>(by: By, work: impl FnOnce() -> T) -> T {
    BY.sync_scope(by, work)
}

/// Work that is done elsewhere on the same behalf.
pub fn carry<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let by = carried();
    move || match by {
        Some(by) => within(by, work),
        None => work(),
    }
}

/// As [`tokio::spawn`], on the same behalf.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match carried() {
        Some(by) => tokio::spawn(scope(by, work)),
        None => tokio::spawn(work),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_travels_with_the_work() {
        let asked = By::caller(1000, "netmode run");
        let seen = scope(asked.clone(), async {
            let elsewhere = spawn(async { tokio::task::spawn_blocking(carry(By::current)).await });
            elsewhere.await.unwrap().unwrap()
        });
        assert_eq!(seen.await, asked);
        assert_eq!(By::current(), By::agent(""));
    }
}
