//! A client domain: an address that connections and questions come from.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::A;
use socket2::{Domain, SockAddr, Socket, Type};

/// Where the program hears clients, and what a client's address of its gateway is.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 254);
const SOCKS: u16 = 9050;
const HTTP: u16 = 9080;
/// A name server that there is none of.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 139, 1, 1);
const LIMIT: Duration = Duration::from_secs(60);
/// How long something is tried that may fail: longer than guards are left alone that did not answer in time.
const PATIENCE: Duration = Duration::from_secs(180);
/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// A client by its address.
#[derive(Clone, Copy)]
pub(crate) struct Client(pub(crate) Ipv4Addr);

/// An answer to a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u8,
    pub(crate) addresses: Vec<Ipv4Addr>,
}

/// A connection on which the far end sends, for an hour.
pub(crate) struct Held(TcpStream);

impl Held {
    /// What the far end says from now on.
    pub(crate) fn rest(&mut self) -> Result<String, ErrorKind> {
        read(&mut self.0)
    }
}

impl Client {
    fn connect(self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::from((self.0, 0))))?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect_timeout(&to.into(), LIMIT)?;
        Ok(socket.into())
    }

    /// Fetches `/`, transparently.
    pub(crate) fn page(self, to: (IpAddr, u16)) -> Result<String, ErrorKind> {
        fetch(self.connect(to.into()).map_err(|e| e.kind())?)
    }

    /// Fetches `/` and says at once that nothing more will come.
    pub(crate) fn half_closed_page(self, to: (IpAddr, u16)) -> Result<String, ErrorKind> {
        let mut stream = self.connect(to.into()).map_err(|e| e.kind())?;
        request(&mut stream)?;
        stream.shutdown(std::net::Shutdown::Write).map_err(|e| e.kind())?;
        body(&read(&mut stream)?)
    }

    /// Opens a stream and keeps it open.
    pub(crate) fn hold(self, to: (IpAddr, u16)) -> Held {
        held(|| self.connect(to.into()).map_err(|e| e.kind()))
    }

    /// Opens a stream by SOCKS and keeps it open.
    pub(crate) fn socks_hold(self, host: &str, port: u16, credentials: Option<(&str, &str)>) -> Held {
        held(|| Ok(self.socks(1, host, port, credentials)?.0))
    }

    /// Fetches `/` by SOCKS.
    pub(crate) fn socks_page(
        self,
        host: &str,
        port: u16,
        credentials: Option<(&str, &str)>,
    ) -> Result<String, ErrorKind> {
        fetch(self.socks(1, host, port, credentials)?.0)
    }

    /// Asks for an address by SOCKS.
    pub(crate) fn socks_resolve(self, host: &str) -> Result<Ipv4Addr, ErrorKind> {
        Ok(self.socks(0xf0, host, 0, None)?.1)
    }

    /// Speaks SOCKS 5 (RFC 1928, 1929); gives the address of the reply as well.
    fn socks(
        self,
        command: u8,
        host: &str,
        port: u16,
        credentials: Option<(&str, &str)>,
    ) -> Result<(TcpStream, Ipv4Addr), ErrorKind> {
        let talk = || -> io::Result<(TcpStream, [u8; 10])> {
            let mut stream = self.connect((GATEWAY, SOCKS).into())?;
            let short = |text: &str| u8::try_from(text.len()).expect("short");
            let method = if credentials.is_some() { 2 } else { 0 };
            stream.write_all(&[5, 1, method])?;
            let mut chosen = [0; 2];
            stream.read_exact(&mut chosen)?;
            assert_eq!(chosen, [5, method]);
            if let Some((user, password)) = credentials {
                let words = [&[1, short(user)], user.as_bytes(), &[short(password)], password.as_bytes()];
                stream.write_all(&words.concat())?;
                stream.read_exact(&mut chosen)?;
                assert_eq!(chosen[1], 0);
            }
            let words = [&[5, command, 0, 3, short(host)], host.as_bytes(), &port.to_be_bytes()];
            stream.write_all(&words.concat())?;
            let mut reply = [0; 10];
            stream.read_exact(&mut reply)?;
            Ok((stream, reply))
        };
        match talk().map_err(|e| e.kind())? {
            (stream, [5, 0, 0, 1, a, b, c, d, ..]) => Ok((stream, Ipv4Addr::new(a, b, c, d))),
            // C tor's exits say no more of a refusal on their own machine.
            (_, [5, 1 | 5, ..]) => Err(ErrorKind::ConnectionRefused),
            (_, [5, 0xf6, ..]) => Err(ErrorKind::AddrNotAvailable),
            (_, other) => {
                eprintln!("SOCKS: {other:?}");
                Err(ErrorKind::Other)
            }
        }
    }

    /// Fetches `/` by HTTP `CONNECT`.
    pub(crate) fn http_page(self, host: &str, port: u16) -> Result<String, ErrorKind> {
        let mut stream = self.connect((GATEWAY, HTTP).into()).map_err(|e| e.kind())?;
        write!(stream, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n").map_err(|e| e.kind())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(|e| e.kind())?;
            head.extend(byte);
        }
        match String::from_utf8_lossy(&head).split(' ').nth(1) {
            Some("200") => fetch(stream),
            Some("500" | "502") => Err(ErrorKind::ConnectionRefused),
            other => {
                eprintln!("HTTP: {other:?}");
                Err(ErrorKind::Other)
            }
        }
    }

    /// Asks a name server.
    pub(crate) fn ask(self, name: &str, rtype: u16) -> Reply {
        let mut question = MessageBuilder::new_vec();
        question.header_mut().set_rd(true);
        let mut question = question.question();
        let name: Name<Vec<u8>> = name.parse().expect("a name");
        question.push((name, Rtype::from_int(rtype), Class::IN)).expect("room");
        let socket = UdpSocket::bind((self.0, 0)).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        socket.send_to(&question.finish(), (NAME_SERVER, 53)).expect("sent");
        let mut buffer = [0; 512];
        let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from, (NAME_SERVER, 53).into(), "answered by who was asked");
        let message = Message::from_octets(&buffer[..len]).expect("a message");
        let records = message.answer().expect("answers").limit_to::<A>();
        Reply {
            code: message.header().rcode().to_int(),
            addresses: records.map(|record| record.expect("a record").data().addr()).collect(),
        }
    }
}

/// What is wanted, or what came instead all the time: through Tor any stream may fail, the more on a busy machine, where
/// a circuit may take too long, a guard not answer in time, or the descriptors of the few exits come last.
pub(crate) fn at_last<T: PartialEq>(wanted: &T, mut ask: impl FnMut() -> T) -> T {
    let begun = Instant::now();
    loop {
        let came = ask();
        if came == *wanted || begun.elapsed() > PATIENCE {
            return came;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A connection that the far end has answered on, so that its stream stands.
fn held(connect: impl Fn() -> Result<TcpStream, ErrorKind>) -> Held {
    let attempt = || -> Result<Held, ErrorKind> {
        let mut stream = connect()?;
        stream.write_all(b"GET /long HTTP/1.0\r\nHost: page.test\r\n\r\n").map_err(|e| e.kind())?;
        stream.read_exact(&mut [0]).map_err(|e| e.kind())?;
        Ok(Held(stream))
    };
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(held) => return held,
            Err(why) => assert!(begun.elapsed() < PATIENCE, "no stream: {why:?}"),
        }
        std::thread::sleep(PAUSE);
    }
}

fn request(stream: &mut TcpStream) -> Result<(), ErrorKind> {
    stream.write_all(b"GET / HTTP/1.0\r\nHost: page.test\r\n\r\n").map_err(|e| e.kind())
}

fn fetch(mut stream: TcpStream) -> Result<String, ErrorKind> {
    request(&mut stream)?;
    body(&read(&mut stream)?)
}

fn read(stream: &mut TcpStream) -> Result<String, ErrorKind> {
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.kind())?;
    Ok(text)
}

fn body(answer: &str) -> Result<String, ErrorKind> {
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    Ok(body.to_owned())
}
