//! `netmoded`: the agent. It owns namespaces, links, addresses, the firewall table and port reservations.
#![forbid(unsafe_code)]

mod activation;
mod admit;
mod agent;
mod api;
mod attach;
mod beside;
mod clock;
mod cni;
mod connect;
mod doctor;
mod ecs;
mod events;
mod exposed;
mod flowlogs;
mod follow;
mod foreign;
mod forwarding;
mod http;
mod identity;
mod images;
mod instance;
mod join;
mod legacy;
mod life;
mod local_services;
mod log;
mod make;
mod mended;
mod metadata;
mod metrics;
mod names;
mod open_files;
mod reconcile;
mod recover;
mod registry;
mod relay;
mod reset;
mod restart;
mod seats;
mod socket;
mod startup;
mod stats;
mod stop;
mod task;
mod update;
mod vpc;

use activation::Activation;
use agent::Agent;
use anyhow::Context;
use clap::Parser;
use legacy::Legacy;
use log::{LogFilter, LogFormat};
// The rest of the agent knows them as its own.
use netmode_agent::config::{self, Config};
use netmode_container::Containers;
use netmode_kernel::{Kernel, KernelConfig};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// The agent of netmode. The network namespace it is started in is "the host".
#[derive(Debug, Parser)]
#[command(name = "netmoded", version)]
struct Args {
    /// Configuration file; drop-ins are read from netmode.d beside it.
    #[arg(long, default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Unix socket of the API.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Directory of what dies with the machine.
    #[arg(long, default_value = "/run/netmode")]
    run_dir: PathBuf,
    /// Directory of what outlives a reboot.
    #[arg(long, default_value = "/var/lib/netmode")]
    state_dir: PathBuf,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Print the OpenAPI document and end.
    #[arg(long, hide = true)]
    print_openapi: bool,
    /// Print the man page and end.
    #[arg(long, hide = true)]
    print_man: bool,
    /// Hold standard input and output open for the agent of a record, and do nothing else.
    #[arg(long, hide = true, value_name = "RECORD")]
    keep: Option<PathBuf>,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    if args.print_openapi {
        print!("{}", api::openapi::text());
        return std::process::ExitCode::SUCCESS;
    }
    if args.keep.is_some() {
        // By another name than the agent's, so that whoever ends that by name leaves this alone.
        let _ = nix::sys::prctl::set_name(c"netmode-keep");
        loop {
            std::thread::park();
        }
    }
    if args.print_man {
        let page = clap_mangen::Man::new(<Args as clap::CommandFactory>::command()).section("8");
        return match page.render(&mut std::io::stdout()) {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(_) => std::process::ExitCode::FAILURE,
        };
    }
    let log = LogFilter::start(args.log_format);
    match run(args, log) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netmoded: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: Args, log: LogFilter) -> anyhow::Result<()> {
    netmode_kernel::share_arenas();
    let open_files = open_files::raise();
    let mut activation = Activation::from_env();
    let config = Config::load(&args.config)?;
    let netns = netmode_kernel::own_inode().context("cannot read the agent's own network namespace")?;
    let path = args.socket.clone().unwrap_or_else(|| args.run_dir.join("netmode.sock"));
    let lock = socket::lock(&args.run_dir, netns)?;
    let (listener, own_socket) =
        match activation.take_listener().context("cannot use the socket that was handed over")? {
            Some(listener) => (listener, None),
            None => (socket::listen(&path, &config.api.group)?, Some(path)),
        };
    let legacy = Legacy::find(&mut activation, &args.run_dir, netns).context("cannot keep sockets for a successor")?;
    let kernel = Arc::new(Kernel::open(KernelConfig::default(), &legacy.inherited)?);
    let started = startup::start(&config, &kernel, &legacy, &args.run_dir, &args.state_dir)?;
    let containers = Arc::new(Containers::new(netmode_container::Config {
        runtime: config.container.runtime.clone(),
        conmon: config.container.conmon.clone(),
        skopeo: config.container.skopeo.clone(),
        umoci: config.container.umoci.clone(),
        seccomp_profile: config.container.seccomp.clone(),
        open_files,
        run_dir: args.run_dir.clone(),
        state_dir: args.state_dir.clone(),
        ..netmode_container::Config::default()
    })?);
    let dns = config.dns.clone();
    let flowlogs = flowlogs::FlowLogs::new(kernel.clone());
    let agent = Arc::new(Agent {
        config: RwLock::new(config),
        config_path: args.config,
        engine: started.engine,
        linux: started.linux,
        kernel,
        containers,
        tasks: registry::Registry::default(),
        ipam: cni::Ipam::new(clock::boot_id().context("cannot read the id of this boot")?),
        busy: foreign::Busy::default(),
        vpc: vpc::Kept::default(),
        events: events::Events::new(),
        ecs: ecs::Tasks::default(),
        services: ecs::service::Services::default(),
        instance: instance::Instance::default(),
        images: tokio::sync::RwLock::default(),
        names: names::Names::new(&dns),
        flowlogs,
        seats: seats::Seats::default(),
        metrics: metrics::Metrics::default(),
        metadata: metadata::OnHost::default(),
        relays: relay::Relays::default(),
        store: started.store,
        forwarding: started.forwarding,
        beside: beside::Beside::default(),
        legacy: legacy.entrust(),
        netns,
        log,
        started_at: clock::now(),
        run_dir: args.run_dir,
        state_dir: args.state_dir,
        ending: reset::Ending::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(agent.clone(), listener));
    // A reset leaves nothing; a socket of systemd's is systemd's.
    if agent.ending.begun()
        && let Some(path) = own_socket
    {
        let _ = std::fs::remove_file(path);
    }
    // Requests that wait for a container would keep the runtime from ending.
    runtime.shutdown_background();
    drop(lock);
    ended
}

async fn serve(agent: Arc<Agent>, listener: std::os::unix::net::UnixListener) -> anyhow::Result<()> {
    // Before the manager is told that the agent is ready and may be asked to read its configuration anew.
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    follow::watch(&agent)?;
    for endpoint in agent.engine.endpoints() {
        agent.relays.begin(&agent.engine, endpoint.id);
    }
    events::scope(events::By::agent("agent start"), go_on(&agent)).await?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let service = api::router(agent.clone()).into_make_service_with_connect_info::<api::Peer>();
    let server = tokio::spawn(async move { axum::serve(api::Door::new(listener), service).await });
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    vpc::stand_again(&agent);
    vpc::look_for_lost(&agent);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                reload(&agent);
                beside::begin(&agent);
            }
            () = agent.ending.come() => break,
        }
    }
    // Nothing that flow logs have gathered is lost.
    let shared = agent.clone();
    let _ = agent::blocking(move || shared.flowlogs.close_all()).await;
    // Containers, links and ports stay; a successor adopts them.
    if agent.engine.endpoints().is_empty() {
        agent.legacy.end();
    }
    tracing::info!("ends; containers and their networks stay");
    server.abort();
    // Never dropped: what is left for a successor would be taken out of the queue with the endpoints.
    std::mem::forget(agent);
    Ok(())
}

/// Goes on with what agents before this one had begun.
async fn go_on(agent: &Arc<Agent>) -> anyhow::Result<()> {
    instance::load(agent)?;
    ecs::load(agent)?;
    recover::tasks(agent).await?;
    names::begin_all(agent);
    metadata::go_on(agent);
    flowlogs::load(agent)?;
    agent.names.serve_host(&dns_of(agent)).context("cannot answer where \"host\" of the section [dns] says")?;
    let metrics_at = agent.config.read().unwrap_or_else(PoisonError::into_inner).metrics.listen;
    metrics::serve(agent, metrics_at).context("cannot answer where \"listen\" of the section [metrics] says")?;
    restart::all(agent);
    ecs::go_on(agent);
    ecs::service::load(agent)?;
    Ok(())
}

fn dns_of(agent: &Agent) -> netmode_agent::config::Dns {
    agent.config.read().unwrap_or_else(PoisonError::into_inner).dns.clone()
}

fn reload(agent: &Agent) {
    match Config::load(&agent.config_path) {
        Ok(config) => {
            *agent.config.write().unwrap_or_else(PoisonError::into_inner) = config;
            tracing::info!(
                "configuration read anew; all but [api] and \"beside\" of [firewall] takes effect with the next start"
            );
        }
        Err(error) => tracing::error!(%error, "the configuration before stays"),
    }
}
