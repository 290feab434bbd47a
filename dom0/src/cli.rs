//! The command line `bulkhead`: what was typed, and what it means.
//!
//! One table of arguments (this file) gives help, manual page and completions. Everything that needs
//! privileges is asked of the daemon; `check` and `nic list` read files themselves.

mod ask;
mod console;
mod logs;
mod man;
mod rules;
mod run;
mod show;
mod tor;
mod tty;

use crate::domain::{Kind, check, file};
use crate::name::{Bdf, Name};
use crate::nic;
use crate::plan::{self, Numbering};
use crate::protocol::{Accept, Outcome, Request, Users};
use crate::settings::Settings;
use crate::tor::configuration::configuration;
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status of `bulkhead run` when the command was not run.
const NOT_RUN: u8 = 125;

/// Runs this machine's domains.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, max_term_width = 100)]
struct Typed {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Place {
    /// Directory of the domain files
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BULKHEAD_CONFIG_DIR",
        default_value = "/etc/bulkhead/domains"
    )]
    config_dir: PathBuf,
    /// Directory of the AppVMs' firewall rules
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BULKHEAD_RULES_DIR",
        default_value = "/etc/bulkhead/rules"
    )]
    rules_dir: PathBuf,
    /// Directory of the daemon's socket
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BULKHEAD_RUNTIME_DIR",
        default_value = "/run/bulkhead"
    )]
    runtime_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start domains and everything above them; all when none is named
    Up {
        /// The domains
        domains: Vec<Name>,
    },
    /// Stop domains; all when none is named
    Down {
        /// The domains
        domains: Vec<Name>,
        /// Leave those that use them running, offline
        #[arg(long)]
        force: bool,
    },
    /// Show every domain and what it is doing
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Attach to a domain's serial console; Ctrl-] leaves it
    Console {
        /// The domain
        domain: Name,
    },
    /// Show what a domain printed on its console
    Logs {
        /// The domain
        domain: Name,
        #[command(flatten)]
        part: logs::Part,
    },
    /// Run a command in an AppVM and pass its exit status on (needs bulkhead-agent there)
    Run {
        /// The domain
        domain: Name,
        /// Give the command a terminal
        #[arg(short, long)]
        tty: bool,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Show a running domain's counters
    Counters {
        /// The domain
        domain: Name,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put another domain above an AppVM while it runs; what it has open is cut first
    Route {
        /// The AppVM
        domain: Name,
        /// The firewallvm or torvm, or `none` to take it offline
        #[arg(long, value_name = "NETVM")]
        via: Via,
    },
    /// Show and change a domain's firewall rules
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Show how the Tor gateways are, and tell them what to do
    Tor(tor::Tor),
    /// List, assign and give back network cards
    #[command(subcommand)]
    Nic(Nic),
    /// Check the domain files without starting anything
    Check {
        /// Print the processes, links and addresses that they mean
        #[arg(long)]
        plan: bool,
    },
    /// Print the manual page
    Man,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What is to be above an AppVM.
#[derive(Clone, Debug)]
struct Via(Option<Name>);

impl std::str::FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|name| Self(Some(name))) }
    }
}

#[derive(Debug, Subcommand)]
enum Nic {
    /// Show this machine's network cards and whether each can be assigned
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a network card from this machine and give it to a domain
    Assign {
        /// PCI address, like 0000:01:00.0
        bdf: Bdf,
        /// The domain, a netvm
        domain: Name,
        /// Take it even though it carries this machine's default route
        #[arg(long)]
        force: bool,
        /// Accept a card that cannot be reset from outside
        #[arg(long)]
        no_strict_reset: bool,
    },
    /// Give a network card back to this machine
    Unassign {
        /// PCI address, like 0000:01:00.0
        bdf: Bdf,
    },
}

/// Does what was typed; the program's exit status.
#[must_use]
pub fn main() -> ExitCode {
    let typed = Typed::parse();
    let on_failure = if matches!(typed.command, Command::Run { .. }) { NOT_RUN } else { 1 };
    match act(typed) {
        Ok(code) => code,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            show::error(&e);
            ExitCode::from(on_failure)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(io)
}

fn act(typed: Typed) -> anyhow::Result<ExitCode> {
    let Typed { place, command } = typed;
    let ask = |request: Request| ask::ask(&place.runtime_dir, &request);
    match command {
        Command::Up { domains } => ask(Request::Up { domains }).map(drop)?,
        Command::Down { domains, force } => {
            let users = if force { Users::LeaveOffline } else { Users::Refuse };
            ask(Request::Down { domains, users }).map(drop)?;
        }
        Command::Status { json } => match ask(Request::Status)? {
            (Outcome::Status(domains), _) => show::status(&domains, show::form(json))?,
            _ => return Err(ask::nonsense()),
        },
        Command::Console { domain } => {
            console::console(&ask::stream(&place.runtime_dir, &Request::Console { domain })?)?
        }
        Command::Logs { domain, part } => {
            let open = || ask::stream(&place.runtime_dir, &Request::Logs { domain: domain.clone() });
            logs::logs(open, &part)?;
        }
        Command::Run { domain, tty, command } => {
            let stream = ask::stream(&place.runtime_dir, &Request::Run { domain: domain.clone() })?;
            return run::run(stream, &domain, &command, tty.then_some(run::Terminal));
        }
        Command::Counters { domain, json } => match ask(Request::Counters { domain })? {
            (Outcome::Counters(counters), _) => show::counters(&counters, show::form(json))?,
            _ => return Err(ask::nonsense()),
        },
        Command::Route { domain, via } => ask(Request::Route { domain, via: via.0 }).map(drop)?,
        Command::Rules(command) => return rules::act(&place, command),
        Command::Tor(command) => tor::act(&place, command)?,
        Command::Nic(command) => nic(&place, command)?,
        Command::Check { plan } => check_files(&place, plan.then_some(&ShowPlan))?,
        Command::Man => man::print(&Typed::command(), &mut std::io::stdout().lock())?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Typed::command(), "bulkhead", &mut std::io::stdout().lock());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn nic(place: &Place, command: Nic) -> anyhow::Result<()> {
    match command {
        Nic::List { json } => {
            let host = nic::Host::real(&Settings::default());
            // Without readable domain files the cards are shown all the same.
            let domains = file::read_all(&place.config_dir).unwrap_or_default();
            show::cards(&host, &domains, show::form(json))
        }
        Nic::Assign { bdf, domain, force, no_strict_reset } => {
            let accept = Accept { busy: force, no_reset: no_strict_reset };
            ask::ask(&place.runtime_dir, &Request::NicAssign { bdf, domain, accept }).map(drop)
        }
        Nic::Unassign { bdf } => ask::ask(&place.runtime_dir, &Request::NicUnassign { bdf }).map(drop),
    }
}

struct ShowPlan;

fn check_files(place: &Place, show_plan: Option<&ShowPlan>) -> anyhow::Result<()> {
    let domains = file::read_all(&place.config_dir)?;
    let mut problems = check::all(&domains).err().unwrap_or_default();
    let settings = Settings::default();
    for domain in domains.values() {
        let files = check::files(domain, &settings.lib_dir);
        if domain.kind.value == Kind::Torvm && files.is_empty() {
            problems.0.extend(configuration(&domain.tor.value).err());
        }
        problems.0.extend(files);
    }
    problems.into_result()?;
    let mut out = anstream::stdout().lock();
    if show_plan.is_some() {
        write!(out, "{}", plan::plan(&domains, settings.places(), &mut Numbering::default()))?;
    } else {
        writeln!(out, "{}: {} domains, nothing wrong", place.config_dir.display(), domains.len())?;
    }
    out.flush().context("standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_consistent() {
        Typed::command().debug_assert();
    }

    #[test]
    fn names_are_checked_before_anything_is_asked() {
        assert!(Typed::try_parse_from(["bulkhead", "up", "../x"]).is_err());
        assert!(Typed::try_parse_from(["bulkhead", "nic", "assign", "1:2", "net"]).is_err());
        assert!(Typed::try_parse_from(["bulkhead", "run", "work"]).is_err());
        let typed = Typed::try_parse_from(["bulkhead", "run", "work", "--", "ls", "-l"]).unwrap();
        assert!(matches!(typed.command, Command::Run { command, .. } if command.len() == 2));
    }
}
