//! Addresses of sockets in the program's memory: `struct sockaddr_in`; and `struct sockaddr_in6`, which is only ever
//! written.

use super::{AF_INET, AF_UNIX};
use crate::errno::Errno;
use crate::memory::{UserMemory, read_array, read_u32};
use core::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};

/// Length of `struct sockaddr_in`.
const LEN: u32 = 16;
const AF_INET6: u8 = 10;

/// Reads an address.
pub(super) fn read(memory: &impl UserMemory, at: u64, len: u32) -> Result<SocketAddrV4, Errno> {
    if !(2..=128).contains(&len) {
        return Err(Errno::INVAL);
    }
    let family = u16::from_le_bytes(read_array(memory, at)?);
    if u32::from(family) != AF_INET {
        return Err(Errno::AFNOSUPPORT);
    }
    if len < LEN {
        return Err(Errno::INVAL);
    }
    let [_, _, p0, p1, a, b, c, d] = read_array(memory, at)?;
    Ok(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1])))
}

/// `struct sockaddr_in`.
pub(super) fn bytes(address: SocketAddrV4) -> [u8; 16] {
    let mut out = [0; 16];
    let [p0, p1] = address.port().to_be_bytes();
    let [a, b, c, d] = address.ip().octets();
    let head = [2, 0, p0, p1, a, b, c, d];
    out.iter_mut().zip(head).for_each(|(to, byte)| *to = byte);
    out
}

/// `struct sockaddr_in6`, without flow and scope.
pub(super) fn bytes_v6(address: SocketAddrV6) -> [u8; 28] {
    let mut out = [0; 28];
    let [p0, p1] = address.port().to_be_bytes();
    let head = [AF_INET6, 0, p0, p1, 0, 0, 0, 0];
    out.iter_mut().zip(head.into_iter().chain(address.ip().octets())).for_each(|(to, byte)| *to = byte);
    out
}

/// Writes an address, cut off at the room that the program says it has, and how long it is.
pub(super) fn write(
    memory: &mut impl UserMemory,
    at: u64,
    len_at: u64,
    address: SocketAddrV4,
) -> Result<(), Errno> {
    write_bytes(memory, at, len_at, &bytes(address))
}

/// Writes the address of what has none: the family alone.
pub(super) fn write_unnamed(memory: &mut impl UserMemory, at: u64, len_at: u64) -> Result<(), Errno> {
    write_bytes(memory, at, len_at, &u16::try_from(AF_UNIX).unwrap_or(0).to_le_bytes())
}

/// Writes bytes, cut off at the room that the program says it has, and how long they are.
pub(super) fn write_bytes(
    memory: &mut impl UserMemory,
    at: u64,
    len_at: u64,
    bytes: &[u8],
) -> Result<(), Errno> {
    let room = read_u32(memory, len_at)?.cast_signed();
    let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
    memory.write(at, bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
    let len = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    memory.write(len_at, &len.to_le_bytes())?;
    Ok(())
}

/// Writes the value of an option, cut off at the room that the program says it has, and how much was written.
pub(super) fn write_option(
    memory: &mut impl UserMemory,
    at: u64,
    len_at: u64,
    bytes: &[u8],
) -> Result<(), Errno> {
    let room = usize::try_from(read_u32(memory, len_at)?.cast_signed()).map_err(|_| Errno::INVAL)?;
    let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
    memory.write(at, bytes)?;
    memory.write(len_at, &u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?.to_le_bytes())?;
    Ok(())
}
