//! One thread per device, alive from before the machine is confined until it ends.
//!
//! Here: the wait loop, the mailbox through which the transport starts and stops a session, and the end of
//! a session whose driver broke a rule. Not here: what a device does with its queues.

use super::counters::{Counter, Registry};
use super::device::{Control, Session};
use super::queue::QueueFault;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Number by which a waiting descriptor is known. Queues are known by their index.
pub type Token = u64;
const MAILBOX: Token = u64::MAX;
/// First token that a device may use for descriptors of its own.
pub const OWN: Token = 0x1_0000;

const EVENTS: usize = 32;

/// A descriptor that woke the thread.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which one.
    pub token: Token,
    /// Why.
    pub events: EventSet,
}

/// What to do after a round of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Sleep until something happens.
    Wait,
    /// There is more to do: look at the mailbox and come back.
    Again,
}

/// The device's side of the thread.
pub trait Backend: Send + 'static {
    /// What the control thread may ask for.
    type Command: Send + 'static;

    /// A session began.
    fn start(&mut self, _session: &Session) {}
    /// The session ended: everything that belongs to it is forgotten.
    fn stop(&mut self, _poller: &Poller) {}
    /// The control thread asks for something.
    fn command(&mut self, command: Self::Command, stage: &mut Stage);
    /// Something is ready (or [`Next::Again`] was returned): does a bounded amount of work.
    ///
    /// # Errors
    /// A [`QueueFault`] ends the session and asks the driver for a reset.
    fn run(&mut self, stage: &mut Stage, ready: &[Ready]) -> Result<Next, QueueFault>;
}

/// Where a back end plays: the session, if there is one, and the set of descriptors waited for.
pub struct Stage {
    /// The session.
    pub session: Option<Session>,
    /// The set.
    pub poller: Poller,
}

/// The set of descriptors that wake the thread.
pub struct Poller(Epoll);

impl Poller {
    fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new()?))
    }

    /// Waits for a descriptor too.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&self, fd: &impl AsRawFd, events: EventSet, token: Token) -> io::Result<()> {
        self.0.ctl(ControlOperation::Add, fd.as_raw_fd(), EpollEvent::new(events, token))
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn change(&self, fd: &impl AsRawFd, events: EventSet, token: Token) -> io::Result<()> {
        self.0.ctl(ControlOperation::Modify, fd.as_raw_fd(), EpollEvent::new(events, token))
    }

    /// Waits for a descriptor no more; one that is unknown is not an error.
    pub fn remove(&self, fd: &impl AsRawFd) {
        // The only failure is that it is not in the set.
        let _ = self.0.ctl(ControlOperation::Delete, fd.as_raw_fd(), EpollEvent::default());
    }

    fn wait(&self, next: Next, events: &mut [EpollEvent; EVENTS]) -> io::Result<usize> {
        let timeout = if next == Next::Again { 0 } else { -1 };
        loop {
            match self.0.wait(timeout, events) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

enum Message<C> {
    Start(Session),
    Stop(SyncSender<()>),
    Command(C),
}

/// The other threads' handle on a worker.
pub struct Worker<C> {
    mailbox: Mutex<Sender<Message<C>>>,
    bell: Arc<EventFd>,
}

impl<C: Send + 'static> Worker<C> {
    /// Starts the thread.
    ///
    /// # Errors
    /// No descriptors or no thread to be had.
    pub fn spawn<B: Backend<Command = C>>(
        name: &str,
        notify: &[Arc<EventFd>],
        registry: &Registry,
        backend: B,
    ) -> io::Result<Arc<Self>> {
        let (sender, receiver) = channel();
        let bell = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let poller = Poller::new()?;
        poller.add(bell.as_ref(), EventSet::IN, MAILBOX)?;
        for (token, fd) in (0..).zip(notify) {
            poller.add(fd.as_ref(), EventSet::IN, token)?;
        }
        let thread = Thread {
            backend,
            stage: Stage { session: None, poller },
            receiver,
            bell: bell.clone(),
            notify: notify.to_vec(),
            faults: registry.counter(name, "driver_faults"),
            name: name.to_owned(),
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || thread.run())?;
        Ok(Arc::new(Self { mailbox: Mutex::new(sender), bell }))
    }

    /// Hands a command to the device's thread.
    pub fn command(&self, command: C) {
        self.post(Message::Command(command));
    }

    fn post(&self, message: Message<C>) {
        let mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        if mailbox.send(message).is_ok() && self.bell.write(1).is_err() {
            tracing::error!("a device's thread cannot be woken");
        }
    }
}

/// The thread ends with its last handle.
impl<C> Drop for Worker<C> {
    fn drop(&mut self) {
        let (closed, _) = channel();
        *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        let _ = self.bell.write(1);
    }
}

impl<C: Send + 'static> Control for Worker<C> {
    fn start(&self, session: Session) {
        self.post(Message::Start(session));
    }

    fn stop(&self) {
        let (sender, receiver) = sync_channel(1);
        self.post(Message::Stop(sender));
        // An error means that the thread is gone, and with it the session.
        let _ = receiver.recv();
    }
}

struct Thread<B: Backend> {
    backend: B,
    stage: Stage,
    receiver: Receiver<Message<B::Command>>,
    bell: Arc<EventFd>,
    notify: Vec<Arc<EventFd>>,
    faults: Counter,
    name: String,
}

impl<B: Backend> Thread<B> {
    fn run(mut self) {
        let mut events = [EpollEvent::default(); EVENTS];
        let mut ready = Vec::with_capacity(EVENTS);
        let mut next = Next::Wait;
        loop {
            let count = match self.stage.poller.wait(next, &mut events) {
                Ok(count) => count,
                Err(error) => {
                    tracing::error!(device = self.name, %error, "waiting failed: device stops");
                    return;
                }
            };
            ready.clear();
            let mut open = true;
            for event in &events[..count] {
                open &= self.note(Ready { token: event.data(), events: event.event_set() }, &mut ready);
            }
            if !open {
                return;
            }
            next = match self.backend.run(&mut self.stage, &ready) {
                Ok(next) => next,
                Err(fault) => self.fail(fault),
            };
        }
    }

    /// Takes note of one event; false when nobody can send messages any more.
    fn note(&mut self, one: Ready, ready: &mut Vec<Ready>) -> bool {
        if one.token == MAILBOX {
            let _ = self.bell.read();
            return self.open_mailbox();
        }
        if let Some(fd) = usize::try_from(one.token).ok().and_then(|index| self.notify.get(index)) {
            let _ = fd.read();
        }
        ready.push(one);
        true
    }

    fn open_mailbox(&mut self) -> bool {
        loop {
            let message = match self.receiver.try_recv() {
                Ok(message) => message,
                Err(nothing) => return nothing == TryRecvError::Empty,
            };
            match message {
                Message::Start(session) => {
                    self.backend.start(&session);
                    self.stage.session = Some(session);
                }
                Message::Stop(done) => {
                    self.stage.session = None;
                    self.backend.stop(&self.stage.poller);
                    let _ = done.send(());
                }
                Message::Command(command) => self.backend.command(command, &mut self.stage),
            }
        }
    }

    fn fail(&mut self, fault: QueueFault) -> Next {
        self.faults.bump();
        tracing::warn!(device = self.name, %fault, "driver broke a rule: device needs reset");
        if let Some(session) = self.stage.session.take() {
            self.backend.stop(&self.stage.poller);
            session.interrupt.needs_reset();
        }
        Next::Wait
    }
}

/// Makes one eventfd per queue.
///
/// # Errors
/// No descriptors to be had.
pub fn notifiers(count: usize) -> io::Result<Vec<Arc<EventFd>>> {
    (0..count).map(|_| Ok(Arc::new(EventFd::new(EFD_NONBLOCK)?))).collect()
}
