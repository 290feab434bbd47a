//! Starts the gateway program: arguments, configuration, doors.

use std::error::Error;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use ::control::tor::{GatewayReport, Level, cut};
use arti_client::TorClient;
use gateway::config::Config;
use gateway::control::{self, Commands};
use gateway::documents::{self, Cache};
use gateway::gateway::Gateway;
use gateway::log::{Listener, Log};
use gateway::report::Reports;
use gateway::status::{self, Watch};
use gateway::{dns, doors, http, raw, socks, transparent};
use tokio::net::{TcpListener, UdpSocket, UnixStream};
use tokio::sync::Notify;
use tor_rtcompat::PreferredRuntime;

const USAGE: &str = "usage: gateway --config FILE [--control-fd N]";

type Failure = Box<dyn Error>;

struct Arguments {
    config: PathBuf,
    control: Option<RawFd>,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, Failure> {
    let (mut config, mut control) = (None, None);
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match word.to_str() {
            Some("--config") => config = Some(PathBuf::from(value)),
            Some("--control-fd") => {
                let fd = value.to_str().and_then(|fd| fd.parse().ok()).filter(|fd| !(1..=2).contains(fd));
                control = Some(fd.ok_or("--control-fd: a descriptor, but not standard output or error")?);
            }
            _ => return Err(USAGE.into()),
        }
    }
    Ok(Arguments { config: config.ok_or(USAGE)?, control })
}

fn start() -> Result<(), Failure> {
    let arguments = arguments()?;
    let control = arguments.control.map(raw::inherited);
    let config = Config::read(&arguments.config)?;
    raw::keep_databases_in_memory()?;
    // Before anything of arti: it uses whatever TLS library is the process's.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "TLS is set up twice")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(run(config, control))
}

async fn run(config: Config, control: Option<std::os::unix::net::UnixStream>) -> Result<(), Failure> {
    let reports = if control.is_some() { Reports::new() } else { Reports::default() };
    let log = Arc::new(Log::new(reports.clone()));
    tracing::subscriber::set_global_default(Listener(Arc::clone(&log)))?;
    reports.offer(GatewayReport::Started { version: cut(env!("CARGO_PKG_VERSION")) });

    let runtime = PreferredRuntime::current()?;
    let tor = TorClient::with_runtime(runtime).config(config.arti.clone()).create_unbootstrapped()?;
    let gateway = Arc::new(Gateway::new(Arc::clone(&tor), &config, log, reports));
    open_doors(&gateway, &config).await?;

    let cache = Arc::new(Cache::new(&config.cache_dir));
    let (look, again) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let watch = Arc::new(Watch {
        gateway: Arc::clone(&gateway),
        tor: Arc::clone(&tor),
        cache: Arc::clone(&cache),
        state_dir: config.state_dir,
        look: Arc::clone(&look),
        begun: Instant::now(),
    });
    if let Some(control) = control {
        let commands = Commands {
            watch: Arc::clone(&watch),
            documents: Arc::clone(&again),
            bridges: (config.bridges, config.bridges_used),
        };
        listen_to_dom0(control, commands)?;
        tokio::spawn(documents::hand_over(Arc::clone(&gateway), cache, look, again));
    }
    tokio::spawn(status::bootstrap(gateway, tor));
    watch.run().await;
    Ok(())
}

async fn open_doors(gateway: &Arc<Gateway>, config: &Config) -> Result<(), Failure> {
    let listen = &config.listen;
    let listener = TcpListener::bind(listen.transparent).await?;
    tokio::spawn(doors::hear(Arc::clone(gateway), listener, transparent::serve));
    if let Some(address) = listen.socks {
        let listener = TcpListener::bind(address).await?;
        tokio::spawn(doors::hear(Arc::clone(gateway), listener, socks::serve));
    }
    if let Some(address) = listen.http {
        let listener = TcpListener::bind(address).await?;
        tokio::spawn(doors::hear(Arc::clone(gateway), listener, http::serve));
    }
    tokio::spawn(dns::hear(Arc::clone(gateway), UdpSocket::bind(listen.dns).await?));
    Ok(())
}

fn listen_to_dom0(socket: std::os::unix::net::UnixStream, commands: Commands) -> Result<(), Failure> {
    socket2::SockRef::from(&socket).set_nonblocking(true)?;
    let (from_dom0, to_dom0) = UnixStream::from_std(socket)?.into_split();
    let gateway = Arc::clone(&commands.watch.gateway);
    let reports = gateway.reports.clone();
    tokio::spawn(async move { control::write(&reports, to_dom0).await });
    tokio::spawn(async move {
        if let Err(e) = commands.follow(from_dom0).await {
            gateway.log.line(Level::Warning, &format!("nothing more is heard of dom0: {e}"));
        }
    });
    Ok(())
}
