//! The web server behind the exits, and that of the onion service. It writes down who connects and what for.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /peer` | address and port of the peer: of the exit |
//! | `GET /bytes/N` | N bytes |
//! | `GET /long` | a download that takes an hour |
//! | `POST`, `PUT` anything | reads the body to its length, answers with the number of bytes |

use super::{ONION_PORT, Pages, WEB_ADDRESSES, WEB_PORTS};
use crate::page;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time without a byte after which a connection is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest head of a request in bytes.
const HEAD: u64 = 16 * 1024;
/// What downloads consist of.
const FILLING: [u8; 16 * 1024] = [b'b'; 16 * 1024];

/// Listens at every address and port, each served by a thread.
///
/// # Errors
/// When a port cannot be had.
pub(super) fn serve(pages: &Pages, log: &Path) -> Result<()> {
    let log = Arc::new(File::create(log).with_context(|| format!("cannot create {}", log.display()))?);
    let outside = WEB_ADDRESSES.iter().flat_map(|ip| WEB_PORTS.map(|port| (*ip, port, &pages.web)));
    let onion = (IpAddr::V4(Ipv4Addr::LOCALHOST), ONION_PORT, &pages.onion);
    for (ip, port, page) in outside.chain([onion]) {
        let listener =
            TcpListener::bind((ip, port)).with_context(|| format!("cannot listen on {ip}:{port}"))?;
        let site = Arc::new(Site { page: page.clone(), log: Arc::clone(&log) });
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let site = Arc::clone(&site);
                // Whoever goes away has had enough.
                thread::spawn(move || site.respond(stream));
            }
        });
    }
    Ok(())
}

struct Site {
    page: String,
    log: Arc<File>,
}

impl Site {
    /// Answers one request.
    fn respond(&self, mut stream: TcpStream) -> Result<()> {
        let (peer, to) = (stream.peer_addr()?, stream.local_addr()?);
        self.note(peer, to, "")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let request = Request::read(&mut reader)?;
        self.note(peer, to, &format!("{} {}", request.method, request.path))?;
        if request.length > 0 || request.method != "GET" {
            let taken = std::io::copy(&mut reader.take(request.length), &mut std::io::sink())?;
            return text(&mut stream, &format!("{taken}\n"));
        }
        match request.path.trim_start_matches('/') {
            "peer" => text(&mut stream, &format!("{peer}\n")),
            page::LONG => Ok(page::drip(&mut stream)?),
            path => match path.strip_prefix("bytes/").and_then(|number| number.parse().ok()) {
                Some(bytes) => download(&mut stream, bytes),
                None => text(&mut stream, &self.page),
            },
        }
    }

    /// A line of JSON: once for the connection, once for the request.
    fn note(&self, peer: SocketAddr, to: SocketAddr, request: &str) -> Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let line = serde_json::json!({
            "at": u64::try_from(at)?, "peer": peer.to_string(), "to": to.to_string(), "request": request,
        });
        (&*self.log).write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }
}

struct Request {
    method: String,
    path: String,
    /// Bytes of body.
    length: u64,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Result<Self> {
        let mut lines = reader.take(HEAD).lines();
        let first = lines.next().context("no request")??;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut length = 0;
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok(Self { method, path, length });
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        anyhow::bail!("the head of the request does not end")
    }
}

fn text(stream: &mut TcpStream, content: &str) -> Result<()> {
    head(stream, content.len() as u64)?;
    Ok(stream.write_all(content.as_bytes())?)
}

fn download(stream: &mut TcpStream, bytes: u64) -> Result<()> {
    head(stream, bytes)?;
    let mut left = bytes;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(FILLING.len());
        stream.write_all(&FILLING[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

fn head(stream: &mut TcpStream, length: u64) -> Result<()> {
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    Ok(stream.write_all(head.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_read_to_the_end_of_its_head() {
        let mut bytes = &b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"[..];
        let request = Request::read(&mut bytes).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str(), request.length), ("POST", "/up", 3));
        assert_eq!(bytes, b"abc");
        assert!(Request::read(&mut &b"GET / HTTP/1.1\r\nHost: x\r\n"[..]).is_err());
    }
}
