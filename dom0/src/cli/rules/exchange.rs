//! `bulkhead rules import` and `export`: rules of other firewalls, and ours for other programs.

use super::{Place, check, list, said};
use crate::cli::show;
use crate::domain::file;
use crate::name::Name;
use crate::plan::{self, Numbering, address};
use crate::problem::Problem;
use crate::rules::now;
use crate::settings::Settings;
use rules_compiler::import::Became;
use rules_compiler::nft::export;
use rules_compiler::packet::{NAME_SERVER_V6, NAME_SERVERS_V4};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is imported.
pub(super) enum Source {
    /// A firewall.xml.
    Qubes(PathBuf),
    /// A ruleset as JSON.
    Nft(PathBuf),
}

/// How an import is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Only show it.
    pub(super) dry_run: bool,
    /// Also when something is lost.
    pub(super) partial: bool,
}

/// What is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A table of nftables; with an interface, it is for whatever comes from there.
    Nft {
        /// The interface.
        interface: Option<String>,
    },
    /// Our language.
    Text,
    /// JSON of our own.
    Json,
}

/// Replaces a domain's rules by imported ones, and tells what could not be said in them.
pub(super) fn import(place: &Place, domain: &Name, source: &Source, wish: Wish) -> anyhow::Result<ExitCode> {
    let (path, imported) = match source {
        Source::Qubes(path) => (path, rules_compiler::import_qubes_xml(&input(path)?)),
        Source::Nft(path) => (path, rules_compiler::import_nft_json(&input(path)?)),
    };
    let file = path.display().to_string();
    let imported = imported.map_err(|e| {
        Problem::new(
            &file,
            format!("cannot be imported: {e}"),
            "name a file of the kind that the option says",
        )
    })?;
    for unsaid in &imported.unsaid {
        show::note(&format!("{file}: {unsaid}"));
    }
    let text = imported.file.to_string();
    if wish.dry_run {
        write!(std::io::stdout(), "{text}")?;
    }
    let lost = imported.unsaid.iter().filter(|unsaid| unsaid.became != Became::Similar).count();
    if lost > 0 && !wish.partial {
        let why = format!("{lost} of its rules cannot be said as they are, so nothing was installed");
        let remedy =
            "look at it with --dry-run; --partial installs what can be said, which lets nothing more pass";
        return Err(Problem::new(file, why, remedy).into());
    }
    if wish.dry_run {
        let compiles = said::compiles("the imported rules", &text);
        return Ok(if compiles { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    super::change(place, domain, |_| Ok(Some(text.clone())))
}

fn input(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return check::read("standard input", Ok(std::io::stdin()));
    }
    check::read(&path.display().to_string(), std::fs::File::open(path))
}

/// Prints a domain's rules for other programs.
pub(super) fn export(place: &Place, domain: &Name, target: &Target) -> anyhow::Result<ExitCode> {
    let (file, text) = check::own_text(place, domain)?;
    let compiled = match rules_compiler::compile(&text, now()) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            said::show(&diagnostics, &file, &text);
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut out = std::io::stdout().lock();
    match target {
        Target::Text => write!(out, "{}", compiled.file)?,
        Target::Json => list::json(domain, &file, &compiled.file)?,
        Target::Nft { interface } => {
            let export = export::export(&compiled.policy, &location(place, domain, interface.clone())?);
            for note in &export.notes {
                show::note(note);
            }
            writeln!(out, "{}", export.to_json()?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether Linux may have an interface of this name.
fn is_interface(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':');
    matches!(name.len(), 1..=15) && name.chars().all(plain)
}

/// Where the domain is: its addresses as its file and the other domains' mean them.
fn location(place: &Place, domain: &Name, interface: Option<String>) -> anyhow::Result<export::Place> {
    if let Some(name) = interface.as_deref().filter(|name| !is_interface(name)) {
        let remedy = "name one as `ip link` shows it: 1 to 15 letters, digits, `-`, `_` or `.`";
        return Err(Problem::new(format!("{name:?}"), "is no name of an interface", remedy).into());
    }
    let domains = file::read_all(&place.config_dir)?;
    let plan = plan::plan(&domains, Settings::default().places(), &mut Numbering::default());
    let client = plan.machine(domain).and_then(|m| m.client.as_ref()).map(|(_, client)| client);
    let addresses: Vec<IpAddr> = client
        .iter()
        .flat_map(|c| [Some(IpAddr::V4(c.v4)), c.v6_prefix.map(|p| address::stable_v6(p, c.mac).into())])
        .flatten()
        .collect();
    if addresses.is_empty() && interface.is_none() {
        let why = "has no netvm, so nothing tells its packets from others";
        return Err(Problem::new(domain.to_string(), why, "name its interface with --interface").into());
    }
    let servers = NAME_SERVERS_V4.map(IpAddr::V4).into_iter().chain([IpAddr::V6(NAME_SERVER_V6)]);
    Ok(export::Place {
        name: domain.to_string(),
        addresses,
        interface,
        uplink: None,
        inside: vec![address::INSIDE_V4.into(), address::INSIDE_V6.into()],
        name_servers: servers.collect(),
    })
}
