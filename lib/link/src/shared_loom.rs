//! Stands in for `shared` under loom: the same operations on memory that loom watches. A payload byte that is
//! read while it may still be written, or written while it may still be read, fails the model.

use loom::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Geometry,
    layout::{RECORD_ALIGN, RECORD_HEADER, Word},
    record::Header,
};

/// Orders our index or threshold before the load of the peer's; see `wakeup`.
pub(crate) fn fence() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

#[derive(Debug)]
struct Region {
    words: [AtomicU64; 6],
    data: Vec<Cell<[u8; RECORD_ALIGN]>>,
    len: usize,
}

impl Region {
    fn word(&self, word: Word) -> &AtomicU64 {
        let index = match word {
            Word::Identity => 0,
            Word::Epoch => 1,
            Word::Produced => 2,
            Word::Consumed => 3,
            Word::DataEvent => 4,
            Word::SpaceEvent => 5,
        };
        &self.words[index]
    }
}

/// The region that this end writes and the peer reads.
#[derive(Debug)]
pub struct Writable(Arc<Region>);

/// The region that the peer writes.
#[derive(Debug)]
pub struct ReadOnly(Arc<Region>);

/// Both views of one fresh region.
#[must_use]
pub fn region(geometry: Geometry) -> (Writable, ReadOnly) {
    let cells = geometry.data_len as usize / RECORD_ALIGN;
    let region = Arc::new(Region {
        words: core::array::from_fn(|_| AtomicU64::new(0)),
        data: (0..cells).map(|_| Cell::new([0; RECORD_ALIGN])).collect(),
        len: geometry.region_len(),
    });
    (Writable(Arc::clone(&region)), ReadOnly(region))
}

impl Writable {
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    pub(crate) fn store(&self, word: Word, value: u64) {
        self.0.word(word).store(value, Ordering::Release);
    }

    pub(crate) fn write_record(&mut self, offset: usize, header: Header, parts: &[&[u8]]) {
        let mut cell = [0; RECORD_ALIGN];
        cell[..8].copy_from_slice(&header[0].to_le_bytes());
        cell[8..].copy_from_slice(&header[1].to_le_bytes());
        self.0.data[offset / RECORD_ALIGN].set(cell);
        for (i, byte) in parts.iter().copied().flatten().enumerate() {
            let at = offset + RECORD_HEADER + i;
            let mut cell = self.0.data[at / RECORD_ALIGN].get();
            cell[at % RECORD_ALIGN] = *byte;
            self.0.data[at / RECORD_ALIGN].set(cell);
        }
    }
}

impl Writable {
    pub(crate) fn write_plain(&mut self, offset: usize, frame: &[u8]) {
        self.write_record(offset, [frame.len() as u64, 0], &[frame]);
    }
}

impl ReadOnly {
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    pub(crate) fn load(&self, word: Word) -> u64 {
        self.0.word(word).load(Ordering::Acquire)
    }

    pub(crate) fn read_header(&self, offset: usize) -> Header {
        let cell = self.0.data[offset / RECORD_ALIGN].get();
        let half = |range: core::ops::Range<usize>| u64::from_le_bytes(cell[range].try_into().unwrap());
        [half(0..8), half(8..16)]
    }

    pub(crate) fn read_payload(&self, offset: usize, out: &mut [u8]) {
        for (i, byte) in out.iter_mut().enumerate() {
            let at = offset + RECORD_HEADER + i;
            *byte = self.0.data[at / RECORD_ALIGN].get()[at % RECORD_ALIGN];
        }
    }
}
