//! HTTP `CONNECT`, and nothing else of HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::gateway::{Consent, Gateway, Host, Request};
use crate::inbound::Inbound;
use crate::isolation::Credentials;
use crate::refusal::Refusal;
use crate::streams::Slot;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest request in bytes.
const HEAD: usize = 8 << 10;
/// Most header lines.
const HEADERS: usize = 64;

/// A request that was understood.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    host: Result<Host, Refusal>,
    port: u16,
    credentials: Option<Credentials>,
    /// Where the head ends and the client's data begin.
    len: usize,
}

/// What became of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Head(Head),
    Incomplete,
    /// With the first line of the answer.
    Bad(&'static str),
}

const BAD: Parsed = Parsed::Bad("400 Bad Request");

/// Serves one connection.
pub async fn serve(gateway: Arc<Gateway>, slot: Slot, mut inbound: Inbound) {
    let mut buffer = Vec::new();
    let head = match timeout(PATIENCE, listen(&mut inbound, &mut buffer)).await {
        Ok(Ok(head)) => head,
        Ok(Err(Some(bad))) => {
            gateway.counters.bad_requests.count();
            return say(inbound, bad).await;
        }
        _ => return gateway.counters.bad_requests.count(),
    };
    let stream = match head.host {
        Ok(host) => {
            let (port, credentials) = (head.port, head.credentials.as_ref());
            let request = Request { host, port, credentials, consent: Consent::Awaited };
            inbound.unless_broken(gateway.open(&slot, request)).await
        }
        Err(refusal) => Err(refusal),
    };
    match stream {
        Ok(stream) => {
            if inbound.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
                gateway.join(inbound, stream, buffer.get(head.len..).unwrap_or_default()).await;
            }
        }
        Err(refusal) => say(inbound, refusal.http()).await,
    }
}

/// Reads a head into `buffer`. A refusal comes with what to say, if anything.
async fn listen(inbound: &mut Inbound, buffer: &mut Vec<u8>) -> Result<Head, Option<&'static str>> {
    loop {
        match parse(buffer) {
            Parsed::Head(head) => return Ok(head),
            Parsed::Bad(line) => return Err(Some(line)),
            Parsed::Incomplete if buffer.len() >= HEAD => {
                return Err(Some("431 Request Header Fields Too Large"));
            }
            Parsed::Incomplete => {}
        }
        let room = HEAD - buffer.len();
        let read = (&mut **inbound).take(room as u64).read_buf(buffer).await;
        if !matches!(read, Ok(1..)) {
            return Err(None);
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Parsed::Incomplete,
        Err(_) => return BAD,
    };
    if request.method != Some("CONNECT") {
        return Parsed::Bad("405 Method Not Allowed");
    }
    let Some((host, port)) = request.path.and_then(|path| path.rsplit_once(':')) else { return BAD };
    let Ok(port @ 1..) = port.parse() else { return BAD };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let authorization = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case("proxy-authorization"));
    let credentials = authorization.map(|header| Credentials::Http(header.value.to_vec()));
    Parsed::Head(Head { host: Host::parse(host), port, credentials, len })
}

async fn say(mut inbound: Inbound, line: &str) {
    let allow = if line.starts_with("405") { "Allow: CONNECT\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {line}\r\n{allow}Content-Length: 0\r\nConnection: close\r\n\r\n");
    if inbound.write_all(answer.as_bytes()).await.is_ok() {
        inbound.farewell().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        match parse(text.as_bytes()) {
            Parsed::Head(head) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_understood() {
        let text = "CONNECT Example.test:443 HTTP/1.1\r\nHost: x\r\nproxy-authorization: Basic eDp5\r\n\r\n";
        let early = format!("{text}\x16\x03");
        let expected = Head {
            host: Ok(Host::Name("example.test".into())),
            port: 443,
            credentials: Some(Credentials::Http(b"Basic eDp5".to_vec())),
            len: text.len(),
        };
        assert_eq!(head(&early), expected);
        let v6 = head("CONNECT [2001:db8::1]:22 HTTP/1.1\r\n\r\n");
        assert_eq!(v6.host, Ok(Host::Address("2001:db8::1".parse().expect("an address"))));
    }

    #[test]
    fn other_requests_are_refused() {
        let get = parse(b"GET http://example.test/ HTTP/1.1\r\n\r\n");
        assert_eq!(get, Parsed::Bad("405 Method Not Allowed"));
        for bad in
            ["CONNECT x HTTP/1.1", "CONNECT x:0 HTTP/1.1", "CONNECT x:70000 HTTP/1.1", "\x16\x03\x01\x02"]
        {
            assert_eq!(parse(format!("{bad}\r\n\r\n").as_bytes()), BAD, "{bad}");
        }
        assert_eq!(head("CONNECT a!b:1 HTTP/1.1\r\n\r\n").host, Err(Refusal::NoSuchHost));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_understood(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_cut_head_is_incomplete(cut in 0_usize..40) {
            let text = b"CONNECT example.test:443 HTTP/1.1\r\nA: b\r\n\r\n";
            prop_assert_eq!(parse(&text[..cut]), Parsed::Incomplete);
        }
    }
}
