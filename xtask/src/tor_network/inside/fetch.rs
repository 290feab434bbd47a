//! Fetches a page over SOCKS 5 (RFC 1928), the name resolved at the other end.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

/// Time for each step.
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest answer in bytes.
const LARGEST: u64 = 1 << 20;

/// Fetches `http://host/`: head and body.
///
/// # Errors
/// When the proxy or the host does not answer, or refuses.
pub(super) fn page(socks: SocketAddrV4, host: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(socks)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    connect(&mut stream, host, 80)?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    Ok(answer)
}

fn connect(stream: &mut TcpStream, host: &str, port: u16) -> Result<()> {
    stream.write_all(&[5, 1, 0])?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen)?;
    if chosen != [5, 0] {
        bail!("the proxy wants another way to log in");
    }
    let length = u8::try_from(host.len()).context("the name is too long")?;
    let mut request = vec![5, 1, 0, 3, length];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    match reply {
        [5, 0, _, 1, ..] => Ok(()),
        [_, code, ..] => bail!("the proxy refuses, code {code}"),
    }
}
