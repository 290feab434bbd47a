//! One machine from map to run. Each step consumes what the one before made.

use crate::check::Plan;
use crate::console::{self, Output};
use crate::control::{Button, Control, Socket, tell};
use crate::devices::{self, DeviceContext};
use crate::exits::Exits;
use crate::irq::{IrqBackend, IrqRouter};
use crate::kvm::Engine;
use crate::load::{self, Entry, Facts, Images};
use crate::memory::{self, Layout};
use crate::memslots::{GuestWindow, MemorySlots};
use crate::pci::bus::lock;
use crate::power::Power;
use crate::serial::SerialPort;
use crate::stats::Stats;
use crate::vcpu::Processors;
use crate::virtio::counters::Registry;
use crate::{acpi, registers};
use anyhow::{Context, Result, anyhow};
use kvm_ioctls::{VcpuFd, VmFd};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use vmm_api::message::{Ended, Event};

/// Memory and processors exist.
pub struct Mapped {
    context: DeviceContext,
    layout: Layout,
    cpus: Vec<VcpuFd>,
    tsc_khz: u64,
    state: Option<(GuestWindow, u64)>,
}

/// The machine is complete and stands still.
pub struct Attached {
    exits: Arc<Exits>,
    console: Output,
    cpus: Vec<VcpuFd>,
    control: Option<Arc<OwnedFd>>,
    ended: (Sender<Ended>, Receiver<Ended>),
    /// Last: what KVM shows to the guest must outlive the processors.
    kept: (DeviceContext, Option<(GuestWindow, u64)>),
}

impl Mapped {
    /// Makes the virtual machine, its memory and its processors.
    ///
    /// # Errors
    /// What KVM or the host lacks.
    pub fn map(plan: &mut Plan) -> Result<Self> {
        let engine = Engine::new(plan.kvm.take())?;
        let layout = Layout::new(u64::from(plan.config.memory_mib) << 20);
        let memory = memory::allocate(layout)?;
        memory::install(&engine.vm, &memory)?;
        let backend: Arc<dyn IrqBackend> = Arc::<VmFd>::clone(&engine.vm);
        let irq = IrqRouter::new(backend)?;
        let slots = MemorySlots::new(Arc::clone(&engine.vm));
        let state = plan.state.take().map(|file| memory::install_state(&slots, file)).transpose();
        let state = state.map_err(|e| anyhow!("the surviving memory: {e}"))?;
        let (cpus, tsc_khz) = engine.processors(plan.config.vcpus)?;
        let context = DeviceContext { vm: engine.vm, memory, irq, slots };
        Ok(Self { context, layout, cpus, tsc_khz, state })
    }

    /// Puts kernel, tables and boot data into memory and points the first processor at them.
    ///
    /// # Errors
    /// What is wrong with the image.
    pub fn load(&self, plan: &mut Plan) -> Result<Entry> {
        let facts = plan.config.boot_info.then(|| Facts {
            name: plan.config.name.clone(),
            tsc_khz: self.tsc_khz,
            dma_len: u64::from(plan.config.dma_arena_mib) << 20,
            state_len: self.state.as_ref().map_or(0, |(_, len)| *len),
        });
        let mut images = Images {
            kernel: plan.kernel.try_clone().context("the kernel")?,
            initrd: plan.initrd.take(),
            cmdline: plan.config.cmdline.clone(),
            facts,
        };
        let entry = load::load(&self.context.memory, self.layout, &mut images)?;
        acpi::write(&self.context.memory, plan.config.vcpus)?;
        for cpu in &self.cpus {
            registers::set_msrs(cpu)?;
        }
        let first = self.cpus.first().context("a machine without processors")?;
        registers::set_up(first, &self.context.memory, entry)?;
        Ok(entry)
    }

    /// Attaches the devices and the control connection.
    ///
    /// # Errors
    /// Which device cannot be had, and why.
    pub fn attach(self, plan: Plan) -> Result<Attached> {
        let stats = Arc::new(Stats::default());
        let console = Output::start(plan.console_out, Arc::clone(&stats)).context("the console")?;
        let serial = SerialPort::new(&self.context.irq, console.clone())?;
        let keyboard = serial.clone();
        console::start_input(plan.console_in, move |bytes| keyboard.type_in(bytes)).context("the console")?;
        let power = Power::new(&self.context.irq)?;
        let exits =
            Arc::new(Exits { pci: Mutex::default(), serial, power, stats, registry: Registry::default() });
        let devices = devices::attach(&plan.config, plan.files, &self.context, &exits)?;
        let ended = channel();
        let control = plan.control.map(Arc::new);
        if let Some(socket) = &control {
            let button = if plan.config.boot_info { Button::End } else { Button::Acpi };
            let control = Control {
                socket: Arc::clone(socket),
                ends: devices.ends.into_iter().map(|(end, holder)| Socket::new(end, holder)).collect(),
                vsock: devices.vsock,
                exits: Arc::clone(&exits),
                button,
                ended: ended.0.clone(),
            };
            control.start()?;
        }
        Ok(Attached { exits, console, cpus: self.cpus, control, ended, kept: (self.context, self.state) })
    }
}

impl Attached {
    /// Runs the processors until something ends the machine, then stops everything and says why.
    ///
    /// # Errors
    /// When the processors cannot be started.
    pub fn run(self) -> Result<Ended> {
        let (sender, receiver) = self.ended;
        let mut processors =
            Processors::start(self.cpus, &self.exits, &sender).context("processor threads")?;
        if let Some(socket) = &self.control {
            tell(&**socket, &Event::Running);
        }
        let ended = receiver.recv().unwrap_or(Ended::Killed);
        processors.stop();
        let devices = lock(&self.exits.pci).devices().to_vec();
        for device in devices {
            lock(&device).shut_down();
        }
        self.console.finish();
        if let Some(socket) = &self.control {
            tell(&**socket, &Event::Ended(ended.clone()));
        }
        drop(self.kept);
        Ok(ended)
    }
}
