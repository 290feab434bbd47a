//! What `main` is given: the parts of the machine, each to be taken once.

use crate::boot::Handover;
use crate::interrupts::Lapic;
use crate::panic::stop;
use crate::ram::Plan;
use abi::boot_info::BootInfo;
use alloc::boxed::Box;

/// The machine, as boot left it.
#[derive(Debug)]
pub struct Machine {
    boot_info: Option<BootInfo>,
    cmdline: &'static str,
}

impl Machine {
    /// Starts the parts that every image needs.
    pub(crate) fn start(handover: &Handover, _plan: &Plan) -> Self {
        if !Lapic::start() {
            stop(format_args!("the processor has no local APIC"));
        }
        let cmdline = Box::leak(Box::<str>::from(handover.cmdline.as_str()));
        Self { boot_info: handover.boot_info, cmdline }
    }

    /// What our monitor says about this machine; `None` under any other.
    #[must_use]
    pub fn boot_info(&self) -> Option<&BootInfo> {
        self.boot_info.as_ref()
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
