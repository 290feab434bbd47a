//! The planner: checked domains to processes, links, ports and addresses, in start order.
//!
//! Pure: the same domains and the same earlier numbering give the same plan, on any machine. What the plan
//! says is done by [`crate::supervise`]. Call [`crate::domain::check::all`] first.

pub mod address;
mod listing;
mod numbering;

pub use numbering::{Numbering, Seat};

use crate::domain::{Domain, Domains, Kind, Label};
use crate::name::{Bdf, Name};
use abi::link_device::Role;
use control::message::{Client, Nic};
use std::path::{Path, PathBuf};
use vmm_api::config::{DiskMode, Vif};
use vmm_api::message::End;

/// Port of every driver domain's link device that leads to dom0.
pub const DOM0_PORT: u8 = 0;
/// Port of a driver domain that leads to the other driver domain, and of a torvm to its firewallvm.
pub const CHAIN_PORT: u8 = 1;
/// First port of a firewallvm or torvm that leads to a client.
pub const FIRST_CLIENT_PORT: u8 = 2;
/// MiB at the top of a netvm's memory that its network card may reach.
const DMA_ARENA_MIB: u32 = 4;

/// Everything that is to exist.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One per domain, upstream before downstream, then by name.
    pub machines: Vec<Machine>,
    /// Every link.
    pub links: Vec<Link>,
}

/// One VMM process.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The domain.
    pub name: Name,
    /// What it is for.
    pub kind: Kind,
    /// Trust colour.
    pub label: Label,
    /// Whether the daemon starts it by itself.
    pub autostart: bool,
    /// The domain above.
    pub netvm: Option<Name>,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Virtual processors.
    pub vcpus: u8,
    /// Kernel.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub cmdline: String,
    /// Disks in order.
    pub disks: Vec<(PathBuf, DiskMode)>,
    /// Assigned PCI functions.
    pub devices: Vec<Bdf>,
    /// Whether a device must have a reset method of its own.
    pub strict_reset: bool,
    /// MiB that assigned devices may reach.
    pub dma_arena_mib: u32,
    /// Ports of the link device.
    pub link_ports: u8,
    /// virtio-net interfaces.
    pub vifs: Vec<Vif>,
    /// vsock context identifier.
    pub vsock_cid: Option<u32>,
    /// Host tap device.
    pub tap: Option<String>,
    /// Uplink addresses (netvm).
    pub nic: Option<Nic>,
    /// What the domain above is told about this one, and on which of its ports (AppVM or torvm with a netvm).
    pub client: Option<(u8, Client)>,
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The daemon itself.
    Dom0,
    /// A domain's port or interface; ordered by domain.
    Domain(Name, EndKey),
}

/// [`End`], orderable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndKey {
    /// Port of the link device.
    Port(u8),
    /// virtio-net interface.
    Vif(u8),
}

impl From<EndKey> for End {
    fn from(key: EndKey) -> Self {
        match key {
            EndKey::Port(n) => Self::Port(n),
            EndKey::Vif(n) => Self::Vif(n),
        }
    }
}

/// A link between two parties; `lower` reaches the network (or its instructions) through `upper`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The end nearer to the network, or dom0.
    pub upper: Party,
    /// The other end; always a domain.
    pub lower: Party,
}

impl Link {
    /// What the peer is to the lower end.
    #[must_use]
    pub fn role_of_upper(&self) -> Role {
        match self.upper {
            Party::Dom0 => Role::Dom0,
            Party::Domain(..) => Role::Upstream,
        }
    }

    /// What the peer is to the upper end.
    #[must_use]
    pub fn role_of_lower(&self) -> Role {
        Role::Downstream
    }

    /// Whether `name` is one of the two ends.
    #[must_use]
    pub fn touches(&self, name: &Name) -> bool {
        [&self.upper, &self.lower].into_iter().any(|p| matches!(p, Party::Domain(n, _) if n == name))
    }
}

impl Plan {
    /// The machine of a domain.
    #[must_use]
    pub fn machine(&self, name: &Name) -> Option<&Machine> {
        self.machines.iter().find(|m| m.name == *name)
    }

    /// `name` preceded by every domain above it.
    #[must_use]
    pub fn chain(&self, name: &Name) -> Vec<Name> {
        let mut chain = vec![name.clone()];
        let mut here = self.machine(name);
        while let Some(upstream) = here.and_then(|m| m.netvm.as_ref()) {
            if chain.contains(upstream) {
                break;
            }
            chain.push(upstream.clone());
            here = self.machine(upstream);
        }
        chain.reverse();
        chain
    }

    /// Every domain below `name`, directly or not.
    #[must_use]
    pub fn below(&self, name: &Name) -> Vec<Name> {
        let under = |m: &&Machine| m.name != *name && self.chain(&m.name).contains(name);
        self.machines.iter().filter(under).map(|m| m.name.clone()).collect()
    }
}

/// Where the images of our own domains are.
#[must_use]
pub fn default_kernel(lib: &Path, kind: Kind) -> PathBuf {
    lib.join(kind.word())
}

/// The initial RAM disk that belongs to a kind: a torvm's bundle.
#[must_use]
pub fn default_initrd(lib: &Path, kind: Kind) -> Option<PathBuf> {
    (kind == Kind::Torvm).then(|| lib.join("torvm.bundle"))
}

/// The disk on which a torvm keeps what must outlive it.
#[must_use]
pub fn store(state: &Path, name: &Name) -> PathBuf {
    state.join(format!("{name}.store"))
}

/// Where things are on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Places<'p> {
    /// Our images.
    pub lib: &'p Path,
    /// What lasts.
    pub state: &'p Path,
}

/// Plans the whole system. `numbering` keeps the numbers and ports of earlier plans and takes up new ones.
#[must_use]
pub fn plan(domains: &Domains, places: Places<'_>, numbering: &mut Numbering) -> Plan {
    numbering.update(domains);
    let mut plan = Plan::default();
    for kind in [Kind::Netvm, Kind::Firewallvm, Kind::Torvm, Kind::Appvm] {
        for domain in domains.values().filter(|d| d.kind.value == kind) {
            plan.machines.push(machine(domain, places, numbering));
            plan.links.extend(links(domain, numbering));
        }
    }
    plan
}

fn machine(domain: &Domain, places: Places<'_>, numbering: &Numbering) -> Machine {
    let kind = domain.kind.value;
    let seat = numbering.seat(&domain.name);
    let vif = |seat: &Seat| Vif { mac: address::mac(seat.number), mtu: address::MTU };
    let on_link = domain.netvm.is_some();
    let is_app = kind == Kind::Appvm;
    let initrd = domain.initrd.as_ref().map(|i| i.value.clone());
    Machine {
        name: domain.name.clone(),
        kind,
        label: domain.label,
        autostart: domain.autostart,
        netvm: domain.netvm.as_ref().map(|n| n.value.clone()),
        memory_mib: domain.memory_mib,
        vcpus: domain.vcpus,
        kernel: domain.kernel.as_ref().map_or_else(|| default_kernel(places.lib, kind), |k| k.value.clone()),
        initrd: initrd.or_else(|| default_initrd(places.lib, kind)),
        cmdline: domain.cmdline.clone(),
        disks: disks(domain, places.state),
        devices: domain.devices.iter().map(|d| d.value).collect(),
        strict_reset: domain.strict_reset,
        dma_arena_mib: if domain.devices.is_empty() { 0 } else { DMA_ARENA_MIB },
        link_ports: link_ports(kind),
        vifs: seat.filter(|_| on_link && is_app).map(vif).into_iter().collect(),
        vsock_cid: seat.filter(|_| is_app).map(|s| address::vsock_cid(s.number)),
        tap: domain.tap.as_ref().map(|t| t.value.clone()),
        nic: (kind == Kind::Netvm).then(|| domain.nic.as_ref().map(|n| n.value.clone()).unwrap_or_default()),
        client: seat.filter(|_| on_link).map(|s| (s.port, client(domain, s.number))),
    }
}

fn disks(domain: &Domain, state: &Path) -> Vec<(PathBuf, DiskMode)> {
    let store = (domain.kind.value == Kind::Torvm).then(|| (store(state, &domain.name), DiskMode::ReadWrite));
    store.into_iter().chain(domain.disks.iter().map(|d| (d.image.value.clone(), d.mode))).collect()
}

const fn link_ports(kind: Kind) -> u8 {
    match kind {
        Kind::Netvm => CHAIN_PORT + 1,
        Kind::Firewallvm | Kind::Torvm => 32,
        Kind::Appvm => 0,
    }
}

fn client(domain: &Domain, number: u16) -> Client {
    Client {
        name: heapless::String::try_from(domain.name.as_str()).unwrap_or_default(),
        mac: address::mac(number),
        v4: address::client(number),
        v4_gateway: address::gateway(number),
        v4_prefix: address::V4_PREFIX,
        // Driver domains have none. A torvm reaches relays over IPv4 only; what it never asks for cannot leak.
        v6_prefix: (domain.kind.value == Kind::Appvm).then(|| address::v6_prefix(number)),
        mtu: address::MTU,
    }
}

fn links(domain: &Domain, numbering: &Numbering) -> Vec<Link> {
    let end = |name: &Name, key: EndKey| Party::Domain(name.clone(), key);
    let mut links = Vec::new();
    if domain.kind.value.is_driver() {
        links.push(Link { upper: Party::Dom0, lower: end(&domain.name, EndKey::Port(DOM0_PORT)) });
    }
    if let Some(upstream) = &domain.netvm {
        let (above, here) = match (domain.kind.value, numbering.seat(&domain.name)) {
            (Kind::Appvm, Some(seat)) => (EndKey::Port(seat.port), EndKey::Vif(0)),
            (Kind::Torvm, Some(seat)) => (EndKey::Port(seat.port), EndKey::Port(CHAIN_PORT)),
            _ => (EndKey::Port(CHAIN_PORT), EndKey::Port(CHAIN_PORT)),
        };
        links.push(Link { upper: end(&upstream.value, above), lower: end(&domain.name, here) });
    }
    links
}

#[cfg(test)]
mod tests;
