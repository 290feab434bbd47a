//! What of this program runs inside the private network's namespace: the servers behind the exits, and a client that
//! fetches a page over SOCKS.

mod fetch;
mod names;
mod web;

use super::nodes::CLIENT_SOCKS;
use crate::namespace::Namespace;
use anyhow::{Context, Result};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Addresses of the web server; no relay has one in the same /16.
pub(super) const WEB_ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 81)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x80)),
];
/// Its ports: of several classes, for tests of isolation.
pub(super) const WEB_PORTS: [u16; 5] = [80, 443, 8080, 22, 25];
/// Name of its first address.
pub(super) const NAME: &str = "page.test";
/// Name of its second address.
pub(super) const OTHER_NAME: &str = "other.test";
/// Ports of the onion service.
pub(super) const ONION_PORTS: [u16; 2] = [80, 443];
/// Where the onion service finds its web server, on loopback.
pub(super) const ONION_PORT: u16 = 18081;
/// How the page begins.
pub(super) const PAGE: &str = "The outside, through Tor.";
/// How the onion page begins.
pub(super) const ONION_PAGE: &str = "An onion service.";

/// What to do inside the namespace.
#[derive(clap::Args)]
pub(crate) struct InsideArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Serves pages and names until standard input ends
    Serve {
        /// The network's files
        directory: PathBuf,
    },
    /// Fetches / of a host through the C client and prints it
    Fetch {
        /// Name of the host
        host: String,
    },
}

/// Pages that the web server and the onion service give as `/`; no two networks have the same.
pub(super) struct Pages {
    pub(super) web: String,
    pub(super) onion: String,
}

const WEB_FILE: &str = "page.html";
const ONION_FILE: &str = "onion.html";

/// Reads the pages.
///
/// # Errors
/// When a file is not there.
pub(super) fn pages(directory: &Path) -> Result<Pages> {
    let read =
        |file: &str| fs::read_to_string(directory.join(file)).with_context(|| format!("cannot read {file}"));
    Ok(Pages { web: read(WEB_FILE)?, onion: read(ONION_FILE)? })
}

/// Writes the pages, and returns the command that serves them.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn serving(namespace: &Namespace, directory: &Path) -> Result<Command> {
    for (file, begin) in [(WEB_FILE, PAGE), (ONION_FILE, ONION_PAGE)] {
        let ticket = crate::page::ticket()?;
        fs::write(directory.join(file), format!("<!doctype html>\n<p>{begin} Ticket {ticket}.</p>\n"))?;
    }
    let mut serve = namespace.dying_command(std::env::current_exe()?);
    serve.args(["tor-inside", "serve"]).arg(directory);
    Ok(serve)
}

/// Whether the C client fetches a page of `host` that contains `wanted`.
pub(super) fn fetched(namespace: &Namespace, host: &str, wanted: &str) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let mut fetch = namespace.dying_command(program);
    let output =
        fetch.args(["tor-inside", "fetch", host]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(wanted))
}

/// Does what the hidden command says.
///
/// # Errors
/// When a port cannot be had, or the page not be fetched.
pub(crate) fn run(args: &InsideArgs) -> Result<ExitCode> {
    match &args.action {
        Action::Serve { directory } => serve(directory)?,
        Action::Fetch { host } => std::io::stdout().write_all(&fetch::page(CLIENT_SOCKS, host)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(directory: &Path) -> Result<()> {
    let pages = pages(directory)?;
    web::serve(&pages, &directory.join("web.log"))?;
    names::serve(&directory.join("dns.log"))?;
    println!("ready");
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing)?;
    Ok(())
}
