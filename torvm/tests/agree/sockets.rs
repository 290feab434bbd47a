//! Sockets: the program talks to itself.

use crate::events::{control, epoll, wait};
use crate::kernel::{Kernel, Record};
use libc::EPOLL_CTL_ADD;

const IN: u32 = 1;
const OUT: u32 = 4;
const RDHUP: u32 = 0x2000;
const EDGE: u32 = 1 << 31;
const NONBLOCK: u64 = 0o4000;
const STREAM: u64 = 1;

fn socket(k: &mut Kernel<'_>, flags: u64) -> u64 {
    k.call(libc::SYS_socket, &[2, STREAM | flags, 0]).cast_unsigned()
}

/// `struct sockaddr_in` in memory.
fn address(k: &mut Kernel<'_>, ip: [u8; 4], port: u16) -> u64 {
    let at = k.buffer + 512;
    let bytes = [&[2, 0][..], &port.to_be_bytes(), &ip, &[0; 8]].concat();
    k.put(at, &bytes);
    at
}

fn bind(k: &mut Kernel<'_>, fd: u64, port: u16) -> i64 {
    let at = address(k, [0; 4], port);
    k.call(libc::SYS_bind, &[fd, at, 16])
}

fn listener(k: &mut Kernel<'_>, port: u16) -> u64 {
    let fd = socket(k, NONBLOCK);
    k.put(k.buffer, &1_u32.to_le_bytes());
    assert_eq!(k.call(libc::SYS_setsockopt, &[fd, 1, 2, k.buffer, 4]), 0);
    assert_eq!(bind(k, fd, port), 0);
    assert_eq!(k.call(libc::SYS_listen, &[fd, 16]), 0);
    fd
}

fn connect(k: &mut Kernel<'_>, fd: u64, port: u16) -> i64 {
    let ip = k.far();
    let at = address(k, ip, port);
    k.call(libc::SYS_connect, &[fd, at, 16])
}

fn accept(k: &mut Kernel<'_>, fd: u64) -> i64 {
    k.call(libc::SYS_accept4, &[fd, 0, 0, NONBLOCK])
}

/// A connection: the end that began it, and the one that was accepted.
fn pair(k: &mut Kernel<'_>, port: u16) -> (u64, u64) {
    let listener = listener(k, port);
    let fd = socket(k, NONBLOCK);
    connect(k, fd, port);
    k.settle();
    let accepted = accept(k, listener);
    assert!(accepted >= 0, "{accepted}");
    k.close(listener.cast_signed());
    (fd, accepted.cast_unsigned())
}

fn send(k: &mut Kernel<'_>, fd: u64, bytes: &[u8]) -> i64 {
    k.put(k.buffer, bytes);
    let sent = k.call(libc::SYS_sendto, &[fd, k.buffer, bytes.len() as u64, 0x4000, 0, 0]);
    k.settle();
    sent
}

fn receive(k: &mut Kernel<'_>, fd: u64, len: u64) -> (i64, Vec<u8>) {
    let got = k.call(libc::SYS_recvfrom, &[fd, k.buffer, len, 0, 0, 0]);
    let bytes = k.get(k.buffer, usize::try_from(got).unwrap_or(0).min(64));
    k.settle();
    (got, bytes)
}

fn option(k: &mut Kernel<'_>, fd: u64, level: u64, name: u64) -> (i64, u32) {
    k.put(k.buffer, &[&[0xEE; 4][..], &4_u32.to_le_bytes()].concat());
    let result = k.call(libc::SYS_getsockopt, &[fd, level, name, k.buffer, k.buffer + 4]);
    let value = k.get(k.buffer, 4);
    (result, if result == 0 { u32::from_le_bytes(value.try_into().unwrap()) } else { 0 })
}

fn error(k: &mut Kernel<'_>, fd: u64) -> (i64, u32) {
    option(k, fd, 1, 4)
}

/// A set that watches a socket as the gateway does.
fn watch(k: &mut Kernel<'_>, fd: u64) -> u64 {
    let set = epoll(k);
    assert_eq!(control(k, set, EPOLL_CTL_ADD, fd, IN | OUT | RDHUP | EDGE), 0);
    set
}

fn seen(k: &mut Kernel<'_>, set: u64) -> (i64, Vec<(u64, u32)>) {
    k.settle();
    wait(k, set, 8, 0)
}

pub(crate) fn connecting(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(0);
    let listener = listener(k, port);
    let heard = watch(k, listener);
    r.note("nobody comes", (accept(k, listener), seen(k, heard)));
    let fd = socket(k, NONBLOCK);
    let set = watch(k, fd);
    r.note("new", seen(k, set));
    r.note("connect", connect(k, fd, port));
    r.note("connected", (seen(k, set), seen(k, set)));
    r.note("no error", error(k, fd));
    // Linux says once more that it is connected, and then that it was already.
    connect(k, fd, port);
    r.note("again", connect(k, fd, port));
    r.note("somebody comes", (seen(k, heard), seen(k, heard)));
    let at = k.buffer + 256;
    k.put(at + 64, &16_u32.to_le_bytes());
    let accepted = k.call(libc::SYS_accept4, &[listener, at, at + 64, NONBLOCK]);
    r.note("accepted", accepted);
    let peer = k.get(at, 2);
    let len = k.get(at + 64, 4);
    r.note("its address", (peer, len));
    r.note("nobody else", accept(k, listener));
    let accepted = accepted.cast_unsigned();
    for (who, fd) in [("ours", fd), ("theirs", accepted)] {
        k.put(at + 64, &16_u32.to_le_bytes());
        r.note(who, k.call(libc::SYS_getpeername, &[fd, at, at + 64]));
        r.note(who, k.call(libc::SYS_getsockname, &[fd, at, at + 64]));
        r.note("type", option(k, fd, 1, 3));
        r.note("flags", k.call(libc::SYS_fcntl, &[fd, 3, 0]));
    }
    let set = watch(k, accepted);
    r.note("writable from the beginning", (seen(k, set), seen(k, set)));
}

pub(crate) fn refusing(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(1);
    let fd = socket(k, NONBLOCK);
    let set = watch(k, fd);
    seen(k, set);
    r.note("connect", connect(k, fd, port));
    r.note("refused", (seen(k, set), seen(k, set)));
    r.note("why", error(k, fd));
    r.note("told once", error(k, fd));
    r.note("receive", receive(k, fd, 8));
    r.note("send", send(k, fd, b"x"));
    let fd = socket(k, 0);
    r.note("waiting for it", connect(k, fd, port));
}

pub(crate) fn talking(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(2);
    let (one, two) = pair(k, port);
    let (set, other) = (watch(k, one), watch(k, two));
    r.note("writable", (seen(k, set), seen(k, other)));
    r.note("nothing yet", receive(k, one, 8));
    r.note("send", send(k, two, b"hello"));
    r.note("heard", (seen(k, set), seen(k, set)));
    r.note("part", receive(k, one, 2));
    r.note("no edge", seen(k, set));
    r.note("more", send(k, two, b", world"));
    r.note("an edge", (seen(k, set), seen(k, set)));
    r.note("all", receive(k, one, 100));
    r.note("no more", receive(k, one, 100));
    r.note("nothing", (send(k, two, b""), seen(k, set)));
    r.note("the other way", (send(k, one, b"answer"), seen(k, other), receive(k, two, 100)));
    r.note(
        "by write",
        (k.write(two.cast_signed(), b"written"), seen(k, set), k.read(one.cast_signed(), 100)),
    );
    r.note("blocking is not asked for", k.call(libc::SYS_recvfrom, &[one, k.buffer, 8, 0x40, 0, 0]));
    r.note("bad pointer", k.call(libc::SYS_sendto, &[one, 8, 8, 0x4000, 0, 0]));
    r.note("not connected", {
        let fresh = socket(k, NONBLOCK);
        (send(k, fresh, b"x"), receive(k, fresh, 8), k.call(libc::SYS_shutdown, &[fresh, 1]))
    });
}

/// What is there comes in one piece, however long: a short one means to who waits for edges that there is no more.
/// Bytes in more than one buffer of the layer.
const LONG: u64 = 100_000;

/// The receiver and the sender of a connection that has room for so many bytes, and memory for twice as many.
fn roomy(k: &mut Kernel<'_>, r: &mut Record, port: u16) -> (u64, u64, u64) {
    let port = k.port(port);
    let listener = listener(k, port);
    let fd = socket(k, NONBLOCK);
    k.put(k.buffer, &200_000_u32.to_le_bytes());
    r.note("room", k.call(libc::SYS_setsockopt, &[fd, 1, 8, k.buffer, 4]));
    connect(k, fd, port);
    k.settle();
    let other = accept(k, listener).cast_unsigned();
    let memory = k.call(libc::SYS_mmap, &[0, 2 * LONG, 3, 0x22, u64::MAX, 0]).cast_unsigned();
    let pattern: Vec<u8> = (0..LONG).map(|n| u8::try_from(n % 251).expect("small")).collect();
    k.put(memory, &pattern);
    (fd, other, memory)
}

/// Calls `send` with how much was sent until everything was.
fn send_all(k: &mut Kernel<'_>, r: &mut Record, mut send: impl FnMut(&mut Kernel<'_>, u64) -> i64) {
    let mut sent = 0;
    for _ in 0..1000 {
        sent += u64::try_from(send(k, sent)).unwrap_or(0);
        k.settle();
        if sent == LONG {
            break;
        }
    }
    r.note("sent", sent);
}

/// Whether the second half of the memory is as the first.
fn arrived(k: &mut Kernel<'_>, memory: u64) -> bool {
    let len = usize::try_from(LONG).expect("short");
    let (sent, received) = (k.get(memory, len), k.get(memory + LONG, len));
    k.put(memory + LONG, &vec![0; len]);
    sent == received
}

pub(crate) fn at_once(k: &mut Kernel<'_>, r: &mut Record) {
    let (fd, other, memory) = roomy(k, r, 10);
    send_all(k, r, |k, sent| k.call(libc::SYS_sendto, &[other, memory + sent, LONG - sent, 0x4000, 0, 0]));
    r.note("received", k.call(libc::SYS_recvfrom, &[fd, memory + LONG, LONG, 0, 0, 0]));
    r.note("as it was", arrived(k, memory));
    r.note("no more", receive(k, fd, 8));
}

pub(crate) fn at_once_in_pieces(k: &mut Kernel<'_>, r: &mut Record) {
    let (fd, other, memory) = roomy(k, r, 11);
    let (list, header) = (k.buffer + 1024, k.buffer + 2048);
    let put = |k: &mut Kernel<'_>, pieces: [(u64, u64); 3]| {
        let words = pieces.iter().flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()].concat());
        k.put(list, &words.collect::<Vec<u8>>());
        k.put(header, &[0, 0, list, 3, 0, 0, 0].map(u64::to_le_bytes).concat());
    };
    let from = |sent: u64| {
        let (one, two) = ((LONG - sent).min(1), (LONG - sent).saturating_sub(1).min(69_999));
        [
            (memory + sent, one),
            (memory + sent + one, two),
            (memory + sent + one + two, LONG - sent - one - two),
        ]
    };
    let to = [(memory + LONG, 65_535), (memory + LONG + 65_535, 2), (memory + LONG + 65_537, LONG - 65_537)];
    send_all(k, r, |k, sent| {
        put(k, from(sent));
        k.call(libc::SYS_sendmsg, &[other, header, 0x4000])
    });
    put(k, to);
    r.note("received", k.call(libc::SYS_readv, &[fd, list, 3]));
    r.note("as it was", arrived(k, memory));
    send_all(k, r, |k, sent| {
        put(k, from(sent));
        k.call(libc::SYS_writev, &[other, list, 3])
    });
    put(k, to);
    r.note("received", k.call(libc::SYS_recvmsg, &[fd, header, 0]));
    r.note("as it was", arrived(k, memory));
    r.note("no more", receive(k, fd, 8));
    r.note("none", k.call(libc::SYS_readv, &[fd, list, 0]));
}

pub(crate) fn much(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(3);
    let (one, two) = pair(k, port);
    let set = watch(k, one);
    seen(k, set);
    let (mut sent, mut last) = (0, 0);
    k.put(k.buffer, &[5; 65_536]);
    for _ in 0..2000 {
        last = k.call(libc::SYS_sendto, &[one, k.buffer, 65_536, 0x4000, 0, 0]);
        if last < 0 {
            k.settle();
            last = k.call(libc::SYS_sendto, &[one, k.buffer, 65_536, 0x4000, 0, 0]);
        }
        if last < 0 {
            break;
        }
        sent += last;
    }
    r.note("full", last);
    r.note("no room, no edge", seen(k, set));
    let mut got = 0;
    while let (len @ 1.., _) = receive(k, two, 65_536) {
        got += len;
    }
    r.note("all of it came", got == sent);
    let (count, events) = seen(k, set);
    r.note("room again", (count, events.first().map(|event| event.1 & OUT)));
}

pub(crate) fn half_closing(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(4);
    let (one, two) = pair(k, port);
    let (set, other) = (watch(k, one), watch(k, two));
    r.note("writable", (seen(k, set), seen(k, other)));
    send(k, two, b"last");
    r.note("shut down", k.call(libc::SYS_shutdown, &[two, 1]));
    r.note("half closed", (seen(k, set), seen(k, set)));
    r.note("the rest", receive(k, one, 100));
    r.note("end", (receive(k, one, 100), receive(k, one, 100)));
    r.note("they cannot send", send(k, two, b"x"));
    r.note("we can", (send(k, one, b"still"), seen(k, other), receive(k, two, 100)));
    r.note("shut down", k.call(libc::SYS_shutdown, &[one, 1]));
    r.note("over", (seen(k, set).1, seen(k, other).1));
    r.note("end", receive(k, two, 100));
    r.note("over is over", send(k, one, b"x"));
}

pub(crate) fn closing(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(5);
    let (one, two) = pair(k, port);
    let set = watch(k, one);
    seen(k, set);
    send(k, two, b"last");
    k.close(two.cast_signed());
    r.note("closed", (seen(k, set), seen(k, set)));
    r.note("the rest", receive(k, one, 100));
    r.note("end", receive(k, one, 100));
    r.note("the first is sent", send(k, one, b"x"));
    r.note("reset", seen(k, set));
    r.note("broken", send(k, one, b"y"));
}

pub(crate) fn resetting(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(6);
    let (one, two) = pair(k, port);
    let set = watch(k, one);
    seen(k, set);
    k.put(k.buffer, &[1, 0, 0, 0, 0, 0, 0, 0]);
    r.note("linger", k.call(libc::SYS_setsockopt, &[two, 1, 13, k.buffer, 8]));
    k.close(two.cast_signed());
    r.note("reset", (seen(k, set), seen(k, set)));
    r.note("receive", receive(k, one, 8));
    r.note("told once", receive(k, one, 8));
    r.note("send", send(k, one, b"x"));
    let port = k.port(7);
    let (one, two) = pair(k, port);
    let set = watch(k, one);
    seen(k, set);
    send(k, one, b"never read");
    k.close(two.cast_signed());
    r.note("closed with something unread", seen(k, set).1);
    r.note("why", error(k, one));
    r.note("then", (receive(k, one, 8), error(k, one)));
}

pub(crate) fn waiting(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(8);
    let listener = listener(k, port);
    let fd = socket(k, 0);
    r.note("connect", connect(k, fd, port));
    let accepted = accept(k, listener);
    r.note("accepted", accepted);
    r.note("send", k.write(accepted, b"text"));
    r.note("receive", receive(k, fd, 10));
    k.call(libc::SYS_shutdown, &[accepted.cast_unsigned(), 1]);
    r.note("end", receive(k, fd, 10));
}

pub(crate) fn oddities(k: &mut Kernel<'_>, r: &mut Record) {
    let port = k.port(9);
    for (family, kind, protocol) in [(2, 1, 6), (2, 1, 17), (2, 5, 0), (99, 1, 0), (2, 0o20001, 0)] {
        r.note("socket", k.call(libc::SYS_socket, &[family, kind, protocol]) >= 0);
    }
    let fd = socket(k, NONBLOCK);
    r.note("bind", bind(k, fd, port));
    r.note("again", bind(k, fd, port));
    let other = socket(k, NONBLOCK);
    r.note("taken", bind(k, other, port));
    r.note("accept", accept(k, fd));
    r.note("listen", k.call(libc::SYS_listen, &[fd, 4]));
    r.note("again", k.call(libc::SYS_listen, &[fd, 8]));
    r.note("receive", receive(k, fd, 8));
    r.note("send", send(k, fd, b"x"));
    let at = k.buffer + 256;
    k.put(at + 64, &16_u32.to_le_bytes());
    r.note("no peer", k.call(libc::SYS_getpeername, &[fd, at, at + 64]));
    r.note("name", k.call(libc::SYS_getsockname, &[fd, at, at + 64]));
    let name = k.get(at, 16);
    r.note("its port", u16::from_be_bytes([name[2], name[3]]) == port);
    r.note("the rest", (&name[..2], &name[4..]));
    k.put(at + 64, &u32::MAX.to_le_bytes());
    r.note("no room", k.call(libc::SYS_getsockname, &[fd, at, at + 64]));
    let address = address(k, [127, 0, 0, 1], port);
    r.note("short address", k.call(libc::SYS_connect, &[other, address, 8]));
    r.note("long address", k.call(libc::SYS_connect, &[other, address, 1000]));
    r.note("bad address", k.call(libc::SYS_connect, &[other, 8, 16]));
    k.put(address, &[77, 0]);
    r.note("another family", k.call(libc::SYS_connect, &[other, address, 16]));
    let event = k.call(libc::SYS_eventfd2, &[0, 0]).cast_unsigned();
    for number in [libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_accept, libc::SYS_shutdown]
    {
        r.note("not a socket", k.call(number, &[event, address, 16]));
        r.note("not open", k.call(number, &[99, address, 16]));
    }
    r.note("unknown option", option(k, fd, 1, 7777));
    r.note("no original destination", option(k, other, 0, 80).0 < 0);
    r.note("nor over IPv6", option(k, other, 41, 80).0 < 0);
    r.note("shut down oddly", k.call(libc::SYS_shutdown, &[fd, 9]));
    k.put(k.buffer, &1_u32.to_le_bytes());
    r.note("no delay", k.call(libc::SYS_setsockopt, &[other, 6, 1, k.buffer, 4]));
    r.note("short option", k.call(libc::SYS_setsockopt, &[other, 1, 2, k.buffer, 3]));
    r.note("unknown option", k.call(libc::SYS_setsockopt, &[other, 1, 7777, k.buffer, 4]));
    let datagrams = k.call(libc::SYS_socket, &[2, 2 | NONBLOCK, 0]).cast_unsigned();
    r.note("no listening", k.call(libc::SYS_listen, &[datagrams, 4]));
    r.note("no destination", send(k, datagrams, b"x"));
    r.note("nothing there", receive(k, datagrams, 8));
}
