//! The control socket: commands of dom0 in, reports out.
//!
//! A frame is its length (`u16`, little-endian) and that many bytes of postcard. A command that cannot be understood is
//! counted and skipped; after a length that no frame has nothing more is read. What dom0 does or does not do never
//! stops the program.

use std::io;
use std::sync::Arc;

use control::codec::{self, MAX_LEN};
use control::tor::{
    BRIDGES_PER_REPORT, CIRCUITS_PER_REPORT, Circuit, GatewayCommand, GatewayReport, OldStreams, Relay,
};
use control::tor::{HOPS, cut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tor_linkspec::{HasAddrs, HasRelayIds};

use crate::report::Reports;
use crate::status::Watch;
use crate::streams::Carrier;

/// Counters in one report.
const COUNTERS: usize = 32;

/// What commands are answered from.
pub struct Commands {
    /// The program's state.
    pub watch: Arc<Watch>,
    /// Told when the documents are wanted again.
    pub documents: Arc<Notify>,
    /// Configured bridges, and whether they are used.
    pub bridges: (Vec<String>, bool),
}

/// Writes reports for ever.
///
/// # Errors
/// Those of the socket.
pub async fn write<W: AsyncWrite + Unpin>(reports: &Reports, mut socket: W) -> io::Result<()> {
    let mut buffer = [0; 2 + MAX_LEN];
    loop {
        let report = reports.next().await;
        let [low, high, rest @ ..] = &mut buffer;
        let Ok(bytes) = codec::encode(&report, rest) else { continue };
        let len = bytes.len();
        [*low, *high] = u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
        socket.write_all(buffer.get(..2 + len).unwrap_or_default()).await?;
    }
}

/// Reads a command; a malformed one is `None`.
///
/// # Errors
/// Those of the socket, its end, and a length that no frame has.
pub async fn read<R: AsyncRead + Unpin>(socket: &mut R) -> io::Result<Option<GatewayCommand>> {
    let mut buffer = [0; MAX_LEN];
    let len = usize::from(socket.read_u16_le().await?);
    let frame = buffer.get_mut(..len).ok_or(io::ErrorKind::InvalidData)?;
    socket.read_exact(frame).await?;
    Ok(codec::decode(frame).ok())
}

impl Commands {
    /// Follows commands until the socket ends.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn follow<R: AsyncRead + Unpin>(&self, mut socket: R) -> io::Result<()> {
        loop {
            match read(&mut socket).await? {
                Some(command) => self.obey(command).await,
                None => self.watch.gateway.counters.bad_commands.count(),
            }
        }
    }

    async fn obey(&self, command: GatewayCommand) {
        let gateway = &self.watch.gateway;
        let reports = &gateway.reports;
        match command {
            GatewayCommand::NewIdentity { client, streams } => {
                gateway.separation().new_identity(client);
                let closed = if streams == OldStreams::Close { gateway.streams.cut(client) } else { 0 };
                reports.send(GatewayReport::NewIdentity { client, closed }).await;
            }
            GatewayCommand::GetStatus => reports.send(GatewayReport::Status(self.watch.status())).await,
            GatewayCommand::GetCircuits => self.circuits().await,
            GatewayCommand::GetBridges => self.bridges().await,
            GatewayCommand::GetIsolation => self.isolation().await,
            GatewayCommand::SetIsolation(rules) => {
                gateway.separation().set_rules(rules);
                self.isolation().await;
            }
            GatewayCommand::GetDocuments => self.documents.notify_one(),
            GatewayCommand::GetCounters => self.counters().await,
        }
    }

    async fn isolation(&self) {
        let rules = self.watch.gateway.separation().rules().clone();
        self.watch.gateway.reports.send(GatewayReport::Isolation(rules)).await;
    }

    async fn circuits(&self) {
        let circuits: Vec<Circuit> = self.watch.gateway.streams.carriers().iter().map(circuit).collect();
        for (page, more) in pages(&circuits, CIRCUITS_PER_REPORT) {
            let circuits = page.iter().cloned().collect();
            self.watch.gateway.reports.send(GatewayReport::Circuits { circuits, more }).await;
        }
    }

    async fn bridges(&self) {
        let (bridges, used) = &self.bridges;
        for (page, more) in pages(bridges, BRIDGES_PER_REPORT) {
            let bridges = page.iter().map(|line| cut(line)).collect();
            self.watch.gateway.reports.send(GatewayReport::Bridges { used: *used, bridges, more }).await;
        }
    }

    async fn counters(&self) {
        let counters = self.watch.gateway.counters.list();
        for (page, more) in pages(&counters, COUNTERS) {
            let counters = page.iter().map(|(name, value)| (cut(name), *value)).collect();
            self.watch.gateway.reports.send(GatewayReport::Counters { counters, more }).await;
        }
    }
}

/// Pages of at most `size`, each with whether another follows; an empty one if there is nothing.
fn pages<T>(all: &[T], size: usize) -> impl Iterator<Item = (&[T], bool)> {
    let last = all.len().div_ceil(size).max(1) - 1;
    let page =
        move |n: usize| all.get(n * size..).map(|rest| rest.get(..size).unwrap_or(rest)).unwrap_or_default();
    (0..=last).map(move |n| (page(n), n < last))
}

fn circuit(carrier: &Carrier) -> Circuit {
    // A tunnel of more than one path is shown by its first.
    let path = carrier.tunnel.all_paths().into_iter().next();
    let hops = path.iter().flat_map(|path| path.iter()).take(HOPS);
    let hops = hops.map(|hop| {
        let target = hop.as_chan_target()?;
        Some(Relay {
            ed25519: target.ed_identity().and_then(|id| id.as_bytes().try_into().ok()),
            rsa: target.rsa_identity().and_then(|id| id.as_bytes().try_into().ok()),
            address: target.addrs().next().map(|address| (address.ip(), address.port())),
        })
    });
    Circuit {
        client: carrier.key.client(),
        id: cut(&carrier.tunnel.unique_id().to_string()),
        identity: carrier.key.identity(),
        hops: hops.collect(),
        streams: carrier.streams,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::tor::Level;
    use proptest::prelude::*;

    #[test]
    fn pages_hold_everything_once() {
        for n in 0..20 {
            let all: Vec<usize> = (0..n).collect();
            let pages: Vec<_> = pages(&all, 4).collect();
            assert_eq!(pages.iter().flat_map(|(page, _)| page.iter().copied()).collect::<Vec<_>>(), all);
            let more: Vec<bool> = pages.iter().map(|(_, more)| *more).collect();
            assert_eq!(more.iter().filter(|more| !**more).count(), 1, "{n}");
            assert!(pages.iter().all(|(page, more)| page.len() == 4 || !more));
        }
    }

    #[tokio::test]
    async fn reports_are_framed() {
        let reports = Reports::new();
        let report = GatewayReport::Log { level: Level::Info, text: cut("hello") };
        reports.offer(report.clone());
        let (mut here, there) = tokio::io::duplex(8192);
        tokio::spawn(async move { write(&reports, there).await });
        let len = here.read_u16_le().await.expect("a length");
        let mut frame = vec![0; len.into()];
        here.read_exact(&mut frame).await.expect("a frame");
        assert_eq!(codec::decode::<GatewayReport>(&frame), Ok(report));
    }

    fn read_all(bytes: &[u8]) -> (Vec<Option<GatewayCommand>>, io::ErrorKind) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (mut socket, mut commands) = (bytes, Vec::new());
        loop {
            match runtime.block_on(read(&mut socket)) {
                Ok(command) => commands.push(command),
                Err(e) => return (commands, e.kind()),
            }
        }
    }

    #[test]
    fn a_malformed_command_is_skipped_and_an_impossible_length_ends_it() {
        let good = [2, 0, 0, 0];
        let none = (Some(GatewayCommand::GetStatus), [1, 0, 1]);
        let bad = [1, 0, 200];
        let long = [0xff, 0xff];
        let bytes = [&good[..], &bad, &none.1, &long, &none.1].concat();
        let (commands, end) = read_all(&bytes);
        assert_eq!(commands.len(), 3);
        assert!(commands[1].is_none());
        assert_eq!((commands[2].clone(), end), (none.0, io::ErrorKind::InvalidData));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end_in_order(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read_all(&bytes);
        }
    }
}
