//! Bare-metal entry of firewallvm: sizes the tables to the memory, then hands every change of the link device and
//! every tick to the library.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use firewallvm::{Firewall, Next, state::Setup};
use rt::{PortBell, PortState, Step};

rt::entry!(main);

/// IPv4 flows, IPv6 flows, and the memory in bytes that must be left for clients (128 KiB each for reassembly).
const SIZES: [(u32, u32, usize); 5] = [
    (65_536, 16_384, 9 << 19),
    (32_768, 8_192, 9 << 19),
    (16_384, 4_096, 2 << 20),
    (8_192, 2_048, 1 << 20),
    (4_096, 1_024, 1 << 20),
];

fn main(mut machine: rt::Machine) -> ! {
    let Some(mut device) = machine.link_device() else {
        rt::stop(format_args!("firewallvm needs a link device"));
    };
    let Some(mut firewall) = SIZES.iter().find_map(|size| start(*size)) else {
        rt::stop(format_args!("not enough memory for the flow tables"));
    };
    rt::run(move |now_us| {
        for change in device.changes() {
            match change.now {
                PortState::Up { role, epoch, link } => {
                    log::info!("port {}: {role:?}, epoch {epoch}", change.port);
                    firewall.attach(change.port, role, link);
                }
                PortState::Down => {
                    log::info!("port {}: down", change.port);
                    firewall.detach(change.port);
                }
            }
        }
        match firewall.poll(now_us) {
            Next::Busy => Step::Busy,
            Next::Idle { until_us } => Step::Idle { until_us },
            Next::Stop => rt::exit(0),
        }
    })
}

/// A firewall of this size, if there is memory for it and for its clients.
fn start((v4_flows, v6_flows, left): (u32, u32, usize)) -> Option<Firewall<PortBell>> {
    let mut headroom: Vec<u8> = Vec::new();
    headroom.try_reserve_exact(left).ok()?;
    let mut seed = [0; 64];
    rt::entropy::fill(&mut seed);
    let firewall = Firewall::new(&Setup { v4_flows, v6_flows, seed }).ok()?;
    log::info!("firewallvm: {v4_flows} flows of IPv4, {v6_flows} of IPv6");
    Some(firewall)
}
