//! Waiting for several things.

use super::descriptors::number_of;
use super::{Arguments, Done, Stop};
use crate::descriptors::{Description, MOST, Object, flags};
use crate::disk::Disk;
use crate::epoll::{Epoll, Interest};
use crate::errno::Errno;
use crate::eventfd::EventFd;
use crate::layer::{Layer, MOST_EPOLLS};
use crate::memory::read_array;
use crate::processor::Processor;
use crate::sockets::{Readiness, Sockets};
use alloc::vec::Vec;

const CTL_ADD: u32 = 1;
const CTL_DEL: u32 = 2;
const CTL_MOD: u32 = 3;
const EFD_SEMAPHORE: u32 = 1;
/// Most events that one call reports.
const MOST_EVENTS: usize = 1024;

const POLLNVAL: u16 = 0x20;
/// `POLLIN`, `POLLOUT` and their names for ordinary data.
const READABLE: u16 = 0x1 | 0x40;
const WRITABLE: u16 = 0x4 | 0x100;
const POLLRDHUP: u16 = 0x2000;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `eventfd2`.
    pub(super) fn eventfd(&mut self, count: u32, how: u32) -> Done {
        if how & !(flags::NONBLOCK | flags::CLOEXEC | EFD_SEMAPHORE) != 0 {
            return Err(Errno::INVAL.into());
        }
        let counter = EventFd::new(u64::from(count), how & EFD_SEMAPHORE != 0);
        let description = Description::new(Object::EventFd(counter), flags::RDWR | how & flags::NONBLOCK);
        Ok(number_of(self.descriptors.add(description, how & flags::CLOEXEC != 0)?))
    }

    /// `epoll_create1`.
    pub(super) fn epoll_create(&mut self, how: u32) -> Done {
        if how & !flags::CLOEXEC != 0 {
            return Err(Errno::INVAL.into());
        }
        if self.epolls.len() >= MOST_EPOLLS {
            return Err(Errno::NFILE.into());
        }
        let description = Description::new(Object::Epoll, flags::RDWR);
        let fd = self.descriptors.add(description, how != 0)?;
        self.epolls.insert(self.descriptors.serial(fd)?, Epoll::default());
        Ok(number_of(fd))
    }

    /// `epoll_ctl`.
    pub(super) fn epoll_ctl(&mut self, a: Arguments) -> Done {
        let (set, operation, fd, event) = (a.int(0), a.low(1), a.int(2), a.word(3));
        let interest = match operation {
            CTL_DEL => None,
            _ => {
                let [e0, e1, e2, e3, data @ ..]: [u8; 12] = read_array(self.memory(), event)?;
                let events = u32::from_le_bytes([e0, e1, e2, e3]);
                Some(Interest { events, data: u64::from_le_bytes(data) })
            }
        };
        let set = self.descriptors.serial(set)?;
        let serial = self.descriptors.serial(fd)?;
        self.can_be_waited_for(fd)?;
        let set = self.epolls.get_mut(&set).ok_or(Errno::INVAL)?;
        match (operation, interest) {
            (CTL_ADD, Some(interest)) => set.add(fd, serial, interest)?,
            (CTL_MOD, Some(interest)) => set.modify(fd, serial, interest)?,
            (CTL_DEL, _) => set.remove(fd, serial)?,
            _ => return Err(Errno::INVAL.into()),
        }
        Ok(0)
    }

    /// `epoll_wait`, `epoll_pwait`: there are no signals.
    pub(super) fn epoll_wait(&mut self, a: Arguments) -> Done {
        let (fd, out, most, timeout) = (a.int(0), a.word(1), a.int(2), a.int(3));
        let most = usize::try_from(most).ok().filter(|most| *most > 0).ok_or(Errno::INVAL)?;
        let set = self.descriptors.serial(fd)?;
        let events = self.report(set, most.min(MOST_EVENTS))?;
        if events.is_empty() {
            return self.wait(super::time::from_ms(timeout));
        }
        let mut bytes = Vec::with_capacity(12 * events.len());
        for event in &events {
            bytes.extend_from_slice(&event.events.to_le_bytes());
            bytes.extend_from_slice(&event.data.to_le_bytes());
        }
        self.memory().write(out, &bytes)?;
        Ok(events.len() as u64)
    }

    /// `poll`; `None` waits without end.
    pub(super) fn poll(&mut self, list: u64, count: u64, timeout_us: Option<u64>) -> Done {
        if count > MOST as u64 {
            return Err(Errno::INVAL.into());
        }
        let mut ready = 0;
        for index in 0..count {
            let at = list.checked_add(8 * index).ok_or(Errno::FAULT)?;
            let [f0, f1, f2, f3, e0, e1, ..]: [u8; 8] = read_array(self.memory(), at)?;
            let fd = i32::from_le_bytes([f0, f1, f2, f3]);
            let events = match (fd, self.ready(fd)) {
                (..0, _) => 0,
                (_, Ok(ready)) => polled(u16::from_le_bytes([e0, e1]), ready.bits),
                (_, Err(_)) => POLLNVAL,
            };
            self.memory().write(at.checked_add(6).ok_or(Errno::FAULT)?, &events.to_le_bytes())?;
            ready += u64::from(events != 0);
        }
        if ready > 0 { Ok(ready) } else { self.wait(timeout_us) }
    }

    /// `ppoll`: there are no signals.
    pub(super) fn ppoll(&mut self, a: Arguments) -> Done {
        let timeout = match a.word(2) {
            0 => None,
            at => Some(super::time::duration(self.memory(), at)?),
        };
        self.poll(a.word(0), a.word(1), timeout)
    }

    /// Nothing happened yet: the call waits, or returns 0 when its time is over.
    pub(super) fn wait(&self, timeout_us: Option<u64>) -> Done {
        let until = match self.waiting {
            Some((_, until)) => until,
            None => timeout_us.map(|timeout| self.now.us.saturating_add(timeout)),
        };
        if until.is_some_and(|until| until <= self.now.us) { Ok(0) } else { Err(Stop::Wait(until)) }
    }
}

/// What `poll` says, of what it was asked and what there is.
fn polled(asked: u16, bits: u32) -> u16 {
    let mut out = 0;
    let mut add = |bit, events| out |= if bits & bit != 0 { events } else { 0 };
    add(Readiness::IN, asked & READABLE);
    add(Readiness::OUT, asked & WRITABLE);
    add(Readiness::RDHUP, asked & POLLRDHUP);
    add(Readiness::ERR, 0x8);
    add(Readiness::HUP, 0x10);
    out
}
