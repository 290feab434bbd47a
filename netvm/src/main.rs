//! Bare-metal entry of netvm: finds the card and the links, and runs the library.
#![no_std]
#![no_main]

extern crate alloc;

mod image;

use image::Card;
use netvm::{Netvm, Progress};
use rt::{LinkDevice, PortBell, PortChange, PortState, Role, Step};

rt::entry!(main);

fn main(mut machine: rt::Machine) -> ! {
    let card = Card::open(&machine).unwrap_or_else(|why| rt::stop(format_args!("{why}")));
    let mut links = machine.link_device();
    if links.is_none() {
        log::warn!("no link device: nobody to forward to");
    }
    let netvm = Netvm::<Card, PortBell>::new(card, rt::entropy::u64());
    let mut netvm = netvm.unwrap_or_else(|why| rt::stop(format_args!("{why}")));
    rt::run(move |now_us| {
        if let Some(links) = &mut links {
            follow(links, &mut netvm);
        }
        match netvm.step(now_us) {
            Ok(Progress::Busy) => Step::Busy,
            Ok(Progress::Idle { until_us }) => Step::Idle { until_us: Some(until_us) },
            Ok(Progress::Stop) => rt::exit(0),
            Err(why) => rt::stop(format_args!("{why}")),
        }
    })
}

/// Hands links that came up to the domain, and takes away those that went down.
fn follow(links: &mut LinkDevice, netvm: &mut Netvm<Card, PortBell>) {
    for PortChange { port, now } in links.changes() {
        netvm.detach(port);
        match now {
            PortState::Up { role: Role::Dom0, link, .. } => netvm.attach_dom0(port, link),
            PortState::Up { role: Role::Downstream, link, .. } => netvm.attach_firewall(port, link),
            PortState::Up { role: Role::Upstream, .. } => log::warn!("port {port}: netvm has no upstream"),
            PortState::Down => {}
        }
    }
}
