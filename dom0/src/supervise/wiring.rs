//! Plumbs links: two regions and two doorbells between two running parties, in two phases.
//!
//! dom0 makes both regions; each writer maps its own and seals it (`PrepareLink`); dom0 checks the seals; only
//! then does each party get the other's region and the doorbells (`AttachLink`). Every incarnation of a link has
//! fresh regions and a larger epoch, so nothing of a dead domain is ever seen by its successor.

mod cut;

use super::budget::Budget;
use super::runtime::State;
use super::{Input, Reply, Supervisor};
use crate::control_link::ControlLink;
use crate::name::Name;
use crate::plan::{Link, Party};
use crate::problem::Problem;
use crate::protocol::{Answer, Outcome};
use crate::region::{self, ControlEnd, OwnRegion};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::time::Instant;
use vmm_api::message::{End, Request, What};

/// A link of the plan and what has become of it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) link: Link,
    state: WireState,
    /// Its present incarnation.
    pub(super) epoch: u64,
    /// How often it may be plumbed anew because one end accused the other.
    faults: Budget,
}

#[derive(Debug)]
enum WireState {
    /// An end is not running, or it was taken away.
    Down,
    /// The writers map and seal.
    Preparing { upper: Half, lower: Half },
    /// The readers map; so many still have to answer.
    Attaching { left: u8 },
    /// In use.
    Up,
    /// One end accused the other too often; down until one of them is replaced.
    Dead,
}

/// What one party writes, on its way to the other.
#[derive(Debug)]
struct Half {
    memfd: OwnedFd,
    /// The daemon's mapping, when the party is the daemon.
    own: Option<OwnRegion>,
    prepared: bool,
}

/// Which end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Upper,
    Lower,
}

/// Which phase an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Prepare,
    Attach,
}

/// Why a request was made.
#[derive(Debug)]
pub(super) enum Purpose {
    /// For a link.
    Link { link: Link, epoch: u64, side: Side, step: Step },
    /// A domain is cut off from what was above it; it is not linked elsewhere before.
    Cut { client: Name },
    /// A user wants this stream, once the guest has accepted its other end.
    Stream { reply: Reply, stream: OwnedFd },
    /// A user wants the counters.
    Counters,
    /// Only that it is answered matters.
    Note,
}

/// A request that was not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    name: Name,
    run: u64,
    deadline: Instant,
    purpose: Purpose,
}

impl Wire {
    fn new(link: Link) -> Self {
        Self { link, state: WireState::Down, epoch: 0, faults: Budget::default() }
    }

    fn party(&self, side: Side) -> &Party {
        match side {
            Side::Upper => &self.link.upper,
            Side::Lower => &self.link.lower,
        }
    }

    fn is(&self, name: &Name, side: Side) -> bool {
        matches!(self.party(side), Party::Domain(n, _) if n == name)
    }

    const fn is_up(&self) -> bool {
        matches!(self.state, WireState::Up)
    }

    /// Whether any end has been told of the present incarnation.
    pub(super) const fn is_begun(&self) -> bool {
        !matches!(self.state, WireState::Down | WireState::Dead)
    }
}

impl Supervisor {
    /// Sends a request to a domain's VMM and remembers what its answer means.
    pub(super) fn ask(&mut self, name: &Name, what: What, fds: &[OwnedFd], purpose: Purpose) {
        let Some((runtime, vmm)) = self.runtimes.get(name).and_then(|r| Some((r, r.vmm.as_ref()?))) else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = vmm.ask(&Request { id, what }, &borrowed);
        let deadline = Instant::now() + self.settings.times.answer;
        let pending = Pending { name: name.clone(), run: runtime.run, deadline, purpose };
        self.pending.insert(id, pending);
        if let Err(e) = sent {
            self.fault(name, &format!("its VMM takes no requests: {e}"));
        }
    }

    /// A VMM answered a request.
    pub(super) fn answered(&mut self, name: &Name, id: u64, answer: Result<Vec<(String, u64)>, String>) {
        let run = self.runtimes.get(name).map_or(0, |r| r.run);
        let ours = self.pending.get(&id).is_some_and(|p| p.name == *name && p.run == run);
        let Some(pending) = self.pending.remove(&id).filter(|_| ours) else {
            return self.fault(name, "its VMM answered a request that was not made");
        };
        match (pending.purpose, answer) {
            (Purpose::Link { link, epoch, side, step }, answer) => {
                let current = self.wires.iter().position(|w| w.link == link && w.epoch == epoch);
                match (current, answer) {
                    (Some(wire), Ok(_)) => self.step_done(wire, side, step),
                    (Some(_), Err(e)) => self.fault(name, &format!("its VMM refused the {link}: {e}")),
                    // An older incarnation concerns nobody.
                    (None, _) => {}
                }
            }
            (Purpose::Stream { reply, stream }, Ok(_)) => {
                let _ = reply.send((Answer::Done(Outcome::Stream), Some(stream)));
            }
            (Purpose::Stream { reply, .. }, Err(e)) => refuse_stream(&reply, name, &e),
            (Purpose::Counters, Ok(counters)) => self.counters_from_vmm(name, &counters),
            (Purpose::Counters, Err(_)) => self.counters_from_vmm(name, &[]),
            (Purpose::Note | Purpose::Cut { .. }, Ok(_)) => {}
            (Purpose::Cut { client }, Err(e)) => {
                self.fault(name, &format!("its VMM did not let go of a link of {client}: {e}"));
            }
            (Purpose::Note, Err(e)) => tracing::info!(%name, "request refused: {e}"),
        }
    }

    /// Ends VMMs that have not answered in time.
    pub(super) fn answers_due(&mut self, now: Instant) {
        let late: Vec<Name> =
            self.pending.values().filter(|p| p.deadline <= now).map(|p| p.name.clone()).collect();
        for name in late {
            self.fault(&name, "its VMM did not answer in time");
        }
    }

    /// Begins every link that is down and whose ends both run.
    pub(super) fn wire_up(&mut self) {
        for index in 0..self.wires.len() {
            let due = self.wires.get(index).is_some_and(|wire| {
                matches!(wire.state, WireState::Down)
                    && self.runs(&wire.link.upper)
                    && self.runs(&wire.link.lower)
            });
            if due && let Err(e) = self.begin(index) {
                self.blame(index, Side::Lower, &format!("its link cannot be made: {e}"));
            }
        }
    }

    fn runs(&self, party: &Party) -> bool {
        match party {
            Party::Dom0 => true,
            Party::Domain(name, _) => self.runtimes.get(name).is_some_and(|r| r.state == State::Running),
        }
    }

    /// Whether every link that leads upwards from `name`, to a party that runs, is up.
    pub(super) fn links_up(&self, name: &Name) -> bool {
        let mut upwards = self.wires.iter().filter(|w| w.is(name, Side::Lower) && self.runs(&w.link.upper));
        upwards.all(Wire::is_up)
    }

    /// First phase: fresh regions, which their writers map and seal.
    fn begin(&mut self, index: usize) -> io::Result<()> {
        self.epoch += 1;
        let epoch = self.epoch;
        let Some(wire) = self.wires.get_mut(index) else { return Ok(()) };
        let upper = Half::new(&wire.link.upper)?;
        let lower = Half::new(&wire.link.lower)?;
        let fds = [(Side::Upper, upper.memfd.try_clone()?), (Side::Lower, lower.memfd.try_clone()?)];
        (wire.state, wire.epoch) = (WireState::Preparing { upper, lower }, epoch);
        let link = wire.link.clone();
        self.introduce(&link);
        for (side, memfd) in fds {
            if let Some((name, end)) = domain_end(&link, side) {
                let purpose = Purpose::Link { link: link.clone(), epoch, side, step: Step::Prepare };
                self.ask(&name, What::PrepareLink { end }, &[memfd], purpose);
            }
        }
        Ok(())
    }

    fn step_done(&mut self, index: usize, side: Side, step: Step) {
        let Some(wire) = self.wires.get_mut(index) else { return };
        match (&mut wire.state, step) {
            (WireState::Preparing { upper, lower }, Step::Prepare) => {
                match side {
                    Side::Upper => upper.prepared = true,
                    Side::Lower => lower.prepared = true,
                }
                if upper.prepared && lower.prepared {
                    self.attach(index);
                }
            }
            (WireState::Attaching { left }, Step::Attach) => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    wire.state = WireState::Up;
                    tracing::info!(link = %wire.link, epoch = wire.epoch, "link up");
                }
            }
            _ => {}
        }
    }

    /// Second phase: each party gets what the other has sealed, and the doorbells.
    fn attach(&mut self, index: usize) {
        let Some(wire) = self.wires.get_mut(index) else { return };
        let WireState::Preparing { upper, lower } = std::mem::replace(&mut wire.state, WireState::Down)
        else {
            return;
        };
        for (side, half) in [(Side::Upper, &upper), (Side::Lower, &lower)] {
            if let Err(why) = region::verify_sealed(half.memfd.as_fd()) {
                return self.blame(index, side, &format!("its link is not safe: {why}"));
            }
        }
        if let Err(e) = self.exchange(index, upper, &lower) {
            self.blame(index, Side::Lower, &format!("its link cannot be attached: {e}"));
        }
    }

    fn exchange(&mut self, index: usize, upper: Half, lower: &Half) -> io::Result<()> {
        let Some(wire) = self.wires.get_mut(index) else { return Ok(()) };
        let (link, epoch) = (wire.link.clone(), wire.epoch);
        let bell = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (to_upper, to_lower) = (bell()?, bell()?);
        wire.state = WireState::Attaching { left: if link.upper == Party::Dom0 { 1 } else { 2 } };
        let for_lower = vec![upper.memfd.try_clone()?, to_upper.try_clone()?, to_lower.try_clone()?];
        let for_upper = vec![lower.memfd.try_clone()?, to_lower.try_clone()?, to_upper.try_clone()?];
        if let (Some(own), Party::Domain(name, _)) = (upper.own, &link.lower) {
            let end = ControlEnd::new(own, lower.memfd.as_fd(), epoch, to_lower)?;
            self.control_up(name, end, to_upper, epoch)?;
        }
        for (side, fds) in [(Side::Upper, for_upper), (Side::Lower, for_lower)] {
            let Some((name, end)) = domain_end(&link, side) else { continue };
            let role = match side {
                Side::Upper => link.role_of_lower(),
                Side::Lower => link.role_of_upper(),
            };
            let region_len = u32::try_from(region::GEOMETRY.region_len()).unwrap_or(u32::MAX);
            let what = What::AttachLink { end, epoch, role: role as u32, region_len };
            let purpose = Purpose::Link { link: link.clone(), epoch, side, step: Step::Attach };
            self.ask(&name, what, &fds, purpose);
        }
        Ok(())
    }

    fn control_up(&mut self, name: &Name, end: ControlEnd, bell: OwnedFd, epoch: u64) -> io::Result<()> {
        let (outbox, of) = (self.outbox.clone(), name.clone());
        let report = move |report| outbox.send(Input::Control { name: of.clone(), epoch, report }).is_ok();
        let control = ControlLink::start(end, bell, report)?;
        if let Some(runtime) = self.runtimes.get_mut(name) {
            // What was said over the link before may not have been heard.
            runtime.fences.clear();
            runtime.control = Some(control);
        }
        self.greet(name);
        Ok(())
    }

    /// Whether the link that leads upwards from `name` is up.
    pub(super) fn is_linked(&self, name: &Name) -> bool {
        let above = |w: &&Wire| w.is(name, Side::Lower) && w.link.upper != Party::Dom0;
        self.wires.iter().find(above).is_some_and(Wire::is_up)
    }

    /// Takes every link of a dead domain away from its peers.
    pub(super) fn unplug(&mut self, name: &Name) {
        for index in 0..self.wires.len() {
            let Some(wire) = self.wires.get_mut(index).filter(|w| w.link.touches(name)) else { continue };
            if matches!(wire.state, WireState::Dead) {
                wire.state = WireState::Down;
            }
            let peer = if wire.is(name, Side::Upper) { Side::Lower } else { Side::Upper };
            self.take_down(index, &[peer]);
        }
        let gone: Vec<u64> =
            self.pending.iter().filter(|(_, p)| p.name == *name).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(Pending { purpose: Purpose::Stream { reply, .. }, .. }) = self.pending.remove(&id) {
                refuse_stream(&reply, name, "it ended");
            }
        }
    }

    /// Takes a link down and tells the ends given.
    fn take_down(&mut self, index: usize, tell: &[Side]) {
        let Some(wire) = self.wires.get_mut(index).filter(|w| w.is_begun()) else { return };
        wire.state = WireState::Down;
        let link = wire.link.clone();
        for side in tell {
            if let Some((peer, end)) = domain_end(&link, *side) {
                self.ask(&peer, What::DetachLink { end }, &[], Purpose::Note);
            }
        }
    }

    /// `name` says that the peer on one of its ports broke the protocol: the link is plumbed anew, a few times. Where there
    /// is no link, or none any more, there is nothing to do, and nothing to write down again and again.
    pub(super) fn accused(&mut self, name: &Name, port: u8, what: &str) {
        let at = |party: &Party| matches!(party, Party::Domain(n, crate::plan::EndKey::Port(p)) if n == name && *p == port);
        let is_it = |w: &Wire| w.is_begun() && (at(&w.link.upper) || at(&w.link.lower));
        let Some(index) = self.wires.iter().position(is_it) else { return };
        tracing::warn!(%name, port, what, "accuses the peer on a port");
        self.take_down(index, &[Side::Upper, Side::Lower]);
        if let Some(wire) = self.wires.get_mut(index)
            && wire.faults.take(Instant::now()).is_none()
        {
            tracing::warn!(link = %wire.link, "stays down after repeated faults");
            wire.state = WireState::Dead;
        }
    }

    fn blame(&mut self, index: usize, side: Side, why: &str) {
        let Some(wire) = self.wires.get_mut(index) else { return };
        wire.state = WireState::Down;
        let side = if wire.party(side) == &Party::Dom0 { Side::Lower } else { side };
        if let Some((name, _)) = domain_end(&wire.link.clone(), side) {
            self.fault(&name, why);
        }
    }
}

impl Half {
    fn new(party: &Party) -> io::Result<Self> {
        let memfd = region::create()?;
        let own = match party {
            Party::Dom0 => Some(OwnRegion::map_and_seal(memfd.as_fd())?),
            Party::Domain(..) => None,
        };
        Ok(Self { prepared: own.is_some(), memfd, own })
    }
}

fn domain_end(link: &Link, side: Side) -> Option<(Name, End)> {
    let party = match side {
        Side::Upper => &link.upper,
        Side::Lower => &link.lower,
    };
    match party {
        Party::Dom0 => None,
        Party::Domain(name, key) => Some((name.clone(), End::from(*key))),
    }
}

fn refuse_stream(reply: &Reply, name: &Name, why: &str) {
    let remedy = "start bulkhead-agent in the domain, or wait until it has booted";
    let problem = Problem::new(name.to_string(), format!("cannot be reached over vsock: {why}"), remedy);
    let _ = reply.send((Answer::Failed(problem.into()), None));
}
