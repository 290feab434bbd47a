//! What the gateway program says on descriptor 3 and is told there: a little-endian length of two bytes, then that many
//! bytes of postcard (`control::tor`).

use alloc::boxed::Box;
use control::codec;
use control::tor::{GatewayCommand, GatewayReport};

/// Bytes of the length.
const HEADER: usize = 2;
/// Longest frame.
const FRAME: usize = HEADER + codec::MAX_LEN;

/// The program does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReport;

/// What of a report has come so far.
#[derive(Debug)]
pub struct Relay {
    buffer: Box<[u8; FRAME]>,
    have: usize,
}

impl Default for Relay {
    fn default() -> Self {
        Self { buffer: Box::new([0; FRAME]), have: 0 }
    }
}

impl Relay {
    /// The program's next report, made of what `receive` brings (it returns 0 when there is nothing now); `None` when
    /// there is no whole one yet.
    ///
    /// # Errors
    /// [`BadReport`]; nothing that the program says afterwards can be understood.
    pub fn next_report(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> usize,
    ) -> Result<Option<GatewayReport>, BadReport> {
        loop {
            let wanted = match self.len() {
                Some(len) if len > codec::MAX_LEN => return Err(BadReport),
                Some(len) if self.have == HEADER + len => return self.decode(len).map(Some),
                Some(len) => HEADER + len,
                None => HEADER,
            };
            let room = self.buffer.get_mut(self.have..wanted).ok_or(BadReport)?;
            match receive(room).min(room.len()) {
                0 => return Ok(None),
                came => self.have += came,
            }
        }
    }

    /// The length of the report, once it has come.
    fn len(&self) -> Option<usize> {
        let (header, _) = self.buffer.split_first_chunk()?;
        (self.have >= HEADER).then(|| usize::from(u16::from_le_bytes(*header)))
    }

    fn decode(&mut self, len: usize) -> Result<GatewayReport, BadReport> {
        self.have = 0;
        let bytes = self.buffer.get(HEADER..HEADER + len).ok_or(BadReport)?;
        codec::decode(bytes).map_err(|codec::Malformed| BadReport)
    }
}

/// Calls `with` with the bytes that tell the program `command`.
pub fn frame<R>(command: &GatewayCommand, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut buffer = [0; FRAME];
    let (header, body) = buffer.split_at_mut(HEADER);
    let len = codec::encode(command, body).ok()?.len();
    header.copy_from_slice(&u16::try_from(len).ok()?.to_le_bytes());
    buffer.get(..HEADER + len).map(with)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn encoded(report: &GatewayReport) -> Vec<u8> {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(report, &mut buffer).unwrap();
        [&u16::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
    }

    fn log(text: &str) -> GatewayReport {
        GatewayReport::Log { level: control::tor::Level::Info, text: control::tor::cut(text) }
    }

    /// Brings `stream` in pieces of `size` bytes.
    fn source(stream: &[u8], size: usize) -> impl FnMut(&mut [u8]) -> usize {
        let mut rest = stream;
        move |out| {
            let len = out.len().min(size).min(rest.len());
            let (now, later) = rest.split_at(len);
            out[..len].copy_from_slice(now);
            rest = later;
            len
        }
    }

    #[test]
    fn reports_come_whole_however_they_are_cut() {
        let reports = [log("one"), log(""), log(&"long ".repeat(48))];
        let stream: Vec<u8> = reports.iter().flat_map(encoded).collect();
        for size in [1, 2, 3, 7, 5000] {
            let mut relay = Relay::default();
            let mut from = source(&stream, size);
            for report in &reports {
                assert_eq!(relay.next_report(&mut from), Ok(Some(report.clone())));
            }
            assert_eq!(relay.next_report(&mut from), Ok(None));
        }
    }

    #[test]
    fn half_a_report_waits_for_the_rest() {
        let stream = encoded(&log("half"));
        let mut relay = Relay::default();
        assert_eq!(relay.next_report(source(&stream[..5], 9)), Ok(None));
        assert_eq!(relay.next_report(source(&stream[5..], 9)), Ok(Some(log("half"))));
    }

    #[test]
    fn nonsense_is_refused() {
        for stream in [&[0xFF, 0xFF, 1][..], &[0, 0], &[1, 0, 0xFF], &[0x01, 0x10]] {
            assert_eq!(Relay::default().next_report(source(stream, 9)), Err(BadReport), "{stream:x?}");
        }
    }

    #[test]
    fn a_command_is_framed_as_the_program_reads_it() {
        let bytes = frame(&GatewayCommand::GetStatus, <[u8]>::to_vec).unwrap();
        assert_eq!(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])), bytes.len() - 2);
        assert_eq!(codec::decode(&bytes[2..]), Ok(GatewayCommand::GetStatus));
    }

    proptest::proptest! {
        #[test]
        fn any_stream_is_bounded(stream in proptest::collection::vec(proptest::num::u8::ANY, 0..6000)) {
            let mut relay = Relay::default();
            let mut from = source(&stream, 100);
            for _ in 0..=stream.len() / 2 {
                match relay.next_report(&mut from) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(BadReport) => break,
                }
            }
        }
    }
}
