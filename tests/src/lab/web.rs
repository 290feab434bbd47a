//! A web server on this machine's loopback: what the lab reaches as 10.0.2.2.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes between two pauses of a slow answer.
const DRIP: usize = 8 * 1024;
/// A pause of a slow answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `/page` (a text that no other run serves), `/bulk/N` (N bytes) and `/slow/N` (N bytes, 80 KiB a second).
pub struct Web {
    port: u16,
    /// What `/page` is.
    pub page: String,
    /// Connections taken so far.
    connections: Arc<AtomicUsize>,
}

/// The bytes of a long answer.
#[must_use]
pub fn bulk(length: usize) -> Vec<u8> {
    (0..length.div_ceil(4) as u64)
        .flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29).to_le_bytes()[..4].to_vec())
        .take(length)
        .collect()
}

/// The sum that `md5sum` prints, here as in an AppVM.
///
/// # Panics
/// When this machine has no `md5sum`.
#[must_use]
pub fn md5(bytes: &[u8]) -> String {
    let mut sum = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = sum.stdin.take().unwrap();
    input.write_all(bytes).unwrap();
    drop(input);
    let said = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    said.split_whitespace().next().unwrap().to_owned()
}

impl Web {
    /// Starts to serve until the test ends.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn serve() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let page =
            format!("<!doctype html>\n<title>Outside</title>\n<p>Ticket {since}-{}.\n", std::process::id());
        let connections = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (page.clone(), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let page = answer.clone();
                std::thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = respond(stream, &page);
                });
            }
        });
        Self { port, page, connections }
    }

    /// Its address as seen from the lab.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://10.0.2.2:{}/{path}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections taken so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn respond(mut stream: TcpStream, page: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new((&stream).take(16 * 1024)).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    if !lines.any(|line| line.is_empty()) {
        return Ok(());
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let number = |prefix| path.strip_prefix(prefix).and_then(|n: &str| n.parse::<usize>().ok());
    let (body, slow) = match (number("/bulk/"), number("/slow/")) {
        (Some(length), _) => (bulk(length), false),
        (_, Some(length)) => (bulk(length), true),
        _ => (page.as_bytes().to_vec(), false),
    };
    let length = body.len();
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if !slow {
        return stream.write_all(&body);
    }
    for piece in body.chunks(DRIP) {
        stream.write_all(piece)?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
