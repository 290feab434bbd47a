use super::super::chain::{Chain, MAX_SEGMENTS};
use super::super::testing::{Driver, INDIRECT, NEXT, Piece, WRITE, memory};
use super::*;
use proptest::prelude::*;

const DATA: u64 = 0x8000;

fn driver() -> Driver {
    Driver::new(&memory(0x10_0000), 0, 16)
}

#[test]
fn request_arrives_in_order_and_goes_back() {
    let mut driver = driver();
    let mut queue = driver.queue();
    let mut chain = Chain::with_room();
    driver.write(DATA, b"hello ");
    driver.write(DATA + 0x100, b"world");
    let head = driver.offer(&[Piece::Out(DATA, 6), Piece::Out(DATA + 0x100, 5), Piece::In(DATA + 0x200, 8)]);
    assert_eq!(queue.pop(&mut chain), Ok(true));
    let mut text = [0; 9];
    chain.read(queue.memory(), 1, &mut text).unwrap();
    assert_eq!(&text, b"ello worl");
    chain.write(queue.memory(), 2, b"abcdef").unwrap();
    assert_eq!(chain.write(queue.memory(), 3, b"abcdef"), Err(QueueFault::TooShort));
    queue.push(chain.head(), 8).unwrap();
    assert_eq!(driver.used(), [(head, 8)]);
    assert_eq!(driver.read(DATA + 0x202, 6), b"abcdef");
    assert_eq!(queue.pop(&mut chain), Ok(false));
}

#[test]
fn unpopped_request_comes_again() {
    let mut driver = driver();
    let mut queue = driver.queue();
    let mut chain = Chain::with_room();
    let first = driver.offer(&[Piece::In(DATA, 1)]);
    driver.offer(&[Piece::In(DATA, 2)]);
    assert_eq!(queue.pop(&mut chain), Ok(true));
    assert_eq!(queue.pop(&mut chain), Ok(true));
    queue.unpop(2);
    assert_eq!(queue.pop(&mut chain), Ok(true));
    assert_eq!((chain.head(), chain.writable().len()), (first, 1));
}

#[test]
fn runaway_index_is_a_fault() {
    let driver = driver();
    let mut queue = driver.queue();
    driver.set_available(17);
    assert_eq!(queue.pop(&mut Chain::with_room()), Err(QueueFault::AvailableIndex));
}

#[test]
fn torn_chains_are_faults() {
    for (flags, next) in [(NEXT, 0), (NEXT, 16), (NEXT, 9999)] {
        let mut driver = driver();
        driver.descriptor(0, (DATA, 4, flags, next));
        driver.offer_head(0);
        assert_eq!(driver.queue().pop(&mut Chain::with_room()), Err(QueueFault::TornChain), "{next}");
    }
    let mut driver = driver();
    driver.offer_head(99);
    assert_eq!(driver.queue().pop(&mut Chain::with_room()), Err(QueueFault::TornChain));
}

#[test]
fn readable_after_writable_is_a_fault() {
    let mut driver = driver();
    driver.offer(&[Piece::In(DATA, 4), Piece::Out(DATA, 4)]);
    assert_eq!(driver.queue().pop(&mut Chain::with_room()), Err(QueueFault::Direction));
}

#[test]
fn indirect_table_is_followed_once() {
    let mut driver = driver();
    driver.descriptor_at(DATA, (DATA + 0x100, 4, NEXT, 1));
    driver.descriptor_at(DATA + 16, (DATA + 0x200, 6, WRITE, 0));
    driver.descriptor(0, (DATA, 32, INDIRECT, 0));
    driver.offer_head(0);
    let mut chain = Chain::with_room();
    assert_eq!(driver.queue().pop(&mut chain), Ok(true));
    assert_eq!((chain.readable().len(), chain.writable().len()), (4, 6));

    // A table inside a table, an odd length and an empty table are refused.
    for (len, inner) in [(32, INDIRECT), (31, 0), (0, 0)] {
        let mut driver = self::driver();
        driver.descriptor_at(DATA, (DATA + 0x100, 16, inner, 0));
        driver.descriptor(0, (DATA, len, INDIRECT, 0));
        driver.offer_head(0);
        assert_eq!(driver.queue().pop(&mut chain), Err(QueueFault::TornChain), "{len} {inner}");
    }
}

#[test]
fn endless_indirect_table_is_bounded() {
    let mut driver = driver();
    for index in 0..1024u16 {
        driver.descriptor_at(DATA + 16 * u64::from(index), (0, 1, NEXT, index + 1));
    }
    driver.descriptor(0, (DATA, 16 * 1024, INDIRECT, 0));
    driver.offer_head(0);
    let mut chain = Chain::with_room();
    assert_eq!(driver.queue().pop(&mut chain), Err(QueueFault::TooManySegments));
    assert!(chain.readable().len() <= MAX_SEGMENTS);
}

#[test]
fn address_outside_of_memory_is_a_fault_at_use() {
    let mut driver = driver();
    driver.offer(&[Piece::Out(u64::MAX - 2, 8), Piece::In(0x0F_FFFE, 4)]);
    let mut queue = driver.queue();
    let mut chain = Chain::with_room();
    assert_eq!(queue.pop(&mut chain), Ok(true));
    assert_eq!(chain.read(queue.memory(), 0, &mut [0; 8]), Err(QueueFault::Address));
    assert_eq!(chain.read(queue.memory(), 4, &mut [0; 4]), Err(QueueFault::Address));
    assert_eq!(chain.write(queue.memory(), 0, &[0; 4]), Err(QueueFault::Address));
}

#[test]
fn rings_outside_of_memory_are_refused() {
    let driver = Driver::new(&memory(0x10_0000), 0x20_0000, 16);
    assert!(VirtQueue::new(driver.raw_queue(0), driver.memory.clone()).is_none());
}

#[test]
fn interrupt_wishes_are_respected() {
    let mut driver = driver();
    let mut queue = driver.queue();
    let mut chain = Chain::with_room();
    driver.offer(&[Piece::In(DATA, 1)]);
    queue.pop(&mut chain).unwrap();
    queue.push(chain.head(), 0).unwrap();
    assert_eq!(queue.wants_interrupt(), Ok(true));
    assert_eq!(queue.wants_interrupt(), Ok(false));
    queue.push(chain.head(), 0).unwrap();
    // VRING_AVAIL_F_NO_INTERRUPT
    driver.put(driver.base + 0x1000, 1u16);
    assert_eq!(queue.wants_interrupt(), Ok(false));
}

proptest! {
    /// Whatever lies in the rings and tables: no panic, bounded work, and every pop ends.
    #[test]
    fn garbage_never_panics_nor_spins(
        table in proptest::collection::vec(any::<u8>(), 256),
        ring in proptest::collection::vec(0u16..32, 16),
        indirect in proptest::collection::vec(any::<u8>(), 256),
        available in any::<u16>(),
    ) {
        let driver = driver();
        driver.write(0, &table);
        driver.write(DATA, &indirect);
        for (index, head) in ring.iter().enumerate() {
            driver.put(0x1004 + 2 * index as u64, *head);
        }
        driver.set_available(available);
        let mut queue = driver.queue();
        let mut chain = Chain::with_room();
        let mut taken = 0;
        while let Ok(true) = queue.pop(&mut chain) {
            taken += 1;
            let len = chain.readable().len().min(100_000);
            let _ = chain.read(queue.memory(), 0, &mut vec![0; len]);
            let len = chain.writable().len().min(100_000);
            let _ = chain.write(queue.memory(), 0, &vec![0; len]);
        }
        prop_assert!(taken <= 16);
    }
}
