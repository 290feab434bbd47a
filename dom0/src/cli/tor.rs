//! `bulkhead tor`: how the Tor gateways are, and what they are told.
//!
//! Here: the table of its verbs and the questions behind them. How answers look is `show`.

mod show;

use super::logs::{self, JournalPart};
use super::{Place, ask};
use crate::domain::edit::TorChange;
use crate::domain::tor::Isolation;
use crate::enclosed;
use crate::name::Name;
use crate::problem::Problem;
use crate::protocol::{OldStreams, Request};
use crate::tor::view;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use std::io::Write;

/// The command.
#[derive(Debug, Args)]
pub(super) struct Tor {
    /// The torvm, where there are several
    #[arg(long, global = true, value_name = "NAME")]
    domain: Option<Name>,
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how far the way into the Tor network is, its guards, and what may be reached
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give an AppVM a new identity, or every one: circuits used so far are not used again
    Newnym {
        /// The AppVM [default: all that are behind the torvm]
        appvm: Option<Name>,
        /// Cut what they have open
        #[arg(long)]
        close: bool,
    },
    /// Show the circuits that carry AppVMs' connections
    Circuits {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show and change the bridges by which the network is entered
    Bridges {
        #[command(subcommand)]
        verb: Option<BridgeVerb>,
    },
    /// Show and change what connections of one AppVM are kept apart by
    Isolation {
        #[command(subcommand)]
        verb: Option<IsolationVerb>,
    },
    /// Show what the gateway program reported
    Log(JournalPart),
}

#[derive(Debug, Subcommand)]
enum BridgeVerb {
    /// Show them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Enter the network through this one, too, and through bridges only
    Add {
        /// The bridge line, like `192.0.2.7:443 FINGERPRINT`
        #[arg(required = true)]
        line: Vec<String>,
    },
    /// Take one away
    Remove {
        /// The bridge line
        #[arg(required = true)]
        line: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum IsolationVerb {
    /// Show it
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change it; what is not mentioned stays
    Set(IsolationArguments),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct IsolationArguments {
    /// Different destinations: different circuits
    #[arg(long, value_name = "true|false")]
    destination_address: Option<bool>,
    /// Different destination ports: different circuits
    #[arg(long, value_name = "true|false")]
    destination_port: Option<bool>,
    /// Different SOCKS user names or passwords: different circuits
    #[arg(long, value_name = "true|false")]
    socks_credentials: Option<bool>,
    /// Ports that share no circuit with others, like 25,465,587: one more class; once for each
    #[arg(long = "port-class", value_name = "PORTS", value_delimiter = ' ')]
    port_classes: Vec<PortClass>,
    /// Forget the classes of ports that there were before
    #[arg(long)]
    no_port_classes: bool,
}

/// Ports with commas between them.
#[derive(Clone, Debug)]
struct PortClass(Vec<u16>);

impl std::str::FromStr for PortClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports: Result<Vec<u16>, _> = text.split(',').map(|port| port.trim().parse()).collect();
        match ports {
            Ok(ports) if !ports.contains(&0) => Ok(Self(ports)),
            _ => Err(format!("{text:?} is no list of ports")),
        }
    }
}

/// Does what was asked.
pub(super) fn act(place: &Place, command: Tor) -> anyhow::Result<()> {
    let Tor { domain: torvm, verb } = command;
    let form = super::show::form;
    match verb {
        Verb::Status { json } => {
            let status: view::TorStatus = question(place, &Request::TorStatus { torvm })?;
            show::status(&status, form(json))
        }
        Verb::Newnym { appvm, close } => newnym(place, torvm, appvm, close),
        Verb::Circuits { json } => {
            let circuits: Vec<view::Circuit> = question(place, &Request::TorCircuits { torvm })?;
            show::circuits(&circuits, form(json))
        }
        Verb::Bridges { verb } => bridges(place, torvm, verb),
        Verb::Isolation { verb } => isolation(place, torvm, verb),
        Verb::Log(wanted) => {
            let open = || ask::stream(&place.runtime_dir, &Request::TorLog { torvm: torvm.clone() });
            logs::journal(open, &wanted, show::line)
        }
    }
}

/// Asks something whose answer is enclosed.
fn question<T: DeserializeOwned>(place: &Place, request: &Request) -> anyhow::Result<T> {
    let memory = ask::stream(&place.runtime_dir, request)?;
    let text = enclosed::take_first(&[memory]).map_err(|why| Problem::new("bulkheadd", why, "try again"))?;
    serde_json::from_str(&text).map_err(|_| ask::nonsense())
}

fn newnym(place: &Place, torvm: Option<Name>, client: Option<Name>, close: bool) -> anyhow::Result<()> {
    let streams = if close { OldStreams::Close } else { OldStreams::Keep };
    let who = client.as_ref().map_or("every AppVM".to_owned(), Name::to_string);
    let request = Request::TorNewIdentity { torvm, client, streams };
    let view::NewIdentity { closed } = question(place, &request)?;
    let cut = match (close, closed) {
        (false, _) => String::new(),
        (true, 1) => "; 1 connection was cut".to_owned(),
        (true, n) => format!("; {n} connections were cut"),
    };
    Ok(writeln!(std::io::stdout(), "{who}: new identity{cut}")?)
}

fn bridges(place: &Place, torvm: Option<Name>, verb: Option<BridgeVerb>) -> anyhow::Result<()> {
    let change = match verb.unwrap_or(BridgeVerb::List { json: false }) {
        BridgeVerb::List { json } => {
            let bridges = question(place, &Request::TorBridges { torvm })?;
            return show::bridges(&bridges, super::show::form(json));
        }
        BridgeVerb::Add { line } => TorChange::AddBridge(line.join(" ")),
        BridgeVerb::Remove { line } => TorChange::RemoveBridge(line.join(" ")),
    };
    ask::ask(&place.runtime_dir, &Request::TorChange { torvm, change }).map(drop)
}

fn isolation(place: &Place, torvm: Option<Name>, verb: Option<IsolationVerb>) -> anyhow::Result<()> {
    let shown: view::Isolated = question(place, &Request::TorIsolation { torvm: torvm.clone() })?;
    let typed = match verb.unwrap_or(IsolationVerb::Show { json: false }) {
        IsolationVerb::Show { json } => return show::isolation(&shown, super::show::form(json)),
        IsolationVerb::Set(typed) => typed,
    };
    let change = TorChange::Isolation(typed.over(shown.isolation));
    ask::ask(&place.runtime_dir, &Request::TorChange { torvm, change }).map(drop)
}

impl IsolationArguments {
    /// What was typed, over what there was.
    fn over(self, before: Isolation) -> Isolation {
        let mut port_classes = if self.no_port_classes { Vec::new() } else { before.port_classes };
        port_classes.extend(self.port_classes.into_iter().map(|class| class.0));
        Isolation {
            destination_address: self.destination_address.unwrap_or(before.destination_address),
            destination_port: self.destination_port.unwrap_or(before.destination_port),
            socks_credentials: self.socks_credentials.unwrap_or(before.socks_credentials),
            port_classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Typed;
    use clap::Parser;

    fn typed(words: &[&str]) -> Result<Tor, clap::Error> {
        let words = ["bulkhead", "tor"].iter().chain(words);
        Typed::try_parse_from(words).map(|typed| match typed.command {
            crate::cli::Command::Tor(tor) => tor,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn verbs_take_the_torvm_before_or_behind() {
        for words in [&["--domain", "tor2", "status"][..], &["status", "--domain", "tor2"]] {
            assert_eq!(typed(words).unwrap().domain.unwrap().as_str(), "tor2");
        }
        assert!(typed(&["bridges"]).is_ok() && typed(&["isolation", "show", "--json"]).is_ok());
        assert!(typed(&["bridges", "add"]).is_err() && typed(&["isolation", "set"]).is_err());
        assert!(typed(&["newnym", "../x"]).is_err());
    }

    #[test]
    fn isolation_is_changed_where_something_was_said() {
        let words = [
            "isolation",
            "set",
            "--destination-port",
            "true",
            "--port-class",
            "25,465",
            "--port-class",
            "22",
        ];
        let Verb::Isolation { verb: Some(IsolationVerb::Set(set)) } = typed(&words).unwrap().verb else {
            panic!()
        };
        let before = Isolation { port_classes: vec![vec![80]], ..Isolation::default() };
        let after = set.over(before.clone());
        assert!(after.destination_port && after.socks_credentials && !after.destination_address);
        assert_eq!(after.port_classes, [vec![80], vec![25, 465], vec![22]], "added to those there were");
        let words = ["isolation", "set", "--no-port-classes"];
        let Verb::Isolation { verb: Some(IsolationVerb::Set(set)) } = typed(&words).unwrap().verb else {
            panic!()
        };
        assert!(set.over(before).port_classes.is_empty());
        assert!(typed(&["isolation", "set", "--port-class", "22,x"]).is_err());
    }
}
