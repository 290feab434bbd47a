//! A web server of one page, and of one download that takes long, on this machine's loopback: the outside world of the
//! lab.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What a download that takes long is asked for by.
pub(crate) const LONG: &str = "long";
/// Bytes of it between two pauses.
const DRIP: [u8; 4096] = [b'.'; 4096];
/// A pause of it.
const PAUSE: Duration = Duration::from_millis(100);
/// Pieces of it: more than any demo waits for.
const PIECES: usize = 36_000;

/// Serves until the process ends.
pub(crate) struct Page {
    /// Where it listens; seen from the lab, the same port of 10.0.2.2.
    pub(crate) address: SocketAddr,
    /// What it serves.
    pub(crate) content: String,
}

impl Page {
    /// Starts to serve a page that no other run serves.
    ///
    /// # Errors
    /// When there is no free port on loopback.
    pub(crate) fn serve() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let content = format!(
            "<!doctype html>\n<title>The outside</title>\n<p>Fetched through two driver domains. Ticket {}.</p>\n",
            ticket()?
        );
        let answer = content.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = answer.clone();
                thread::spawn(move || respond(stream, &answer));
            }
        });
        Ok(Self { address, content })
    }
}

/// 64 random bits as text.
pub(crate) fn ticket() -> Result<String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

fn respond(mut stream: TcpStream, page: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut request = BufReader::new((&stream).take(16 * 1024)).lines().map_while(Result::ok);
    let path = request.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    // The head ends with an empty line.
    let ended = request.any(|line| line.is_empty());
    if ended && path.trim_start_matches('/') == LONG {
        // Whoever goes away has had enough.
        let _ = drip(&mut stream);
    } else if ended {
        let head = format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            page.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(page.as_bytes()));
    }
}

/// Sends the download that takes long.
///
/// # Errors
/// When the other end goes away.
pub(crate) fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    let length = PIECES * DRIP.len();
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    for _ in 0..PIECES {
        stream.write_all(&DRIP)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_served_whole_and_differs_from_run_to_run() {
        let page = Page::serve().unwrap();
        let mut stream = TcpStream::connect(page.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"));
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, page.content);
        assert_ne!(Page::serve().unwrap().content, page.content);
    }

    #[test]
    fn long_download_goes_on() {
        let page = Page::serve().unwrap();
        let mut stream = TcpStream::connect(page.address).unwrap();
        stream.write_all(format!("GET /{LONG} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut some = vec![0; 3 * DRIP.len()];
        stream.read_exact(&mut some).unwrap();
        assert!(some.starts_with(b"HTTP/1.0 200") && some.ends_with(b"...."));
    }
}
