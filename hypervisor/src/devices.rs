//! What a device is given to do its work, and which devices a description asks for.

use crate::check::DeviceFiles;
use crate::exits::Exits;
use crate::ioevents::IoEventBackend;
use crate::irq::IrqRouter;
use crate::link_device::{LinkDevice, Port};
use crate::link_end::{LinkEnd, VsockConnector};
use crate::memslots::MemorySlots;
use crate::pci::bus::{Shared, lock};
use crate::{vfio, virtio};
use anyhow::{Context, Result};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Mutex};
use vm_memory::GuestMemoryMmap;
use vmm_api::config::Config;
use vmm_api::message::End;

/// Handles on the machine, cheap to clone. A device keeps what it needs.
///
/// A device that works outside guest accesses runs threads of its own: it makes them when the guest enables
/// it, wakes them by eventfd, and ends and joins them in `PciDevice::shut_down`.
#[derive(Clone)]
pub struct DeviceContext {
    /// The virtual machine, for what has no wrapper below.
    pub vm: Arc<VmFd>,
    /// Guest RAM. Content changes at any moment; links and BARs are not in it.
    pub memory: GuestMemoryMmap,
    /// Interrupts.
    pub irq: Arc<IrqRouter>,
    /// Memory inside BARs.
    pub slots: Arc<MemorySlots>,
}

impl DeviceContext {
    /// The machine as `ioevents::Doorbells` wants it.
    #[must_use]
    pub fn doorbells(&self) -> Arc<dyn IoEventBackend> {
        Arc::<VmFd>::clone(&self.vm)
    }
}

/// The parts of the devices that dom0's requests reach.
#[derive(Default)]
pub struct Reachable {
    /// Link ends by name.
    pub ends: Vec<(End, Box<dyn LinkEnd>)>,
    /// The vsock device.
    pub vsock: Option<Box<dyn VsockConnector>>,
}

/// Builds every device of the description and puts it on the bus, in a fixed order: the guest's names
/// (`vda`, …) follow from it.
///
/// # Errors
/// Which device cannot be had, and why.
pub fn attach(
    config: &Config,
    files: DeviceFiles,
    context: &DeviceContext,
    exits: &Exits,
) -> Result<Reachable> {
    let mut reachable = Reachable::default();
    if config.link_ports > 0 {
        link_device(config.link_ports, context, exits, &mut reachable).context("the link device")?;
    }
    virtio::attach::attach(config, files, (context, exits), &mut reachable)?;
    vfio::attach(config, context, exits).context("an assigned device")?;
    Ok(reachable)
}

fn link_device(ports: u8, context: &DeviceContext, exits: &Exits, reachable: &mut Reachable) -> Result<()> {
    let device = Arc::new(Mutex::new(LinkDevice::new(context, ports)?));
    let shared: Shared = Arc::<Mutex<LinkDevice>>::clone(&device);
    lock(&exits.pci).add(shared)?;
    for number in 0..ports {
        let port = Port { device: Arc::clone(&device), number };
        reachable.ends.push((End::Port(number), Box::new(port)));
    }
    Ok(())
}
