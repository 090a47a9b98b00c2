//! Jobs in turn, and work that waits until there are none.

use super::pool::Job;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Where the threads take their jobs from.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    running: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.more.notify_one();
    }

    /// The next job, counted as running until it is [done](Queue::done); `None` when there will be none.
    ///
    /// `idle` is for work that can wait, and tells whether there is more of it. It is not begun while a job runs: both
    /// would want the kernel's one lock for links (RTNL), and somebody waits for the job.
    pub(super) fn next(&self, mut idle: impl FnMut() -> bool) -> Option<Job> {
        let mut nothing_to_do = false;
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.running += 1;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            if state.running == 0 && !nothing_to_do {
                drop(state);
                nothing_to_do = !idle();
                state = self.lock();
            } else {
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    pub(super) fn done(&self) {
        self.lock().running -= 1;
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }
}
