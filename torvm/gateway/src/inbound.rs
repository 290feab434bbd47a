//! A client's connection, which ends with a reset unless everything went well.

use std::io;
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::refusal::Refusal;

/// How long a client may take to finish its side once the far end has.
const FAREWELL: Duration = Duration::from_secs(10);

/// A client's connection. However it is dropped (an error, its task cut), the client sees a reset, and never an
/// orderly end that there was none of; but for [`Inbound::farewell`].
pub struct Inbound {
    stream: TcpStream,
    /// The client's address.
    pub client: Ipv4Addr,
    orderly: bool,
}

impl Inbound {
    /// A connection that was accepted from `client`.
    #[must_use]
    pub fn new(stream: TcpStream, client: Ipv4Addr) -> Self {
        // What is written comes in full segments as far as there is enough: waiting for more helps nobody. Torvm's
        // layer does so anyway and has no such option.
        let _ = stream.set_nodelay(true);
        Self { stream, client, orderly: false }
    }

    /// What comes of `work`, unless the client breaks the connection off meanwhile: nobody waits for it any more then, and
    /// the place that it has is wanted by others. A client that merely has no more to say waits.
    ///
    /// # Errors
    /// Those of `work`; [`Refusal::Failed`] when the connection is no more.
    pub async fn unless_broken<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            done = work => done,
            () = broken(&self.stream) => Err(Refusal::Failed),
        }
    }

    /// Ends the connection in order: everything that was written arrives, then the end.
    pub async fn farewell(mut self) {
        self.orderly = self.stream.shutdown().await.is_ok();
        // A socket that is closed with unread data resets, and what was written last may be lost on its way.
        let mut rest = [0; 1024];
        let drained = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        let _ = timeout(FAREWELL, drained).await;
    }

    /// Where the client wanted to go, for a connection that was redirected here. Torvm brings the client's connections
    /// over IPv6 as well, under the client's IPv4 address, which is its name; only this tells them apart.
    ///
    /// # Errors
    /// When it was not redirected, or the system cannot say.
    pub fn original_destination(&self) -> io::Result<std::net::SocketAddr> {
        let socket = socket2::SockRef::from(&self.stream);
        let address = socket.original_dst_v4().or_else(|_| socket.original_dst_v6())?;
        address.as_socket().ok_or_else(|| io::Error::other("no address"))
    }
}

/// Waits until a connection is broken off; forever, if it ends in order.
pub async fn broken(stream: &TcpStream) {
    // Without an error to be told of, ready for nothing.
    if !stream.ready(Interest::ERROR).await.is_ok_and(|ready| ready.is_error()) {
        std::future::pending::<()>().await;
    }
}

impl Deref for Inbound {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Inbound {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if !self.orderly {
            let _ = self.stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::net::TcpListener;

    const CLIENT: Ipv4Addr = Ipv4Addr::LOCALHOST;

    async fn pair() -> (TcpStream, Inbound) {
        let listener = TcpListener::bind((CLIENT, 0)).await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (accepted, _) = listener.accept().await.expect("accepted");
        (client, Inbound::new(accepted, CLIENT))
    }

    #[tokio::test]
    async fn who_breaks_off_is_not_waited_for() {
        let (mut client, inbound) = pair().await;
        client.write_all(b"data that nobody reads").await.expect("sent");
        let work = inbound.unless_broken(pending::<Result<(), Refusal>>());
        tokio::pin!(work);
        let early = timeout(Duration::from_millis(100), &mut work).await;
        assert!(early.is_err(), "the client waits");
        client.set_zero_linger().expect("an option");
        drop(client);
        let ended = timeout(Duration::from_secs(10), work).await;
        assert_eq!(ended.expect("the client is gone"), Err(Refusal::Failed));
    }

    #[tokio::test]
    async fn who_has_no_more_to_say_is_waited_for() {
        let (mut client, inbound) = pair().await;
        client.write_all(b"all").await.expect("sent");
        client.shutdown().await.expect("half closed");
        let work = inbound.unless_broken(pending::<Result<(), Refusal>>());
        assert!(timeout(Duration::from_millis(300), work).await.is_err());
        assert_eq!(inbound.unless_broken(async { Ok(7) }).await, Ok(7));
    }
}
