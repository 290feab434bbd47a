//! What `main` is given: the parts of the machine, each to be taken once.

use crate::boot::Handover;
use crate::interrupts::Lapic;
use crate::panic::stop;
use crate::pci::{self, Function, MAX_FUNCTIONS};
use crate::ram::Range;
use crate::{DmaArena, LinkDevice, Region, dma, entropy, tasks, timer, wall_clock};
use abi::boot_info::BootInfo;
use alloc::boxed::Box;
use embassy_executor::Spawner;
use heapless::Vec;

/// The machine, as boot left it.
#[derive(Debug)]
pub struct Machine {
    boot_info: Option<BootInfo>,
    cmdline: &'static str,
    functions: Vec<Function, MAX_FUNCTIONS>,
    link_device_taken: bool,
    state: Option<Range>,
    module: Option<&'static [u8]>,
    heap_len: u64,
}

impl Machine {
    /// Starts the parts that every image needs.
    pub(crate) fn start(handover: &Handover, heap_len: u64) -> Self {
        if !Lapic::start() {
            stop(format_args!("the processor has no local APIC"));
        }
        let cmdline: &'static str = Box::leak(Box::<str>::from(handover.cmdline.as_str()));
        let mut boot_info = handover.boot_info;
        timer::start(boot_info.as_ref(), cmdline).unwrap_or_else(|why| stop(format_args!("{why}")));
        let functions = pci::start(ecam(boot_info.as_ref(), cmdline));
        for function in &functions {
            let (vendor, device) = function.id();
            log::debug!(
                "pci {} {vendor:04x}:{device:04x} class {:06x}",
                function.address(),
                function.class()
            );
        }
        let seed = boot_info.as_mut().map(|info| core::mem::replace(&mut info.seed, [0; 64]));
        match entropy::start(seed.as_ref(), &functions, cmdline) {
            Ok(entropy::Source::Insecure) => {
                log::warn!("random numbers are NOT random, as the command line asks")
            }
            Ok(source) => log::debug!("random numbers from {source:?}"),
            Err(why) => stop(format_args!("{why}")),
        }
        tasks::start();
        wall_clock::start(boot_info.as_ref());
        Self {
            boot_info,
            cmdline,
            functions,
            link_device_taken: false,
            state: handover.state,
            module: handover.module(),
            heap_len,
        }
    }

    /// What our monitor says about this machine; `None` under any other. The seed reads as zero: it was used,
    /// and `entropy` gives out what came of it.
    #[must_use]
    pub fn boot_info(&self) -> Option<&BootInfo> {
        self.boot_info.as_ref()
    }

    /// The PCI functions, in the order of their addresses.
    #[must_use]
    pub fn pci(&self) -> &[Function] {
        &self.functions
    }

    /// Takes the link device; `None` when there is none, or it was taken. One that breaks the contract ends
    /// the domain with a message.
    #[must_use]
    pub fn link_device(&mut self) -> Option<LinkDevice> {
        if core::mem::replace(&mut self.link_device_taken, true) {
            return None;
        }
        let function = self.functions.iter().find(|function| LinkDevice::is(function))?;
        Some(LinkDevice::open(function).unwrap_or_else(|why| stop(format_args!("{why}"))))
    }

    /// The arena from which drivers take memory that devices reach.
    #[must_use]
    pub fn dma_arena(&self) -> DmaArena {
        DmaArena::new()
    }

    /// Takes the memory that outlives this domain; `None` when there is none, or it was taken. What is in it
    /// was left by a predecessor that may have been compromised: untrusted input.
    #[must_use]
    pub fn state(&mut self) -> Option<Region> {
        self.state.take().and_then(dma::state)
    }

    /// Bytes of the heap in all, used or not.
    #[must_use]
    pub fn heap_len(&self) -> u64 {
        self.heap_len
    }

    /// What the loader gave beside the image (the initial RAM disk); `None` when it gave nothing.
    #[must_use]
    pub fn module(&self) -> Option<&'static [u8]> {
        self.module
    }

    /// What tasks are spawned with; they run in [`run`](crate::run).
    ///
    /// # Panics
    /// Never: a machine exists only after boot made the executor.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        tasks::spawner().unwrap_or_else(|| panic!("no executor"))
    }

    /// The command line.
    #[must_use]
    pub fn cmdline(&self) -> &'static str {
        self.cmdline
    }

    /// The value of the last `key=value` word on the command line.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&'static str> {
        crate::boot::option(self.cmdline, key)
    }
}

/// Where the configuration space of bus 0 is mapped: as the boot record or `ecam=` says; 0 for nowhere.
fn ecam(info: Option<&BootInfo>, cmdline: &str) -> u64 {
    let told = info.map_or(0, |info| info.ecam_base);
    let word = crate::boot::option(cmdline, "ecam").map(|word| word.trim_start_matches("0x"));
    match (told, word) {
        (0, Some(hex)) => u64::from_str_radix(hex, 16)
            .unwrap_or_else(|_| stop(format_args!("ecam= must be a hexadecimal address"))),
        (told, _) => told,
    }
}
