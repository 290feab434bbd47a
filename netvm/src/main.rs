//! Bare-metal entry of netvm.
#![no_std]
#![no_main]

rt::entry!(main);

fn main(machine: rt::Machine) -> ! {
    log::info!("netvm up, command line {:?}", machine.cmdline());
    rt::run(|_| rt::Step::IDLE)
}
