//! Bare-metal entry of torvm: finds the links or cards, the disk and the program, and runs the library.
#![no_std]
#![no_main]

extern crate alloc;

mod image;

use image::disk::VirtioDisk;
use image::nic::Nic;
use image::ring3::Ring3;
use image::{LIMITS, Port, frames_for_program, now};
use rt::user::Space;
use rt::{Clock, LinkDevice, Machine, PortBell, PortChange, PortState, Role, Step, entropy};
use torvm::command_line;
use torvm::guest::Guest as _;
use torvm::layer::{Layer, Parts};
use torvm::net::{Net, UPLINK};
use torvm::torvm::{Manager, Next, Setup, Torvm};

rt::entry!(main);

type Program = Layer<Ring3, Net<Port>, VirtioDisk>;
type Domain = Torvm<Program, PortBell>;

fn main(mut machine: Machine) -> ! {
    let mut links = machine.link_device();
    let manager = if links.is_some() { Manager::Dom0 } else { Manager::Nobody };
    let mut domain = Domain::new(program(&machine), Setup { manager, now: now() });
    if links.is_none() {
        plug_cards(&machine, &mut domain);
    }
    rt::run(move |_| {
        if let Some(links) = &mut links {
            follow(links, &mut domain);
        }
        match domain.poll(|| Clock.us()) {
            Next::Busy => Step::Busy,
            Next::Idle { until_us } => Step::Idle { until_us },
            Next::Stop => rt::exit(0),
        }
    })
}

/// The program in its layer, over this machine's ring 3 and disk.
fn program(machine: &Machine) -> Program {
    let Some(bundle) = machine.module() else {
        rt::stop(format_args!("no bundle: the program is given as the initial RAM disk"));
    };
    let frames = frames_for_program(machine.heap_len()).unwrap_or_else(|why| rt::stop(format_args!("{why}")));
    log::info!("{} KiB for the program of {} KiB", frames.size() >> 10, machine.heap_len() >> 10);
    let Some(space) = Space::new(frames) else { rt::stop(format_args!("no memory for the program")) };
    let disk = machine.virtio_blk().map(VirtioDisk);
    if disk.is_none() {
        log::warn!("no disk: guards are chosen anew at every start");
    }
    let parts = Parts {
        processor: Ring3::new(space),
        sockets: Net::new([entropy::u64(), entropy::u64()]),
        disk,
        bundle,
        random: entropy::fill,
        limits: LIMITS,
    };
    Program::new(parts).unwrap_or_else(|why| rt::stop(format_args!("{why}")))
}

/// Without a link device: the first virtio card is the uplink, the others are clients', as the command line says.
fn plug_cards(machine: &Machine, domain: &mut Domain) {
    let mut clients = command_line::clients(machine.cmdline());
    for (port, card) in (UPLINK..).zip(machine.virtio_nets()) {
        let said =
            if port == UPLINK { command_line::uplink(machine.cmdline(), card.mac()) } else { clients.next() };
        let network = domain.guest().network();
        let taken = match said {
            Some(Ok(station)) if port == UPLINK => network.set_uplink(&station),
            Some(Ok(station)) => network.set_client(port, &station),
            Some(Err(word)) => rt::stop(format_args!("command line: {:?} is not understood", word.0)),
            None => true,
        };
        if !taken {
            rt::stop(format_args!("command line: card {port} is described wrongly"));
        }
        domain.attach(port, Port::Nic(Nic::new(card)));
    }
}

/// Hands links that came up to the domain, and takes away those that went down.
fn follow(links: &mut LinkDevice, domain: &mut Domain) {
    for PortChange { port, now } in links.changes() {
        match now {
            PortState::Up { role: Role::Dom0, link, .. } => domain.attach_dom0(link),
            PortState::Up { role, epoch, link } => {
                log::info!("port {port}: {role:?}, epoch {epoch}");
                domain.attach(port, Port::Link(link));
            }
            PortState::Down if port == 0 => domain.detach_dom0(),
            PortState::Down => domain.detach(port),
        }
    }
}
