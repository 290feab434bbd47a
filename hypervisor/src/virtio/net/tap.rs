//! A network device whose other end is a tap interface of the host: for a netvm without a NIC of its own.

mod requests;

use super::header::{self, LEN, Offloads};
use super::wire::{Refused, Room, Wants, Wire};
use super::{Identity, device};
use crate::virtio::counters::{Counter, Registry};
use crate::virtio::device::Device;
use crate::virtio::worker::{Next, OWN, Poller};
use link::Meta;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use vmm_sys_util::epoll::EventSet;

/// Why a tap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Not a name of an interface.
    #[error("{0:?} does not name an interface of 1 to 15 bytes")]
    BadName(std::path::PathBuf),
    /// The descriptor is a tun, or has no header before its frames.
    #[error("the descriptor must be a tap opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR (has {0:#x})")]
    BadFlags(i16),
    /// The host refused something.
    #[error("the tap cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Opens the tap interface that the last part of `path` names (`tap0`, `/sys/class/net/tap0`).
///
/// # Errors
/// [`TapError`]; most often a name that is taken or a missing privilege.
pub fn open(path: &Path) -> Result<File, TapError> {
    let bad = || TapError::BadName(path.to_owned());
    let name = path.file_name().ok_or_else(bad)?.as_encoded_bytes();
    let mut bytes = [0; 16];
    bytes.get_mut(..name.len()).filter(|_| name.len() < 16).ok_or_else(bad)?.copy_from_slice(name);
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    requests::connect(&tun, &bytes)?;
    Ok(tun)
}

/// Checks and prepares a tap that dom0 or [`open`] opened.
///
/// # Errors
/// [`TapError`].
pub fn prepare(tap: &File) -> Result<(), TapError> {
    let flags = requests::flags(tap)?;
    let needed = requests::TAP | requests::NO_PI | requests::VNET_HEADER;
    if flags & needed != needed {
        return Err(TapError::BadFlags(flags));
    }
    requests::set_header_len(tap, i32::try_from(LEN).unwrap_or(i32::MAX))?;
    requests::set_offload(tap, 0)?;
    rustix::io::ioctl_fionbio(tap, true).map_err(io::Error::from)?;
    Ok(())
}

/// Makes the device and its thread around a prepared tap.
///
/// # Errors
/// No descriptors or no thread to be had.
pub fn new(name: &str, identity: Identity, tap: File, registry: &Registry) -> io::Result<Device> {
    let wire = Tap {
        tap,
        polled: false,
        dead: false,
        offloads: Offloads::default(),
        mtu: identity.mtu,
        packet: vec![0; LEN + link::MAX_PAYLOAD],
        errors: registry.counter(name, "tap_errors"),
        malformed: registry.counter(name, "drop.malformed_by_tap"),
    };
    Ok(device(name, identity, wire, registry)?.0)
}

struct Tap {
    tap: File,
    /// Whether the poller waits for frames now.
    polled: bool,
    /// The interface was removed.
    dead: bool,
    offloads: Offloads,
    mtu: u16,
    packet: Vec<u8>,
    errors: Counter,
    malformed: Counter,
}

impl Tap {
    /// Reads one frame; `None` when there is none.
    fn read(&mut self) -> Option<usize> {
        match rustix::io::read(&self.tap, &mut self.packet[..]) {
            Ok(len) => Some(len).filter(|len| *len > 0),
            Err(rustix::io::Errno::AGAIN) => None,
            Err(error) => {
                tracing::warn!(%error, "tap is gone");
                self.errors.bump();
                self.dead = true;
                None
            }
        }
    }
}

impl Wire for Tap {
    type Command = std::convert::Infallible;

    fn guest_takes(&mut self, offloads: Offloads) {
        let bits = [
            (offloads.csum, requests::OFFLOAD_CSUM),
            (offloads.tso4, requests::OFFLOAD_TSO4),
            (offloads.tso6, requests::OFFLOAD_TSO6),
        ];
        let offload = bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        match requests::set_offload(&self.tap, offload) {
            Ok(()) => self.offloads = offloads,
            // The host then completes and cuts what it sends us.
            Err(_) => self.errors.bump(),
        }
    }

    fn command(&mut self, command: Self::Command, _poller: &Poller) {
        match command {}
    }

    fn is_up(&self) -> bool {
        !self.dead
    }

    fn room(&mut self, _len: usize) -> Room {
        Room::Yes
    }

    fn send(&mut self, meta: &Meta, frame: &[u8]) -> Result<(), Refused> {
        let header = header::encode(meta, 0);
        // A full device queue drops, as a network card does.
        match rustix::io::writev(&self.tap, &[IoSlice::new(&header), IoSlice::new(frame)]) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refused),
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Option<(Meta, usize)> {
        // Every frame read counts against the caller's burst only if it is good: bound the bad ones.
        for _ in 0..super::BUDGET {
            let len = self.read()?;
            let Some((bytes, frame)) = self.packet[..len].split_first_chunk::<LEN>() else {
                self.malformed.bump();
                continue;
            };
            match header::decode(bytes, frame, self.offloads, self.mtu) {
                Ok(meta) if frame.len() <= buffer.len() => {
                    buffer[..frame.len()].copy_from_slice(frame);
                    return Some((meta, frame.len()));
                }
                _ => self.malformed.bump(),
            }
        }
        None
    }

    fn flush(&mut self) {}

    fn arm(&mut self, wants: Wants, poller: &Poller) -> Next {
        let poll = wants.frames && !self.dead;
        if poll != self.polled {
            let result = if poll {
                poller.add(&self.tap, EventSet::IN, OWN)
            } else {
                poller.remove(&self.tap);
                Ok(())
            };
            match result {
                Ok(()) => self.polled = poll,
                Err(_) => self.errors.bump(),
            }
        }
        // Frames that came meanwhile wake at once: the poller looks at the level.
        Next::Wait
    }
}

#[cfg(test)]
mod tests;
