//! The client of a measurement: asks over HTTP and says how long it took.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use super::Outcome;
use super::place::Namespace;

/// Time without a byte after which a measurement has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one request took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// From the connection's beginning to the answer's first byte.
    pub(crate) first: Duration,
    /// To its end.
    pub(crate) all: Duration,
}

/// Asks `http://host/` within the namespace: `down` fetches `bytes`, `up` sends so many. `host` is an address; behind a
/// comma there may be the one, with port, of a gateway that is to be asked for the connection (HTTP CONNECT).
pub(crate) fn ask(namespace: &Namespace, host: &str, request: &str, bytes: u64) -> Outcome<Taken> {
    let mut command = namespace.command(Path::new(&std::env::current_exe()?));
    let output = command.args(["client", host, request, &bytes.to_string()]).output()?;
    let said = String::from_utf8(output.stdout)?;
    let mut numbers = said.split_whitespace().map(|word| word.parse().map(Duration::from_micros));
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(all))) => Ok(Taken { first, all }),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("{request} of {bytes} bytes failed: {}", why.trim()).into())
        }
    }
}

/// Does it, and prints both times in microseconds.
pub(crate) fn run(host: &str, request: &str, count: &str) -> Outcome<()> {
    let bytes: u64 = count.parse()?;
    let begun = Instant::now();
    let mut stream = connect(host)?;
    let host = host.split(',').next().unwrap_or_default();
    if request == "up" {
        write!(stream, "POST / HTTP/1.0\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n")?;
        std::io::copy(&mut std::io::repeat(b'u').take(bytes), &mut stream)?;
    } else {
        write!(stream, "GET /bytes/{bytes} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut answer = stream.read(&mut buffer)? as u64;
    let first = begun.elapsed();
    while let length @ 1.. = stream.read(&mut buffer)? {
        answer += length as u64;
    }
    let all = begun.elapsed();
    let missing = request == "down" && answer < bytes;
    if answer == 0 || missing {
        return Err(format!("the answer ended after {answer} bytes").into());
    }
    println!("{} {}", first.as_micros(), all.as_micros());
    Ok(())
}

/// A connection to the host, or to the gateway that connects to it.
fn connect(host: &str) -> Outcome<TcpStream> {
    let (host, gateway) = host.split_once(',').map_or((host, None), |(host, gateway)| (host, Some(gateway)));
    let mut stream = gateway.map_or_else(|| TcpStream::connect((host, 80)), TcpStream::connect)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if gateway.is_some() {
        write!(stream, "CONNECT {host}:80 HTTP/1.1\r\n\r\n")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
    }
    Ok(stream)
}
