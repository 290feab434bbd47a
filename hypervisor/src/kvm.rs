//! The virtual machine as KVM knows it: interrupt controllers, timer, processors.

use crate::cpuid;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

/// Pages that Intel processors need for real-mode emulation; elsewhere unused, and far from everything.
const IDENTITY_MAP: u64 = 0xFFFB_C000;
const TSS: usize = 0xFFFB_D000;

/// Why KVM cannot run a machine here.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// `/dev/kvm` is missing or not ours.
    #[error(
        "cannot open /dev/kvm: {0}; is virtualisation enabled in the firmware, and kvm_amd or kvm_intel loaded?"
    )]
    Open(kvm_ioctls::Error),
    /// The descriptor is no KVM device or an ancient one.
    #[error("the KVM device speaks API version {0}, not 12")]
    Version(i32),
    /// A needed capability is missing.
    #[error("this kernel's KVM has no {0}")]
    Missing(&'static str),
    /// A call failed.
    #[error("KVM cannot {what}: {error}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// What KVM says.
        error: kvm_ioctls::Error,
    },
}

/// What must be there.
const NEEDED: [(Cap, &str); 7] = [
    (Cap::Irqchip, "in-kernel interrupt controllers"),
    (Cap::Irqfd, "irqfd"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::IrqRouting, "interrupt routing"),
    (Cap::UserMemory, "user memory"),
    (Cap::ReadonlyMem, "read-only memory slots"),
    (Cap::ExtCpuid, "CPUID control"),
];

/// One virtual machine.
pub struct Engine {
    kvm: Kvm,
    /// The machine's handle.
    pub vm: Arc<VmFd>,
}

fn call(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmError {
    move |error| KvmError::Call { what, error }
}

impl Engine {
    /// Makes a machine with interrupt controllers and PIT, from an inherited `/dev/kvm` or by name.
    ///
    /// # Errors
    /// [`KvmError`] says what is missing.
    pub fn new(device: Option<OwnedFd>) -> Result<Self, KvmError> {
        let kvm = match device {
            // SAFETY: ownership of the descriptor moves to the handle; that it is KVM is checked next.
            Some(fd) => unsafe { Kvm::from_raw_fd(fd.into_raw_fd()) },
            None => Kvm::new().map_err(KvmError::Open)?,
        };
        let version = kvm.get_api_version();
        if version != 12 {
            return Err(KvmError::Version(version));
        }
        for (capability, name) in NEEDED {
            if !kvm.check_extension(capability) {
                return Err(KvmError::Missing(name));
            }
        }
        let vm = kvm.create_vm().map_err(call("create a virtual machine"))?;
        vm.set_identity_map_address(IDENTITY_MAP).map_err(call("place the identity map"))?;
        vm.set_tss_address(TSS).map_err(call("place the task state segment"))?;
        vm.create_irq_chip().map_err(call("create interrupt controllers"))?;
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.create_pit2(pit).map_err(call("create the interval timer"))?;
        Ok(Self { kvm, vm: Arc::new(vm) })
    }

    /// Makes `count` processors with their CPUID; registers are still those of reset. Returns them with the
    /// frequency of their time-stamp counter in kHz (0 when KVM does not say).
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn processors(&self, count: u8) -> Result<(Vec<VcpuFd>, u64), KvmError> {
        let supported = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let supported = supported.map_err(call("list CPUID"))?;
        let errata = cpuid::Errata::of_this_host();
        let mut processors = Vec::new();
        let mut tsc_khz = 0;
        for id in 0..count {
            let cpu = self.vm.create_vcpu(id.into()).map_err(call("create a processor"))?;
            if id == 0 && self.kvm.check_extension(Cap::GetTscKhz) {
                tsc_khz = cpu.get_tsc_khz().unwrap_or(0);
            }
            let topology = cpuid::Topology { id: id.into(), count: count.into() };
            let deadline = self.kvm.check_extension(Cap::TscDeadlineTimer);
            let timing = cpuid::Timing { tsc_khz, tsc_deadline: deadline };
            let mut entries = cpuid::filter(supported.as_slice(), topology, timing);
            if errata == cpuid::Errata::XsetbvNotIntercepted {
                cpuid::hide_xsave(&mut entries);
            }
            let table = CpuId::from_entries(&entries).map_err(|_| KvmError::Missing("room for CPUID"))?;
            cpu.set_cpuid2(&table).map_err(call("set CPUID"))?;
            processors.push(cpu);
        }
        Ok((processors, tsc_khz.into()))
    }
}
