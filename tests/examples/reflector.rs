//! The small services that suites expect of the far host (RFC 862, 863, 864): echo over UDP and TCP, discard, and
//! chargen; and a client that asks for them.
//!
//! `reflector serve ADDRESS…` says "ready", and ends when its standard input does. `reflector ask ADDRESS` has a datagram and a
//! megabyte echoed.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;

fn listen(port: u16, serve: fn(TcpStream)) -> io::Result<()> {
    // Both families: IPv4 comes as mapped addresses.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(())
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

fn discard(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer) {}
}

fn chargen(mut stream: TcpStream) {
    let line: Vec<u8> = (b' '..=b'~').take(72).chain(*b"\r\n").collect();
    // Many at a time, so that segments are full.
    let lines = line.repeat(1000);
    while stream.write_all(&lines).is_ok() {}
}

/// On one address, which the echo then comes from.
fn echo_datagrams(address: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((address, ECHO))?;
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
    Ok(())
}

fn serve(addresses: &[&str]) -> io::Result<()> {
    listen(ECHO, echo)?;
    listen(DISCARD, discard)?;
    listen(CHARGEN, chargen)?;
    for address in addresses {
        echo_datagrams(address.parse().map_err(io::Error::other)?)?;
    }
    println!("ready");
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

fn ask(far: IpAddr) -> io::Result<()> {
    let patience = Some(Duration::from_secs(60));
    let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    // Longer than the path takes: it goes and comes in pieces.
    let question: Vec<u8> = (0..4000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let mut answer = vec![0; 65_536];
    // A datagram may be lost while machines that have just been made look for each other.
    let mut attempts = 0..20;
    let len = loop {
        socket.send_to(&question, (far, ECHO))?;
        match socket.recv_from(&mut answer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && attempts.next().is_some() => {}
            done => break done?.0,
        }
    };
    check(answer[..len] == question, "another datagram came back")?;
    let mut stream = TcpStream::connect((far, ECHO))?;
    stream.set_read_timeout(patience)?;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let mut writer = stream.try_clone()?;
    let copy = sent.clone();
    let writing = thread::spawn(move || writer.write_all(&copy));
    let mut got = vec![0; sent.len()];
    stream.read_exact(&mut got)?;
    let written = writing.join().map_err(|_| io::Error::other("the writer panicked"))?;
    written.and_then(|()| check(got == sent, "other bytes came back"))
}

fn check(holds: bool, what: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(what.to_owned())) }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", ref addresses @ ..] => serve(addresses),
        ["ask", far] => ask(far.parse().map_err(io::Error::other)?),
        _ => Err(io::Error::other("usage: reflector serve ADDRESS… | reflector ask ADDRESS")),
    }
}
