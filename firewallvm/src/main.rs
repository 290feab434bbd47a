//! Bare-metal entry of firewallvm.
#![no_std]
#![no_main]

rt::entry!(main);

fn main(machine: rt::Machine) -> ! {
    log::info!("firewallvm up, command line {:?}", machine.cmdline());
    rt::run(|_| rt::Step::IDLE)
}
