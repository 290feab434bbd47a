//! Driver and device at the same time on two processors: no buffer is neither seen nor announced.

use super::{QUEUE, used};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering, fence};
use std::boxed::Box;
use std::cell::Cell;
use std::time::{Duration, Instant};
use std::vec;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PhysAddr, Result};

/// Long enough for hundreds of losses without the fence, on two processors.
const LASTS: Duration = Duration::from_secs(3);

struct Host;

// SAFETY: zeroed pages, leaked, so never another's; addresses are those of this process.
unsafe impl Hal for Host {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        #[repr(align(4096))]
        #[derive(Clone)]
        struct Page([u8; 4096]);
        let memory = vec![Page([0; 4096]); pages].leak();
        let at = NonNull::from(&mut memory[0].0).cast::<u8>();
        (at.as_ptr().expose_provenance() as u64, at)
    }
    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::dangling()
    }
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as u64
    }
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Learns where the rings are; all else is of no interest.
#[derive(Default)]
struct Rings(Cell<[u64; 2]>);

impl Transport for Rings {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }
    fn read_device_features(&mut self) -> u64 {
        0
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        1024
    }
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }
    fn set_status(&mut self, _: DeviceStatus) {}
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, _: u16, _: u32, _: PhysAddr, available: PhysAddr, used: PhysAddr) {
        self.0.set([available, used]);
    }
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: zerocopy::FromBytes + zerocopy::IntoBytes>(&self, _: usize) -> Result<T> {
        Err(virtio_drivers::Error::Unsupported)
    }
    fn write_config_space<T: zerocopy::IntoBytes + zerocopy::Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> Result<()> {
        Err(virtio_drivers::Error::Unsupported)
    }
}

fn word(at: u64) -> &'static AtomicU16 {
    // SAFETY: inside the rings (virtio 1.2 §2.7), which are leaked; every access from here is atomic.
    unsafe { &*core::ptr::with_exposed_provenance(crate::ram::address(at)) }
}

/// The device's half of the rings.
struct Device {
    available: u64,
    used: u64,
    index: u16,
}

impl Device {
    /// Gives the next buffer back; whether the driver wants to hear of it.
    fn complete(&mut self) -> bool {
        let slot = u64::from(self.index) % QUEUE as u64;
        let element = self.used + 4 + 8 * slot;
        word(element).store(word(self.available + 4 + 2 * slot).load(Ordering::Relaxed), Ordering::Relaxed);
        word(element + 4).store(1, Ordering::Relaxed);
        self.index = self.index.wrapping_add(1);
        word(self.used + 2).store(self.index, Ordering::Release);
        fence(Ordering::SeqCst);
        let event = word(self.available + 4 + 2 * QUEUE as u64).load(Ordering::Relaxed);
        event.wrapping_add(1) == self.index
    }
}

fn spin_until(condition: impl Fn() -> bool) {
    for turn in 0u32.. {
        if condition() {
            return;
        }
        if turn > 1000 {
            std::thread::yield_now();
        } else {
            core::hint::spin_loop();
        }
    }
}

#[test]
fn a_buffer_that_comes_while_the_driver_goes_to_sleep_is_seen_or_announced() {
    let mut rings = Rings::default();
    let mut queue = VirtQueue::<Host, QUEUE>::new(&mut rings, 0, false, true).unwrap();
    let [available, used_ring] = rings.0.get();
    let mut device = Device { available, used: used_ring, index: 0 };
    // Even: the device rests; odd: it completes two buffers. All ones: the end.
    let (round, announced) = (&AtomicU32::new(0), &AtomicBool::new(false));
    let buffers: [*mut [u8; 8]; QUEUE] = core::array::from_fn(|_| Box::into_raw(Box::new([0; 8])));
    let (mut lost, mut rounds, begin) = (0, 0, Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut dice = 1u32;
            loop {
                spin_until(|| round.load(Ordering::Acquire) % 2 == 1);
                if round.load(Ordering::Acquire) == u32::MAX {
                    return;
                }
                device.complete();
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (0..(dice >> 16) % 60).for_each(|_| core::hint::spin_loop());
                announced.store(device.complete(), Ordering::Relaxed);
                round.fetch_add(1, Ordering::Release);
            }
        });
        let mut tokens = [0; QUEUE];
        while begin.elapsed() < LASTS {
            for &buffer in &buffers[..2] {
                // SAFETY: leaked, and used by nobody until it is popped.
                let token = unsafe { queue.add(&[], &mut [&mut *buffer]) }.unwrap();
                tokens[usize::from(token)] = buffer.expose_provenance();
            }
            let pop = |token: u16, queue: &mut VirtQueue<Host, QUEUE>| {
                let buffer = core::ptr::with_exposed_provenance_mut::<[u8; 8]>(tokens[usize::from(token)]);
                // SAFETY: the buffer that was added with this token.
                unsafe { queue.pop_used(token, &[], &mut [&mut *buffer]) }.unwrap();
            };
            round.fetch_add(1, Ordering::Release);
            spin_until(|| queue.can_pop());
            let mut popped = 0;
            while let Some(token) = used(&queue) {
                pop(token, &mut queue);
                popped += 1;
            }
            spin_until(|| round.load(Ordering::Acquire) % 2 == 0);
            lost += u32::from(popped < 2 && !announced.load(Ordering::Relaxed));
            while let Some(token) = used(&queue) {
                pop(token, &mut queue);
            }
            rounds += 1;
        }
        round.store(u32::MAX, Ordering::Release);
    });
    std::println!("{lost} of {rounds} lost");
    assert_eq!(lost, 0, "of {rounds}");
}
