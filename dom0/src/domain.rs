//! A domain as its file describes it.
//!
//! Here: the checked description of one domain and the set of all. [`mod@file`] reads it from TOML, [`check`]
//! looks at all domains together. Not here: what is done about it (see [`crate::plan`]).

pub mod check;
pub mod edit;
pub mod file;
pub mod tor;

use crate::name::{Bdf, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use vmm_api::config::DiskMode;

/// What a domain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Owns the network card.
    Netvm,
    /// Judges and translates packets between its clients and a netvm.
    Firewallvm,
    /// Brings its clients into the Tor network, and nowhere else.
    Torvm,
    /// An ordinary Linux machine.
    Appvm,
}

impl Kind {
    /// Whether the domain is one of our unikernels: replaced when it dies.
    #[must_use]
    pub const fn is_driver(self) -> bool {
        !matches!(self, Self::Appvm)
    }

    /// The word used in domain files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Netvm => "netvm",
            Self::Firewallvm => "firewallvm",
            Self::Torvm => "torvm",
            Self::Appvm => "appvm",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The colour that stands for a domain's trust level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Least trusted.
    Red,
    /// Orange.
    Orange,
    /// Yellow.
    Yellow,
    /// Green.
    Green,
    /// Not said.
    #[default]
    Gray,
    /// Blue.
    Blue,
    /// Purple.
    Purple,
    /// Most trusted.
    Black,
}

impl Label {
    /// The word used in domain files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Gray => "gray",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Black => "black",
        }
    }
}

/// A value and the line of the file that gave it (1-based; 0 for a default).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The line.
    pub line: usize,
}

/// A disk of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Raw image or block device.
    pub image: At<PathBuf>,
    /// What happens to writes.
    pub mode: DiskMode,
}

/// One domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Name, from the file's name.
    pub name: Name,
    /// The file, for messages.
    pub file: PathBuf,
    /// What it is for.
    pub kind: At<Kind>,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Virtual processors.
    pub vcpus: u8,
    /// The domain through which it reaches the network.
    pub netvm: Option<At<Name>>,
    /// PCI functions of this machine that it owns.
    pub devices: Vec<At<Bdf>>,
    /// Kernel; absent: the image that belongs to the kind.
    pub kernel: Option<At<PathBuf>>,
    /// Initial RAM disk; absent in a torvm: the bundle that belongs to it.
    pub initrd: Option<At<PathBuf>>,
    /// Kernel command line.
    pub cmdline: String,
    /// Disks in order.
    pub disks: Vec<Disk>,
    /// Trust colour.
    pub label: Label,
    /// Whether the daemon starts it by itself.
    pub autostart: bool,
    /// Fixed client number; absent: the lowest free one.
    pub id: Option<At<u16>>,
    /// Uplink addresses (netvm only).
    pub nic: Option<At<control::message::Nic>>,
    /// Host tap device that stands in for a NIC (netvm only).
    pub tap: Option<At<String>>,
    /// Whether a device must have a reset method of its own; `false` is the user's word that it may go without.
    pub strict_reset: bool,
    /// Whether it may reach the network through a torvm only (AppVM), and the line that says so.
    pub anonymous: At<bool>,
    /// What the gateway program is told (torvm).
    pub tor: At<tor::Tor>,
}

/// All domains by name.
pub type Domains = BTreeMap<Name, Domain>;
