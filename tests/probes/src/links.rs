//! The link device: sends back whatever comes over any port, until somebody says "quit".

use alloc::boxed::Box;
use link::{Armed, Link, Meta, PeerFault};
use rt::{LinkDevice, Machine, PortBell, PortState, Step};

extern crate alloc;

/// Longest record that is echoed; one that does not fit the ring back is dropped and counted by the link.
const ROOM: usize = 70_000;

struct Echo {
    device: LinkDevice,
    links: [Option<Link<PortBell>>; 32],
    buffer: Box<[u8; ROOM]>,
    /// A record that found the ring full.
    waiting: Option<(usize, Meta, usize)>,
}

/// Runs the echo on every port.
pub(crate) fn echo(mut machine: Machine) -> ! {
    let Some(device) = machine.link_device() else { rt::stop(format_args!("no link device")) };
    log::info!("{} ports", device.ports());
    let mut echo = Echo { device, links: [const { None }; 32], buffer: Box::new([0; ROOM]), waiting: None };
    rt::run(move |_| echo.step())
}

impl Echo {
    fn step(&mut self) -> Step {
        for change in self.device.changes() {
            let port = usize::from(change.port);
            match change.now {
                PortState::Up { role, epoch, link } => {
                    log::info!("port {port} up: {role:?}, epoch {epoch}");
                    self.links[port] = Some(link);
                }
                PortState::Down => {
                    log::info!("port {port} down");
                    self.links[port] = None;
                    self.waiting = self.waiting.filter(|&(waiting, ..)| waiting != port);
                }
            }
        }
        let mut step = Step::IDLE;
        let waited = self.waiting.is_some();
        for port in 0..self.links.len() {
            match self.serve(port) {
                Ok(Armed::Sleep) => {}
                Ok(Armed::Pending) => step = Step::Busy,
                Err(why) => {
                    log::error!("port {port}: {why:?}");
                    self.links[port] = None;
                    self.waiting = self.waiting.filter(|&(waiting, ..)| waiting != port);
                }
            }
        }
        // The buffer is free again, maybe for ports that had their turn before.
        if waited && self.waiting.is_none() { Step::Busy } else { step }
    }

    fn serve(&mut self, port: usize) -> Result<Armed, PeerFault> {
        let Some(link) = &mut self.links[port] else { return Ok(Armed::Sleep) };
        if let Some((_, meta, len)) = self.waiting.filter(|&(waiting, ..)| waiting == port) {
            if link.send(&meta, &[&self.buffer[..len]]).is_err() {
                return link.fault().map_or_else(|| Ok(room(link, len)), Err);
            }
            link.publish();
            self.waiting = None;
        } else if self.waiting.is_some() {
            // Served when the record at hand is gone.
            return Ok(Armed::Sleep);
        }
        while let Some((meta, len)) = link.recv(&mut self.buffer[..])? {
            if &self.buffer[..len] == b"quit" {
                log::info!("{:?}", link.counters());
                rt::exit(0);
            }
            if link.send(&meta, &[&self.buffer[..len]]).is_err() {
                self.waiting = Some((port, meta, len));
                return Ok(room(link, len));
            }
        }
        Ok(link.arm())
    }
}

/// Goes to sleep until a record of `len` bytes has room; that more records wait is no reason to stay awake.
fn room(link: &mut Link<PortBell>, len: usize) -> Armed {
    match link.arm() {
        Armed::Pending if link.fault().is_none() && !link.has_room(len) => Armed::Sleep,
        other => other,
    }
}
