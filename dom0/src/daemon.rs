//! The daemon `bulkheadd`: arguments, the socket, signals, the supervisor.

use crate::server::Server;
use crate::settings::Settings;
use crate::supervise::{Input, Supervisor};
use anyhow::Context;
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::PathBuf;
use std::process::ExitCode;

/// Starts, supervises and stops this machine's domains.
#[derive(Debug, Parser)]
#[command(name = "bulkheadd", version)]
struct Typed {
    /// Directory of the domain files
    #[arg(long, value_name = "DIR", env = "BULKHEAD_CONFIG_DIR")]
    config_dir: Option<PathBuf>,
    /// Directory of the AppVMs' firewall rules
    #[arg(long, value_name = "DIR", env = "BULKHEAD_RULES_DIR")]
    rules_dir: Option<PathBuf>,
    /// Directory of the socket
    #[arg(long, value_name = "DIR", env = "BULKHEAD_RUNTIME_DIR")]
    runtime_dir: Option<PathBuf>,
    /// Directory of the domains' logs
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Directory of what torvms keep
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Directory of bulkhead-vmm and the images
    #[arg(long, value_name = "DIR", env = "BULKHEAD_LIB")]
    lib_dir: Option<PathBuf>,
    /// Where sys, proc and dev are found, for tests
    #[arg(long, value_name = "DIR", hide = true, default_value = "/")]
    root: PathBuf,
    /// Start no domain by itself
    #[arg(long)]
    no_autostart: bool,
}

/// Runs the daemon to its end; the program's exit status.
#[must_use]
pub fn main() -> ExitCode {
    let typed = Typed::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(
            std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none(),
        )
        .init();
    match run(typed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(typed: Typed) -> anyhow::Result<()> {
    let default = Settings::default();
    let settings = Settings {
        config_dir: typed.config_dir.unwrap_or(default.config_dir),
        rules_dir: typed.rules_dir.unwrap_or(default.rules_dir),
        runtime_dir: typed.runtime_dir.unwrap_or(default.runtime_dir),
        log_dir: typed.log_dir.unwrap_or(default.log_dir),
        state_dir: typed.state_dir.unwrap_or(default.state_dir),
        lib_dir: typed.lib_dir.unwrap_or(default.lib_dir),
        root: typed.root,
        times: default.times,
    };
    std::fs::create_dir_all(&settings.log_dir)
        .with_context(|| format!("{}: cannot be created; give --log-dir", settings.log_dir.display()))?;
    let server = Server::open(&settings.runtime_dir)?;
    let socket = settings.socket();
    let (mut supervisor, inbox) = Supervisor::new(settings);
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let stop = inbox.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let _ = stop.send(Input::Shutdown);
        }
    });
    std::thread::spawn(move || {
        if let Err(e) = server.serve(&inbox) {
            tracing::error!("socket: {e}");
        }
    });
    if !typed.no_autostart {
        supervisor.autostart();
    }
    tracing::info!(socket = %socket.display(), "ready");
    supervisor.run();
    let _ = std::fs::remove_file(socket);
    Ok(())
}
