//! Requests from dom0 while the machine runs, each answered by done or failed.

use crate::check::SetupError;
use crate::exits::Exits;
use crate::fd::into_event;
use crate::link_end::{AttachedLink, LinkEnd, LinkError, ReadableRegion, VsockConnector, WritableRegion};
use crate::stats::count;
use abi::link_device::Role;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use vmm_api::message::{End, Ended, Event, Request, What};
use vmm_api::wire::{self, WireError};

/// What pressing the power button means to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// An ACPI event: the guest's operating system decides.
    Acpi,
    /// A unikernel has nothing to save: the machine ends.
    End,
}

/// One end of a link and its history.
pub struct Socket {
    /// Its name in requests.
    pub end: End,
    /// Who serves it.
    pub holder: Box<dyn LinkEnd>,
    prepared: Option<WritableRegion>,
    epoch: u64,
}

impl Socket {
    /// An end that was never attached.
    #[must_use]
    pub fn new(end: End, holder: Box<dyn LinkEnd>) -> Self {
        Self { end, holder, prepared: None, epoch: 0 }
    }
}

/// Carries out requests.
pub struct Control {
    /// Connection to dom0.
    pub socket: Arc<OwnedFd>,
    /// The machine's link ends.
    pub ends: Vec<Socket>,
    /// The vsock device.
    pub vsock: Option<Box<dyn VsockConnector>>,
    /// Counters and power button.
    pub exits: Arc<Exits>,
    /// What the power button does.
    pub button: Button,
    /// Ends the machine.
    pub ended: Sender<Ended>,
}

/// What came of a request that was carried out.
enum Outcome {
    Done,
    /// The counters asked for.
    Stats(Vec<(String, u64)>),
    /// The machine is to end.
    End(Ended),
}

/// Sends an event; a dom0 that is gone shows at the next receive.
pub fn tell(socket: impl AsFd, event: &Event) {
    if let Err(error) = wire::send(socket, event, &[]) {
        tracing::warn!(%error, "event not delivered");
    }
}

impl Control {
    /// Starts the thread that serves requests.
    ///
    /// # Errors
    /// [`SetupError`] when no thread can be started.
    pub fn start(mut self) -> Result<(), SetupError> {
        let failed = |error| SetupError::File { what: "the control thread", place: "start".into(), error };
        thread::Builder::new().name("control".into()).spawn(move || self.serve()).map(drop).map_err(failed)
    }

    /// Serves until dom0 is gone. Then the machine ends: nobody could stop it or replace its peers.
    fn serve(&mut self) {
        loop {
            match wire::recv::<Request>(&*self.socket) {
                Ok((request, fds)) => self.answer(&request, fds),
                Err(WireError::Malformed(error)) => tracing::warn!(%error, "request ignored"),
                Err(error) => {
                    tracing::warn!(%error, "dom0 is gone");
                    let _ = self.ended.send(Ended::Killed);
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: &Request, fds: Vec<OwnedFd>) {
        let id = request.id;
        let (event, end) = match self.act(&request.what, fds) {
            Ok(Outcome::Done) => (Event::Done { id }, None),
            Ok(Outcome::Stats(counters)) => (Event::Stats { id, counters }, None),
            Ok(Outcome::End(end)) => (Event::Done { id }, Some(end)),
            Err(error) => (Event::Failed { id, error: error.to_string() }, None),
        };
        tell(&*self.socket, &event);
        // First the answer: nothing comes after `Event::Ended`.
        if let Some(end) = end {
            let _ = self.ended.send(end);
        }
    }

    fn act(&mut self, what: &What, fds: Vec<OwnedFd>) -> Result<Outcome, LinkError> {
        match *what {
            What::PrepareLink { end } => {
                let [region] = exactly(fds)?;
                self.end(end)?.prepared = Some(WritableRegion::prepare(region)?);
            }
            What::AttachLink { end, epoch, role, region_len } => {
                self.attach(end, epoch, role, (region_len, exactly(fds)?))?;
                count(&self.exits.stats.links_attached);
            }
            What::DetachLink { end } => {
                self.end(end)?.holder.detach();
                count(&self.exits.stats.links_detached);
            }
            What::VsockConnect { port } => {
                let [stream] = exactly(fds)?;
                let device = self.vsock.as_mut();
                let device = device.ok_or(LinkError::Other("this machine has no vsock device".into()))?;
                device.connect(port, stream).map_err(LinkError::Other)?;
            }
            What::PowerButton => match self.button {
                Button::Acpi => self.exits.power.press(),
                Button::End => return Ok(Outcome::End(Ended::PoweredOff)),
            },
            What::Kill => return Ok(Outcome::End(Ended::Killed)),
            What::Stats => return Ok(Outcome::Stats(self.exits.counters())),
        }
        Ok(Outcome::Done)
    }

    fn attach(
        &mut self,
        end: End,
        epoch: u64,
        role: u32,
        (region_len, fds): (u32, [OwnedFd; 3]),
    ) -> Result<(), LinkError> {
        let socket = self.end(end)?;
        let role = Role::from_u32(role).ok_or(LinkError::BadRole(role))?;
        if epoch <= socket.epoch {
            return Err(LinkError::OldEpoch { new: epoch, old: socket.epoch });
        }
        let [region, ring, bell] = fds;
        let theirs = ReadableRegion::open(region, region_len)?;
        let ours = socket.prepared.take().ok_or(LinkError::NotPrepared)?;
        let real = ours.mapping().size() as u64;
        if real != u64::from(region_len) {
            return Err(LinkError::LengthMismatch { real, said: region_len.into() });
        }
        let (ring, bell) = (into_event(ring), into_event(bell));
        socket.holder.attach(AttachedLink { epoch, role, region_len, ours, theirs, ring, bell })?;
        socket.epoch = epoch;
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<&mut Socket, LinkError> {
        self.ends.iter_mut().find(|s| s.end == end).ok_or(LinkError::NoSuchEnd)
    }
}

fn exactly<const N: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; N], LinkError> {
    <[OwnedFd; N]>::try_from(fds).map_err(|fds| LinkError::Descriptors { needed: N, got: fds.len() })
}
