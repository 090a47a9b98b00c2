//! Threads that may enter namespaces.

use super::Registry;
use super::proc::Proc;
use super::queue::Queue;
use super::spares::{Settings, Spares};
use crate::nft::Owner;
use crate::route::RouteSocket;
use crate::sysctl::Variables;
use crate::wire::{Netlink, Refused};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netmode_model::{NetnsName, Place};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

pub(super) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// A few threads that take jobs from one queue.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: usize,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What a job works with: a thread that may stand in another namespace, with a netlink socket of the host
/// and one of the namespace it stands in.
pub(crate) struct Worker {
    host: Arc<OwnedFd>,
    host_route: RouteSocket,
    host_variables: Variables,
    proc: Proc,
    visit: Option<Visit>,
    away: Standing,
    spares: Arc<Spares>,
    pub(crate) registry: Arc<Registry>,
}

/// The namespace that a job last had to do with.
struct Visit {
    name: NetnsName,
    /// Works from wherever the thread stands.
    route: Option<RouteSocket>,
    variables: Option<Variables>,
}

/// Where a thread stands.
enum Standing {
    Host,
    In(NetnsName),
    /// In a namespace without a name, made for a trial.
    Nowhere,
}

impl Pool {
    /// Starts the threads in the namespace of the caller, which is "the host" from now on.
    pub(crate) fn start(threads: usize, registry: &Arc<Registry>) -> io::Result<Self> {
        let host = Arc::new(open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
        let queue = Arc::new(Queue::default());
        let spares = Arc::new(Spares::default());
        for n in 0..threads {
            let mut proc = Proc::open()?;
            let worker = Worker {
                host: Arc::clone(&host),
                host_route: RouteSocket::open()?,
                host_variables: Variables::open(proc.look()).map_err(|e| io::Error::from_raw_os_error(e.errno))?,
                proc,
                visit: None,
                away: Standing::Host,
                spares: Arc::clone(&spares),
                registry: Arc::clone(registry),
            };
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("netns-{n}")).spawn(move || worker.serve(&queue, threads))?;
        }
        Ok(Self { queue, threads })
    }

    /// How many jobs can run at once.
    pub(crate) fn threads(&self) -> usize {
        self.threads
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
        self.queue.put(job);
        Pending(result)
    }
}

impl Pool {
    /// Has the threads do something for each of many, and gives what came of it, in any order.
    ///
    /// In small portions: whoever attaches meanwhile waits for one of them, not for all.
    pub(crate) fn visit<A: Clone + Send + 'static, T: Send + 'static>(
        &self,
        all: &[A],
        one: impl Fn(&mut Worker, &A) -> Option<T> + Clone + Send + 'static,
    ) -> Vec<T> {
        let begin = |some: &[A]| {
            let (some, one) = (some.to_vec(), one.clone());
            self.begin(move |worker| some.iter().filter_map(|each| one(worker, each)).collect::<Vec<T>>())
        };
        let mut found = Vec::new();
        for wave in all.chunks(PORTION * self.threads) {
            let pending: Vec<_> = wave.chunks(PORTION).map(begin).collect();
            found.extend(pending.into_iter().filter_map(|p| p.wait().ok()).flatten());
        }
        found
    }
}

/// Namespaces that a thread visits without looking for other work: about a millisecond.
const PORTION: usize = 16;

/// The result of a job that may still run.
pub(crate) struct Pending<T>(mpsc::Receiver<T>);

impl<T> Pending<T> {
    pub(crate) fn wait(self) -> Result<T, Refused> {
        self.0.recv().map_err(|_| Refused::new(Errno::EIO, "the namespace worker broke off"))
    }
}

impl Worker {
    fn serve(mut self, queue: &Queue, spares: usize) {
        while let Some(job) = queue.next(|| self.stock(spares)) {
            if catch_unwind(AssertUnwindSafe(|| job(&mut self))).is_err() {
                tracing::error!("a step on the kernel panicked; its request fails");
            }
            self.leave();
            self.proc.renew();
            queue.done();
        }
    }

    /// The route socket of a place. It works from wherever the thread stands.
    ///
    /// A socket is opened for each visit: 10 µs, where one kept per namespace would double the descriptors.
    pub(crate) fn route(&mut self, at: &Place) -> Result<&mut RouteSocket, Refused> {
        let Place::Netns(name) = at else { return Ok(&mut self.host_route) };
        if self.visit(name).route.is_none() {
            self.go(name)?;
            self.visit(name).route = Some(RouteSocket::for_a_visit()?);
        }
        self.visit(name).route.as_mut().ok_or(Errno::EBADF.into())
    }

    /// A socket that writes tables of a place, to be kept; the thread stands there.
    pub(crate) fn tables(&mut self, at: &Place) -> Result<Owner, Refused> {
        self.stand(at)?;
        Owner::open(None).map_err(Refused::from)
    }

    /// A netfilter socket of a place; the thread stands there.
    pub(crate) fn netfilter(&mut self, at: &Place) -> Result<Netlink, Refused> {
        self.stand(at)?;
        Netlink::open(NETLINK_NETFILTER).map_err(Refused::from)
    }

    /// Has the thread stand at a place until the job's end.
    pub(crate) fn stand(&mut self, at: &Place) -> Result<(), Refused> {
        match at {
            Place::Netns(name) => self.go(name),
            Place::Host => {
                self.home();
                Ok(())
            }
        }
    }

    /// A descriptor of a place's namespace.
    pub(crate) fn descriptor(&self, at: &Place) -> Result<OwnedFd, Refused> {
        let fd = match at {
            Place::Host => self.host.try_clone(),
            Place::Netns(name) => self.registry.get(name)?.fd.try_clone(),
        };
        fd.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)).into())
    }

    /// The network variables of a place; the thread stands there.
    pub(crate) fn variables(&mut self, at: &Place) -> Result<&Variables, Refused> {
        let Place::Netns(name) = at else {
            self.home();
            return Ok(&self.host_variables);
        };
        self.go(name)?;
        if self.visit(name).variables.is_none() {
            let variables = Variables::open(self.proc.look())?;
            self.visit(name).variables = Some(variables);
        }
        self.visit(name).variables.as_ref().ok_or(Errno::EBADF.into())
    }

    /// What is known of a namespace; what was known of another one is forgotten.
    fn visit(&mut self, name: &NetnsName) -> &mut Visit {
        let visit = self.visit.take().filter(|visit| visit.name == *name);
        self.visit.insert(visit.unwrap_or_else(|| Visit { name: name.clone(), route: None, variables: None }))
    }

    fn go(&mut self, name: &NetnsName) -> Result<(), Refused> {
        if !matches!(&self.away, Standing::In(here) if here == name) {
            let entry = self.registry.get(name)?;
            setns(&entry.fd, CloneFlags::CLONE_NEWNET)?;
            self.away = Standing::In(name.clone());
        }
        Ok(())
    }

    /// Makes a namespace for later if there are fewer than so many. A kernel that refuses is asked again by the
    /// request that needs one, which tells.
    ///
    /// Tells whether it made one.
    fn stock(&mut self, count: usize) -> bool {
        let Some(variables) = self.spares.wanted(count) else { return false };
        let made = self
            .fresh(&variables)
            .and_then(|()| Ok(open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?));
        self.home();
        made.map(|spare| self.spares.add(spare, &variables)).is_ok()
    }

    /// Goes into a new namespace with `lo` up and these variables.
    fn fresh(&mut self, variables: &Settings) -> Result<(), Refused> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        self.away = Standing::Nowhere;
        RouteSocket::for_a_visit()?.loopback_up()?;
        if !variables.is_empty() {
            let there = Variables::open(self.proc.look())?;
            variables.iter().try_for_each(|(key, value)| there.write(key, value))?;
        }
        Ok(())
    }

    /// Makes a namespace, pins it, and stays there: what comes next mostly happens in it.
    pub(crate) fn create(&mut self, name: &NetnsName, variables: &Settings) -> Result<(), Refused> {
        self.leave();
        let made = match self.spares.take(variables) {
            Some(spare) => setns(&spare, CloneFlags::CLONE_NEWNET).map_err(Refused::from),
            None => self.fresh(variables),
        };
        if made.is_err() {
            self.home();
            return made;
        }
        self.away = Standing::In(name.clone());
        let pinned = self.registry.pin(name);
        if pinned.is_err() {
            self.home();
        }
        pinned
    }

    /// Does something in a namespace that nobody else sees and that is gone afterwards.
    pub(crate) fn scratch<T>(&mut self, job: impl FnOnce(&mut RouteSocket) -> T) -> Result<T, Refused> {
        self.leave();
        unshare(CloneFlags::CLONE_NEWNET)?;
        self.away = Standing::Nowhere;
        let result = RouteSocket::for_a_visit().map(|mut route| job(&mut route));
        self.home();
        Ok(result?)
    }

    /// Keeps nothing of a namespace and goes back to the host.
    pub(crate) fn leave(&mut self) {
        self.visit = None;
        self.home();
    }

    fn home(&mut self) {
        if matches!(self.away, Standing::Host) {
            return;
        }
        if let Err(errno) = setns(&*self.host, CloneFlags::CLONE_NEWNET) {
            // A thread that takes a container's namespace for the host must not do anything any more.
            tracing::error!(%errno, "cannot return to the host's network namespace");
            std::process::abort();
        }
        self.away = Standing::Host;
    }
}
