//! The small services that suites expect of the far host (RFC 862, 863, 864): echo over UDP and TCP, discard, and
//! chargen. Says "ready", and ends when its standard input does.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

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
    while stream.write_all(&line).is_ok() {}
}

fn echo_datagrams() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, ECHO))?;
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
    Ok(())
}

fn main() -> io::Result<()> {
    listen(ECHO, echo)?;
    listen(DISCARD, discard)?;
    listen(CHARGEN, chargen)?;
    echo_datagrams()?;
    println!("ready");
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}
