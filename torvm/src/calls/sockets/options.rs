//! Options of sockets: those that mean something here, and those that may be asked for and change nothing.

use super::addresses;
use crate::calls::{Arguments, Done};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::Layer;
use crate::memory::read_u32;
use crate::processor::Processor;
use crate::sockets::{SocketId, SocketKind, Sockets};
use core::net::SocketAddr;

const SOL_IP: u32 = 0;
const SOL_SOCKET: u32 = 1;
const SOL_TCP: u32 = 6;
const SOL_IPV6: u32 = 41;

const SO_REUSEADDR: u32 = 2;
const SO_TYPE: u32 = 3;
const SO_ERROR: u32 = 4;
const SO_BROADCAST: u32 = 6;
const SO_SNDBUF: u32 = 7;
const SO_RCVBUF: u32 = 8;
const SO_KEEPALIVE: u32 = 9;
const SO_LINGER: u32 = 13;
const SO_REUSEPORT: u32 = 15;
const SO_PROTOCOL: u32 = 38;
const SO_DOMAIN: u32 = 39;
/// On both levels: `IP6T_SO_ORIGINAL_DST` has the same number.
const SO_ORIGINAL_DST: u32 = 80;
const IP_TOS: u32 = 1;
const IP_TTL: u32 = 2;
const TCP_NODELAY: u32 = 1;
const TCP_KEEPIDLE: u32 = 4;
const TCP_KEEPINTVL: u32 = 5;
const TCP_KEEPCNT: u32 = 6;
const TCP_QUICKACK: u32 = 12;
const TCP_USER_TIMEOUT: u32 = 18;

/// What buffers are said to hold.
const BUFFER: u32 = 65_536;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `setsockopt`.
    pub(super) fn set_option(&mut self, a: Arguments) -> Done {
        let (id, _) = self.socket_of(a.int(0))?;
        let (level, name, at, len) = (a.low(1), a.low(2), a.word(3), a.low(4));
        if len < 4 {
            return Err(Errno::INVAL.into());
        }
        let value = read_u32(self.memory(), at)?;
        match (level, name) {
            (SOL_SOCKET, SO_LINGER) => {
                if len < 8 {
                    return Err(Errno::INVAL.into());
                }
                let seconds = read_u32(self.memory(), at.checked_add(4).ok_or(Errno::FAULT)?)?;
                self.sockets.set_reset_on_close(id, value != 0 && seconds == 0);
                Ok(0)
            }
            (
                SOL_SOCKET,
                SO_REUSEADDR | SO_BROADCAST | SO_SNDBUF | SO_RCVBUF | SO_KEEPALIVE | SO_REUSEPORT,
            )
            | (SOL_IP, IP_TOS | IP_TTL)
            | (
                SOL_TCP,
                TCP_NODELAY | TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT | TCP_QUICKACK | TCP_USER_TIMEOUT,
            ) => Ok(0),
            _ => Err(Errno::NOPROTOOPT.into()),
        }
    }

    /// `getsockopt`.
    pub(super) fn option(&mut self, a: Arguments) -> Done {
        let (id, kind) = self.socket_of(a.int(0))?;
        let (at, len_at) = (a.word(3), a.word(4));
        let stream = kind == SocketKind::Stream;
        let value = match (a.low(1), a.low(2)) {
            (level @ (SOL_IP | SOL_IPV6), SO_ORIGINAL_DST) => {
                return self.original_destination(id, level, (at, len_at));
            }
            (SOL_SOCKET, SO_ERROR) => {
                self.sockets.take_error(id).map_or(0, |errno| u32::from(errno.number()))
            }
            (SOL_SOCKET, SO_TYPE) => {
                if stream {
                    super::SOCK_STREAM
                } else {
                    super::SOCK_DGRAM
                }
            }
            (SOL_SOCKET, SO_PROTOCOL) => {
                if stream {
                    super::IPPROTO_TCP
                } else {
                    super::IPPROTO_UDP
                }
            }
            (SOL_SOCKET, SO_DOMAIN) => super::AF_INET,
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF) => BUFFER,
            (SOL_SOCKET, SO_REUSEADDR | SO_KEEPALIVE) => 0,
            (SOL_TCP, TCP_NODELAY) if stream => 1,
            _ => return Err(Errno::NOPROTOOPT.into()),
        };
        addresses::write_option(self.memory(), at, len_at, &value.to_le_bytes())?;
        Ok(0)
    }

    /// Where the client wanted to go. Each level knows addresses of its own family only, so whoever asks both learns
    /// which it is.
    fn original_destination(&mut self, id: SocketId, level: u32, (at, len_at): (u64, u64)) -> Done {
        let (v4, v6);
        let address: &[u8] = match (self.sockets.original_destination(id)?, level) {
            (SocketAddr::V4(wanted), SOL_IP) => {
                v4 = addresses::bytes(wanted);
                &v4
            }
            (SocketAddr::V6(wanted), SOL_IPV6) => {
                v6 = addresses::bytes_v6(wanted);
                &v6
            }
            _ => return Err(Errno::NOENT.into()),
        };
        let room = read_u32(self.memory(), len_at)?;
        if usize::try_from(room).map_or(true, |room| room < address.len()) {
            return Err(Errno::INVAL.into());
        }
        addresses::write_bytes(self.memory(), at, len_at, address)?;
        Ok(0)
    }
}
