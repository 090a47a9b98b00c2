//! Threads that may enter namespaces.

use super::Registry;
use crate::route::RouteSocket;
use crate::wire::Refused;
use netmode_model::{NetnsName, Place};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// A few threads that take jobs from one queue.
pub(crate) struct Pool {
    jobs: mpsc::Sender<Job>,
}

/// What a job works with: a thread that may stand in another namespace, with a netlink socket of the host
/// and one of the namespace it stands in.
pub(crate) struct Worker {
    host: Arc<OwnedFd>,
    host_route: RouteSocket,
    visit: Option<(NetnsName, RouteSocket)>,
    pub(crate) registry: Arc<Registry>,
}

impl Pool {
    /// Starts the threads in the namespace of the caller, which is "the host" from now on.
    pub(crate) fn start(threads: usize, registry: &Arc<Registry>) -> io::Result<Self> {
        let host = Arc::new(open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..threads {
            let worker = Worker {
                host: Arc::clone(&host),
                host_route: RouteSocket::open()?,
                visit: None,
                registry: Arc::clone(registry),
            };
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("netns-{n}")).spawn(move || worker.serve(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Has a thread of the pool do something and waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        self.begin(job).wait()
    }

    /// As [`Pool::run`], but without waiting, so that several threads can work for one caller.
    pub(crate) fn begin<T: Send + 'static>(&self, job: impl FnOnce(&mut Worker) -> T + Send + 'static) -> Pending<T> {
        let (done, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |worker| {
            let _ = done.send(job(worker));
        });
        // A failure to send shows as a result that never comes.
        let _ = self.jobs.send(job);
        Pending(result)
    }
}

/// The result of a job that may still run.
pub(crate) struct Pending<T>(mpsc::Receiver<T>);

impl<T> Pending<T> {
    pub(crate) fn wait(self) -> Result<T, Refused> {
        self.0.recv().map_err(|_| Refused::new(Errno::EIO, "the namespace worker broke off"))
    }
}

impl Worker {
    fn serve(mut self, queue: &Mutex<mpsc::Receiver<Job>>) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else { return };
            if catch_unwind(AssertUnwindSafe(|| job(&mut self))).is_err() {
                tracing::error!("a step on the kernel panicked; its request fails");
            }
            self.leave();
        }
    }

    /// The route socket of a place. The host's works from anywhere, so nothing is left for it.
    pub(crate) fn route(&mut self, at: &Place) -> Result<&mut RouteSocket, Refused> {
        match at {
            Place::Host => Ok(&mut self.host_route),
            Place::Netns(name) => self.enter(name),
        }
    }

    /// Has the thread itself stand at a place, for what has no socket (`/proc/sys/net`, new sockets).
    pub(crate) fn stand(&mut self, at: &Place) -> Result<(), Refused> {
        match at {
            Place::Host => {
                self.leave();
                Ok(())
            }
            Place::Netns(name) => self.enter(name).map(|_| ()),
        }
    }

    /// A socket is opened for each visit: 10 µs, where one kept per namespace would double the descriptors.
    fn enter(&mut self, name: &NetnsName) -> Result<&mut RouteSocket, Refused> {
        if self.visit.as_ref().is_none_or(|(here, _)| here != name) {
            let entry = self.registry.get(name)?;
            self.leave();
            setns(&entry.fd, CloneFlags::CLONE_NEWNET)?;
            self.arrive(name)?;
        }
        match &mut self.visit {
            Some((_, socket)) => Ok(socket),
            None => Err(Errno::ENOENT.into()),
        }
    }

    /// Makes a namespace, pins it, and stays there: what comes next mostly happens in it.
    pub(crate) fn create(&mut self, name: &NetnsName) -> Result<(), Refused> {
        self.leave();
        unshare(CloneFlags::CLONE_NEWNET)?;
        let pinned = self.registry.pin(name).and_then(|()| self.arrive(name));
        if pinned.is_err() {
            self.home();
        }
        pinned
    }

    /// Does something in a namespace that nobody else sees and that is gone afterwards.
    pub(crate) fn scratch<T>(&mut self, job: impl FnOnce(&mut RouteSocket) -> T) -> Result<T, Refused> {
        self.leave();
        unshare(CloneFlags::CLONE_NEWNET)?;
        let result = RouteSocket::open().map(|mut route| job(&mut route));
        self.home();
        Ok(result?)
    }

    fn arrive(&mut self, name: &NetnsName) -> Result<(), Refused> {
        match RouteSocket::open() {
            Ok(socket) => {
                self.visit = Some((name.clone(), socket));
                Ok(())
            }
            Err(e) => {
                self.home();
                Err(e.into())
            }
        }
    }

    /// Goes back to the host, if elsewhere.
    pub(crate) fn leave(&mut self) {
        if self.visit.take().is_some() {
            self.home();
        }
    }

    fn home(&self) {
        if let Err(errno) = setns(&*self.host, CloneFlags::CLONE_NEWNET) {
            // A thread that takes a container's namespace for the host must not do anything any more.
            tracing::error!(%errno, "cannot return to the host's network namespace");
            std::process::abort();
        }
    }
}
