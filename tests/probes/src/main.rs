//! Shows one property of the runtime, chosen by `probe=` on the command line, and exits.
//!
//! A probe that is meant to fault says `NOT STOPPED` if it was not.
#![no_std]
#![no_main]

mod escape;
mod faults;
mod links;
mod loader;
mod network;
mod nic;
mod timers;
mod user;
mod wakeups;

rt::entry!(main);

fn main(machine: rt::Machine) -> ! {
    match machine.option("probe") {
        Some("hello") => log::info!("hello, {:?}", machine.cmdline()),
        Some("exit") => rt::exit(21),
        Some("panic") => panic!("as asked"),
        Some("null-read") => faults::read_null(),
        Some("null-write") => faults::write_null(),
        Some("write-code") => faults::write_code(),
        Some("write-constant") => faults::write_constant(),
        Some("run-data") => faults::run_data(),
        Some("overflow") => faults::overflow_stack(),
        Some("timer") => timers::sleep_and_wake(&machine),
        Some("divide") => faults::divide(machine.cmdline().len()),
        Some("random") => log::info!("random {:016x} {:016x}", rt::entropy::u64(), rt::entropy::u64()),
        Some("network") => network::discover(&machine),
        Some("interrupts") => network::interrupt_steadily(&machine),
        Some("alarms") => wakeups::alarms(&machine),
        Some("bounce") => wakeups::bounce(&machine),
        Some("link") => links::echo(machine),
        Some("idle") => rt::run(|_| rt::Step::IDLE),
        Some("module") => loader::show(&machine),
        Some("disk") => loader::disk(&machine),
        Some("user-calls") => user::calls(&machine),
        Some("user-faults") => user::faults(),
        Some("user-odd") => user::odd_states(),
        Some("user-touch") => user::touch(),
        Some("user-execute") => user::execute(),
        Some("pci") => list(&machine),
        Some("nic") => nic::obey(&machine),
        Some("dma-escape") => escape::by_dma(&machine),
        other => rt::stop(format_args!("no such probe: {other:?}")),
    }
    rt::exit(0)
}

/// Lists functions, their BARs and MSI-X vectors.
fn list(machine: &rt::Machine) {
    for function in machine.pci() {
        let (vendor, device) = function.id();
        log::info!("{} {vendor:04x}:{device:04x} class {:06x}", function.address(), function.class());
        for (slot, bar) in (0..6).filter_map(|slot| Some((slot, function.bar(slot)?))) {
            log::info!("  BAR {slot}: {:?} {:#x} + {:#x}", bar.kind, bar.base, bar.size);
        }
        if let Some(msix) = function.msix() {
            log::info!("  MSI-X: {} vectors", msix.entries());
        }
    }
    log::info!("{} bytes of DMA arena", machine.dma_arena().left());
}
