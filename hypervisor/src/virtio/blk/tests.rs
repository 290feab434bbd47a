#![expect(clippy::cast_possible_truncation, reason = "patterns and small sizes")]
use super::super::device::F_EVENT_IDX;
use super::super::testing::{Driver, Piece, memory, session, wait_until};
use super::*;
use disk::{DiskError, SECTOR};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use virtio_bindings::bindings::virtio_blk::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_api::config::DiskMode;

const HEADER: u64 = 0x8000;
const STATUS: u64 = 0x8100;
const RANGES: u64 = 0x8200;
const DATA: u64 = 0x1_0000;

fn image(len: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let bytes: Vec<u8> = (0..len).map(|i| (i / 512 * 7 + i % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all_at(&bytes, 0).unwrap();
    (file, bytes)
}

/// Opened anew each time: a lock belongs to the open file.
fn open(file: &tempfile::NamedTempFile, mode: DiskMode) -> Result<Disk, DiskError> {
    Disk::open(File::options().read(true).write(true).open(file.path()).unwrap(), mode)
}

struct Guest {
    driver: Driver,
    device: Device,
}

impl Guest {
    fn new(disk: Disk) -> Self {
        let driver = Driver::new(&memory(0x20_0000), 0, 64);
        let device = device("disk", disk, &Registry::default()).unwrap();
        device.control.start(session(&[&driver], F_EVENT_IDX).0);
        Self { driver, device }
    }

    fn request(&mut self, kind: u32, sector: u64, data: &[Piece]) -> (u8, u32) {
        self.driver.put(HEADER, kind);
        self.driver.put(HEADER + 8, sector);
        self.driver.put(STATUS, 0xFFu8);
        let mut pieces = vec![Piece::Out(HEADER, 16)];
        pieces.extend_from_slice(data);
        pieces.push(Piece::In(STATUS, 1));
        self.driver.offer(&pieces);
        self.device.notify[0].write(1).unwrap();
        let used = self.driver.wait_used(1);
        (self.driver.get(STATUS), used[0].1)
    }

    fn read(&mut self, sector: u64, len: u32) -> Option<Vec<u8>> {
        let half = len / 2 + 3;
        let pieces = [Piece::In(DATA, half), Piece::In(DATA + 0x8_0000, len - half)];
        if self.request(VIRTIO_BLK_T_IN, sector, &pieces).0 != 0 {
            return None;
        }
        let mut bytes = self.driver.read(DATA, half as usize);
        bytes.extend(self.driver.read(DATA + 0x8_0000, (len - half) as usize));
        Some(bytes)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        self.driver.write(DATA, bytes);
        self.request(VIRTIO_BLK_T_OUT, sector, &[Piece::Out(DATA, bytes.len() as u32)]).0
    }

    fn range(&mut self, kind: u32, sector: u64, sectors: u32) -> u8 {
        self.driver.put(RANGES, sector);
        self.driver.put(RANGES + 8, sectors);
        self.driver.put(RANGES + 12, 0u32);
        self.request(kind, 0, &[Piece::Out(RANGES, 16)]).0
    }
}

#[test]
fn reads_across_descriptors_and_pieces() {
    let (file, bytes) = image(300 * 1024);
    let mut guest = Guest::new(open(&file, DiskMode::ReadOnly).unwrap());
    assert_eq!(guest.read(3, 200 * 1024).unwrap(), bytes[3 * 512..3 * 512 + 200 * 1024]);
    let (status, used) = guest.request(VIRTIO_BLK_T_IN, 0, &[Piece::In(DATA, 1024)]);
    assert_eq!((status, used), (0, 1025));
}

#[test]
fn read_only_disk_refuses_every_change() {
    let (file, bytes) = image(64 * 1024);
    let mut guest = Guest::new(open(&file, DiskMode::ReadOnly).unwrap());
    assert_eq!(guest.write(0, &[1; 512]), 1);
    assert_eq!(guest.range(VIRTIO_BLK_T_DISCARD, 0, 8), 1);
    assert_eq!(guest.range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8), 1);
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
    assert_eq!(guest.device.features >> VIRTIO_BLK_F_RO & 1, 1);
}

#[test]
fn writes_and_zeroes_reach_the_image() {
    let (file, mut bytes) = image(64 * 1024);
    let mut guest = Guest::new(open(&file, DiskMode::ReadWrite).unwrap());
    assert_eq!(guest.write(5, &[0xAB; 1536]), 0);
    assert_eq!(guest.range(VIRTIO_BLK_T_WRITE_ZEROES, 100, 9), 0);
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    bytes[5 * 512..8 * 512].fill(0xAB);
    bytes[100 * 512..109 * 512].fill(0);
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
}

#[test]
fn requests_outside_of_the_disk_fail() {
    let (file, bytes) = image(64 * 1024);
    let mut guest = Guest::new(open(&file, DiskMode::ReadWrite).unwrap());
    for sector in [127, 128, u64::MAX / 512, u64::MAX] {
        assert_eq!(guest.write(sector, &[9; 1024]), 1, "{sector}");
        assert!(guest.read(sector, 1024).is_none(), "{sector}");
        assert_eq!(guest.range(VIRTIO_BLK_T_WRITE_ZEROES, sector, 2), 1);
    }
    assert_eq!(guest.range(VIRTIO_BLK_T_WRITE_ZEROES, 0, u32::MAX), 1);
    // Not whole sectors.
    assert_eq!(guest.write(0, &[9; 100]), 1);
    assert_eq!(guest.request(77, 0, &[]).0, 2);
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
}

#[test]
fn name_is_told() {
    let (file, _) = image(4096);
    let mut guest = Guest::new(open(&file, DiskMode::ReadOnly).unwrap());
    assert_eq!(guest.request(VIRTIO_BLK_T_GET_ID, 0, &[Piece::In(DATA, 20)]), (0, 21));
    assert_eq!(guest.driver.read(DATA, 6), b"disk\0\0");
}

#[test]
fn chain_without_status_stops_the_device() {
    let (file, _) = image(4096);
    let driver_memory = memory(0x20_0000);
    let mut driver = Driver::new(&driver_memory, 0, 16);
    let device = device("disk", open(&file, DiskMode::ReadOnly).unwrap(), &Registry::default()).unwrap();
    let (session, signals) = session(&[&driver], 0);
    driver.offer(&[Piece::Out(HEADER, 16)]);
    device.control.start(session);
    wait_until("needs reset", || signals.needs_reset.load(Ordering::SeqCst) == 1);
    assert!(driver.used().is_empty());
}

#[test]
fn image_has_one_writer_or_many_readers() {
    let (file, _) = image(4096);
    let reader = open(&file, DiskMode::ReadOnly).unwrap();
    let volatile = open(&file, DiskMode::Volatile).unwrap();
    assert!(matches!(open(&file, DiskMode::ReadWrite), Err(DiskError::InUse(_))));
    drop((reader, volatile));
    let writer = open(&file, DiskMode::ReadWrite).unwrap();
    assert!(matches!(open(&file, DiskMode::Volatile), Err(DiskError::InUse(_))));
    drop(writer);
    let odd = tempfile::tempfile().unwrap();
    odd.set_len(513).unwrap();
    assert!(matches!(Disk::open(odd, DiskMode::ReadOnly), Err(DiskError::BadLength(513))));
}

/// A guest whose other processor rewrites rings, descriptors and headers while the device works: requests
/// succeed, fail or stop the device, and after a reset it works as before. The image is never written.
#[test]
fn survives_a_guest_that_scribbles_meanwhile() {
    let (file, bytes) = image(64 * 1024);
    let registry = Registry::default();
    let device = device("disk", open(&file, DiskMode::ReadOnly).unwrap(), &registry).unwrap();
    let ram = memory(0x20_0000);
    let faults = || registry.snapshot().into_iter().find(|(name, _)| name == "disk.driver_faults").unwrap().1;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let driver = Driver::new(&ram, 0, 64);
            let mut state = 0x9E37_79B9_7F4A_7C15_u64;
            while !stop.load(Ordering::SeqCst) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Descriptors, available entries and index, request headers.
                let place = [0, 0x1000, HEADER][(state % 3) as usize] + (state >> 8) % 0x90;
                driver.put(place, (state >> 32) as u8 & 0x1F);
            }
        });
        // On a single processor the two may take turns for long without meeting.
        let begun = std::time::Instant::now();
        let mut rounds = 0;
        while rounds < 200 || (faults() == 0 && begun.elapsed().as_secs() < 60) {
            rounds += 1;
            if rounds > 200 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let mut driver = Driver::new(&ram, 0, 64);
            let (session, signals) = session(&[&driver], F_EVENT_IDX);
            device.control.start(session);
            for _ in 0..20 {
                driver.offer(&[Piece::Out(HEADER, 16), Piece::In(DATA, 512), Piece::In(STATUS, 1)]);
                device.notify[0].write(1).unwrap();
                if signals.needs_reset.load(Ordering::SeqCst) > 0 {
                    break;
                }
            }
            device.control.stop();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(faults() > 0, "the scribbling never hit");
    ram.write_slice(&[0; 0x4000], GuestAddress(0)).unwrap();
    let mut guest = Guest { driver: Driver::new(&ram, 0, 64), device };
    guest.device.control.start(session(&[&guest.driver], F_EVENT_IDX).0);
    assert_eq!(guest.read(0, 4096).unwrap(), bytes[..4096]);
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Discard(u64, u64),
    Read(u64, u64),
}

fn steps(sectors: u64) -> impl Strategy<Value = Vec<Step>> {
    let span = (0..sectors, 1..40u64).prop_map(move |(at, len)| (at, len.min(sectors - at)));
    let step = prop_oneof![
        (span.clone(), any::<u8>()).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        span.clone().prop_map(|(at, len)| Step::Zero(at, len)),
        span.clone().prop_map(|(at, len)| Step::Discard(at, len)),
        span.prop_map(|(at, len)| Step::Read(at, len)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    /// A volatile disk reads like a plain array that was written the same way, and the image stays as it
    /// was. 203 sectors: the last block is not whole.
    #[test]
    fn volatile_disk_is_an_array(steps in steps(203)) {
        let (file, original) = image(203 * 512);
        let mut model = original.clone();
        let mut disk = open(&file, DiskMode::Volatile).unwrap();
        for step in steps {
            let span = |at: u64, len: u64| (at * SECTOR) as usize..((at + len) * SECTOR) as usize;
            match step {
                Step::Write(at, len, byte) => {
                    let bytes: Vec<u8> = (0..len * SECTOR).map(|i| byte.wrapping_add((i % 13) as u8)).collect();
                    disk.write(at * SECTOR, &bytes).unwrap();
                    model[span(at, len)].copy_from_slice(&bytes);
                }
                Step::Zero(at, len) => {
                    disk.zero(disk.range(at, len * SECTOR).unwrap()).unwrap();
                    model[span(at, len)].fill(0);
                }
                Step::Discard(at, len) => {
                    disk.discard(disk.range(at, len * SECTOR).unwrap()).unwrap();
                    model[span(at, len)].fill(0);
                }
                Step::Read(at, len) => {
                    let mut bytes = vec![0; (len * SECTOR) as usize];
                    disk.read(at * SECTOR, &mut bytes).unwrap();
                    prop_assert_eq!(&bytes[..], &model[span(at, len)]);
                }
            }
        }
        let mut all = vec![0; model.len()];
        disk.read(0, &mut all).unwrap();
        prop_assert_eq!(all, model);
        prop_assert_eq!(std::fs::read(file.path()).unwrap(), original);
    }
}
