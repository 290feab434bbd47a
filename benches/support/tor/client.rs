//! The client of a measurement: asks over HTTP and says how long it took.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Stdio,
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

/// Asks `http://host/` within the namespace: `down` fetches `bytes`, `up` sends so many.
pub(crate) fn ask(namespace: &Namespace, host: &str, request: &str, bytes: u64) -> Outcome<Taken> {
    let mut command = namespace.command(Path::new(&std::env::current_exe()?));
    let output =
        command.args(["client", host, request, &bytes.to_string()]).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8(output.stdout)?;
    let mut numbers = said.split_whitespace().map(|word| word.parse().map(Duration::from_micros));
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(all))) => Ok(Taken { first, all }),
        _ => Err(format!("{request} of {bytes} bytes failed").into()),
    }
}

/// Does it, and prints both times in microseconds.
pub(crate) fn run(host: &str, request: &str, count: &str) -> Outcome<()> {
    let bytes: u64 = count.parse()?;
    let begun = Instant::now();
    let mut stream = TcpStream::connect((host, 80))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
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
