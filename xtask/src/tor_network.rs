//! `cargo xtask tor-network`: a private Tor network in a network namespace: authorities, relays, exits, a bridge, an onion
//! service, a client, and a web and name server behind the exits. Nothing of it is seen from outside the namespace,
//! and all of it ends with this program.

mod description;
mod inside;
mod nodes;
mod ready;

use crate::namespace::{Ending, Namespace, start_ready};
use crate::progress::{self, Task};
use crate::{host, machine};
use anyhow::{Context, Result, bail};
pub(crate) use description::Description;
pub(crate) use inside::{InsideArgs, run as inside};
use nodes::{Network, Node};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Programs that it takes, each with its Debian package.
const PROGRAMS: &[(&str, &str)] = &[
    ("tor", "tor"),
    ("tor-gencert", "tor"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Tells programs in the namespace where the network's files are.
pub(crate) const VARIABLE: &str = "BULKHEAD_TOR_NETWORK";

/// Seconds from the start of authorities and relays to their first consensus, attempt by attempt: they must have
/// published themselves four seconds before it, when authorities vote, or are missing for minutes.
const PUBLICATION: [u64; 4] = [13, 30, 60, 120];

/// Options of the private Tor network.
#[derive(clap::Args)]
pub(crate) struct TorNetworkArgs {
    #[command(flatten)]
    options: Options,
    /// Command to run in the namespace; a shell when absent
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What the network consists of.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Keeps the network's files here: a new or empty directory [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Relays that are neither authority nor exit
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) relays: u8,
    /// Exits
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) exits: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { state: None, relays: 4, exits: 2 }
    }
}

/// Brings the network up, runs the command in its namespace, and takes it down.
///
/// # Errors
/// When the network does not come up, or the command cannot be started.
pub(crate) fn run(args: &TorNetworkArgs) -> Result<ExitCode> {
    let network = TorNetwork::start(&args.options)?;
    progress::note(&format!("{} ({VARIABLE})", network.directory().display()));
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program, rest),
        None => (&shell, &[][..]),
    };
    let status =
        network.command(program).args(rest).status().with_context(|| format!("cannot run {program}"))?;
    Ok(machine::exit_code(status))
}

/// A private Tor network; it is gone with this value, or when the thread that started it ends.
pub(crate) struct TorNetwork {
    // In this order: programs end before their directory, and that before what guards it.
    _nodes: Vec<Ending>,
    _outside: Ending,
    _temporary: Option<tempfile::TempDir>,
    directory: PathBuf,
    description: Description,
    namespace: Namespace,
}

impl TorNetwork {
    /// Starts the network, and waits until its C client fetches a page and an onion page. Another one is tried when that
    /// does not work at first.
    ///
    /// # Errors
    /// When Debian's `tor` cannot be had, this machine lets us make no namespace, or the network does not work: with
    /// what its programs said last.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        host::install(PROGRAMS)?;
        match Self::attempt(options) {
            // A directory that the user gave has this network's keys in it now.
            Err(error) if options.state.is_none() => {
                progress::note(&format!("once more: {error:#}"));
                Self::attempt(options)
            }
            outcome => outcome,
        }
    }

    fn attempt(options: &Options) -> Result<Self> {
        let task = Task::start("private Tor network");
        let (directory, temporary) = directory(options.state.as_deref())?;
        let namespace = match &temporary {
            Some(_) => Namespace::removing(&directory)?,
            None => Namespace::new()?,
        };
        let plan = nodes::Plan::new(options);
        namespace.shell(&plan.addresses())?;
        task.detail("keys");
        let identities = nodes::make_keys(&plan, &directory)?;
        let mut outside = inside::serving(&namespace, &directory)?;
        outside.stderr(File::create(directory.join("outside.log"))?);
        let outside = start_ready(outside, "the web server outside")?;
        let network = nodes::Network { identities: &identities, directory: &directory, first: 0 };
        let (relays, clients) = plan.nodes.split_at(plan.relays());
        let mut started = start_relays(&namespace, &network, relays, &task)?;
        let start = |node| start_tor(&namespace, &nodes::configuration(&network, node)?);
        for node in clients {
            started.push(start(node)?);
        }
        ready::pages(&namespace, &directory, &task, &mut started)?;
        let description = Description::new(&plan, &identities, &directory)?;
        description.write(&directory)?;
        task.done();
        Ok(Self {
            _nodes: started,
            _outside: outside,
            _temporary: temporary,
            directory,
            description,
            namespace,
        })
    }

    /// A command in the network's namespace, with its files in the environment; it dies with the thread that starts
    /// it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.dying_command(program);
        command.env(VARIABLE, &self.directory);
        command
    }

    /// Words before a command that put it into the namespace.
    pub(crate) fn entry(&self) -> Vec<String> {
        self.namespace.entry()
    }

    /// What there is in it.
    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// Where its files are: `network.toml`, `network.json`, `web.log`, `dns.log`, and a directory for each node.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The directory of the network's files, and what removes it at the end.
fn directory(state: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(state) = state else {
        let made = tempfile::Builder::new().prefix("bulkhead-tor.").tempdir()?;
        return Ok((made.path().canonicalize()?, Some(made)));
    };
    fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
    if fs::read_dir(state)?.next().is_some() {
        bail!("{} is not empty: a network starts with keys of its own", state.display());
    }
    Ok((state.canonicalize()?, None))
}

/// Starts authorities and relays, and waits for the first consensus of all; gives them more time for it when this
/// machine turns out to be busy.
fn start_relays(
    names: &Namespace,
    network: &Network<'_>,
    relays: &[Node],
    task: &Task,
) -> Result<Vec<Ending>> {
    let mut attempts = PUBLICATION.iter().peekable();
    while let Some(seconds) = attempts.next() {
        task.detail("first consensus");
        let first = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + seconds;
        let network = Network { first, ..*network };
        network.prepare()?;
        let start = |node| start_tor(names, &nodes::configuration(&network, node)?);
        let mut started = relays.iter().map(start).collect::<Result<Vec<_>>>()?;
        match ready::consensus(&network, &mut started, relays) {
            Err(error) if attempts.peek().is_some() => progress::note(&format!("once more: {error:#}")),
            done => return done.map(|()| started),
        }
        drop(started);
        relays.iter().try_for_each(|node| network.forget(node))?;
    }
    bail!("no attempt")
}

fn start_tor(namespace: &Namespace, torrc: &Path) -> Result<Ending> {
    let mut tor = namespace.dying_command("tor");
    tor.args(["--defaults-torrc", "/dev/null", "--quiet", "-f"]).arg(torrc);
    let log = File::create(torrc.with_file_name("output.log"))?;
    tor.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(Ending(tor.spawn().context("cannot run tor")?))
}
