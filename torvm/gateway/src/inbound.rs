//! A client's connection, which ends with a reset unless everything went well.

use std::io;
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

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

    /// Ends the connection in order: everything that was written arrives, then the end.
    pub async fn farewell(mut self) {
        self.orderly = self.stream.shutdown().await.is_ok();
        // A socket that is closed with unread data resets, and what was written last may be lost on its way.
        let mut rest = [0; 1024];
        let drained = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        let _ = timeout(FAREWELL, drained).await;
    }

    /// Where the client wanted to go, for a connection that was redirected here.
    ///
    /// # Errors
    /// When it was not redirected, or the system cannot say.
    pub fn original_destination(&self) -> io::Result<std::net::SocketAddr> {
        let address = socket2::SockRef::from(&self.stream).original_dst_v4()?;
        address.as_socket().ok_or_else(|| io::Error::other("no address"))
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
