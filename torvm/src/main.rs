//! Bare-metal entry of torvm.
#![no_std]
#![no_main]

rt::entry!(main);

fn main(machine: rt::Machine) -> ! {
    let _ = machine;
    rt::stop(format_args!("torvm has no program yet"));
}
