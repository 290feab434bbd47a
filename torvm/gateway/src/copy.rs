//! Bytes between a client and its stream, in pieces larger than a cell.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// Data that a cell carries.
const CELL: usize = 498;
/// Most that is read from a client at a time: whole cells.
const FROM_CLIENT: usize = 16 * CELL;
/// Most that is written to a client at a time: eleven full segments.
const TO_CLIENT: usize = 16 << 10;
/// How long a client may leave data untaken, or the Tor network not take any.
const STALL: Duration = Duration::from_secs(600);

/// Copies from a client to its stream until the client has no more. The stream's way out stays open then: a Tor stream
/// ends both ways at once. While the Tor network takes nothing, nothing is read either, so that a read would not tell of
/// the client's end: `broken` tells of one that waits no more.
///
/// # Errors
/// Those of either side; `ConnectionReset` when the client broke off.
pub async fn from_client<R, W>(
    client: &mut R,
    tor: &mut W,
    broken: impl AsyncFn(&R),
    mut count: impl FnMut(usize),
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; FROM_CLIENT];
    loop {
        let n = client.read(&mut buffer).await?;
        let Some(piece @ [_, ..]) = buffer.get(..n) else {
            return Ok(());
        };
        count(n);
        tokio::select! {
            biased;
            written = bounded(write(tor, piece)) => written?,
            () = broken(client) => return Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// Copies from a stream to its client until the far end has no more. What has arrived by the time of a write goes
/// out with it.
///
/// # Errors
/// Those of either side.
pub async fn to_client<R, W>(tor: &mut R, client: &mut W, mut count: impl FnMut(usize)) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; TO_CLIENT];
    let mut end = None;
    while end.is_none() {
        let n = poll_fn(|cx| read_available(Pin::new(&mut *tor), cx, &mut buffer, &mut end)).await;
        if let Some(piece @ [_, ..]) = buffer.get(..n) {
            count(n);
            bounded(client.write_all(piece)).await?;
        }
    }
    end.unwrap_or(Ok(()))
}

/// Reads all that can be had without waiting, as far as the buffer goes; waits only for the first byte. How the
/// stream ended, if it has, is left in `end`: a stream says so only once.
fn read_available<R: AsyncRead>(
    mut from: Pin<&mut R>,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
    end: &mut Option<io::Result<()>>,
) -> Poll<usize> {
    let mut buffer = ReadBuf::new(buffer);
    while buffer.remaining() > 0 && end.is_none() {
        let before = buffer.filled().len();
        match from.as_mut().poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {}
            Poll::Ready(ended) => *end = Some(ended),
            Poll::Pending if before == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(buffer.filled().len())
}

/// Writes a piece and sees it off.
///
/// # Errors
/// Those of the stream.
pub async fn write<W: AsyncWrite + Unpin>(tor: &mut W, piece: &[u8]) -> io::Result<()> {
    tor.write_all(piece).await?;
    tor.flush().await
}

async fn bounded(step: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(STALL, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::future::pending;

    /// A stream that yields one piece per read, as arti's do with cells, says once how it ended, and keeps what was
    /// written by each write.
    #[derive(Default)]
    struct Cells {
        pieces: VecDeque<io::Result<Vec<u8>>>,
        written: Vec<Vec<u8>>,
        ended: bool,
        told: bool,
    }

    impl AsyncRead for Cells {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.pieces.pop_front() {
                Some(Ok(mut piece)) => {
                    let rest = piece.split_off(piece.len().min(buffer.remaining()));
                    buffer.put_slice(&piece);
                    if !rest.is_empty() {
                        self.pieces.push_front(Ok(rest));
                    }
                    Poll::Ready(Ok(()))
                }
                Some(Err(e)) => Poll::Ready(Err(e)),
                None if std::mem::replace(&mut self.told, true) => {
                    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
                }
                None => Poll::Ready(Ok(())),
            }
        }
    }

    impl AsyncWrite for Cells {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.written.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.ended = true;
            Poll::Ready(Ok(()))
        }
    }

    fn cells(n: usize) -> Cells {
        let piece = |i: usize| Ok(vec![u8::try_from(i % 251).expect("small"); CELL]);
        Cells { pieces: (0..n).map(piece).collect(), ..Cells::default() }
    }

    #[tokio::test]
    async fn cells_that_are_there_go_out_together() {
        let (mut tor, mut client) = (cells(100), Cells::default());
        let mut counted = 0;
        to_client(&mut tor, &mut client, |n| counted += n).await.expect("ends");
        assert_eq!(counted, 100 * CELL);
        assert_eq!(client.written.len(), counted.div_ceil(TO_CLIENT));
        let expected: Vec<u8> =
            cells(100).pieces.into_iter().flat_map(|piece| piece.expect("data")).collect();
        assert_eq!(client.written.concat(), expected);
        assert!(!client.ended, "how the client's connection ends is not decided here");
    }

    #[tokio::test]
    async fn what_came_before_an_error_is_delivered() {
        let (mut tor, mut client) = (cells(3), Cells::default());
        tor.pieces.push_back(Err(io::ErrorKind::ConnectionReset.into()));
        let error = to_client(&mut tor, &mut client, |_| ()).await.expect_err("resets");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.written.concat().len(), 3 * CELL);
    }

    #[tokio::test]
    async fn the_clients_end_is_not_the_streams() {
        let (mut client, mut tor) = (cells(5), Cells::default());
        from_client(&mut client, &mut tor, async |_| pending().await, |_| ()).await.expect("ends");
        assert!(!tor.ended, "the far end could not answer any more");
        assert_eq!(tor.written.concat().len(), 5 * CELL);
    }

    #[tokio::test(start_paused = true)]
    async fn who_breaks_off_while_nothing_is_taken_is_noticed() {
        let (mut client, (mut tor, _other)) = (cells(1000), tokio::io::duplex(64));
        let broken = async |_: &Cells| tokio::time::sleep(Duration::from_secs(1)).await;
        let error = from_client(&mut client, &mut tor, broken, |_| ()).await.expect_err("breaks off");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_that_takes_nothing_is_given_up() {
        let (mut client, (mut tor, _other)) = (cells(1000), tokio::io::duplex(64));
        let copied = from_client(&mut client, &mut tor, async |_| pending().await, |_| ()).await;
        assert_eq!(copied.expect_err("gives up").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut tor, (mut client, _other)) = (cells(1000), tokio::io::duplex(64));
        let error = to_client(&mut tor, &mut client, |_| ()).await.expect_err("gives up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
