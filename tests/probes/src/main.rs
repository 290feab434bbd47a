//! Shows one property of the runtime, chosen by `probe=` on the command line, and exits.
//!
//! A probe that is meant to fault says `NOT STOPPED` if it was not.
#![no_std]
#![no_main]

mod faults;

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
        Some("divide") => faults::divide(machine.cmdline().len()),
        other => rt::stop(format_args!("no such probe: {other:?}")),
    }
    rt::exit(0)
}
