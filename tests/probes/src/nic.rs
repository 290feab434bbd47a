//! Drives an assigned network card: echoes, offloads and counts as the peer on the cable commands, or asks
//! for an address by DHCP.
//!
//! Commands are Ethernet frames of type 0x88B5 (IEEE: local experiments) whose byte 14 says what to do.

use core::net::Ipv4Addr;
use e1000e::{Armed, InterruptMode, LinkState, Nic, TxOffload, interrupt};
use rt::pci::Function;
use rt::{Interrupt, Step};

pub(crate) type Card = Nic<rt::Registers, rt::Region, rt::Clock>;

const HEADER: usize = 14;
const ANSWERS: usize = 2048;
const SERVICE_US: u64 = 100_000;

/// Finds the card and obeys until told to stop.
pub(crate) fn obey(machine: &rt::Machine) -> ! {
    let mut card = open(machine);
    let [a, b, c, d, e, f] = card.mac();
    log::info!("{} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}", card.name());
    let dhcp = machine.option("then") == Some("dhcp");
    let mut session = Session { mac: card.mac(), dhcp, greeted: false, next_service: 0, wakeups: 0 };
    rt::run(move |now| session.step(&mut card, now))
}

/// The card's PCI function.
pub(crate) fn function(machine: &rt::Machine) -> &Function {
    let found = machine.pci().iter().find(|function| {
        let (vendor, device) = function.id();
        vendor == e1000e::chip::VENDOR && e1000e::chip::Chip::find(device).is_some()
    });
    found.unwrap_or_else(|| rt::stop(format_args!("no card")))
}

/// Brings up the card with its interrupts.
pub(crate) fn open(machine: &rt::Machine) -> Card {
    let function = function(machine);
    let Some(registers) = function.registers(0) else { rt::stop(format_args!("no registers")) };
    let Some(mut msix) = function.msix() else { rt::stop(format_args!("no MSI-X")) };
    for vector in [interrupt::VECTOR_RX, interrupt::VECTOR_TX, interrupt::VECTOR_OTHER] {
        let Some(interrupt) = Interrupt::take() else { rt::stop(format_args!("no interrupt")) };
        if !msix.connect(vector.into(), &interrupt) {
            rt::stop(format_args!("no MSI-X vector {vector}"));
        }
    }
    function.enable_bus_master();
    msix.start();
    let (_, device) = function.id();
    Nic::new(device, InterruptMode::MsiX, registers, &mut machine.dma_arena(), rt::Clock)
        .unwrap_or_else(|why| rt::stop(format_args!("{why}")))
}

/// What the peer made of us so far.
struct Session {
    mac: [u8; 6],
    dhcp: bool,
    greeted: bool,
    next_service: u64,
    wakeups: u32,
}

/// What one frame asks for.
enum Order {
    Nothing,
    Answer(usize),
    Segment { payload: usize },
    Checksum,
    Count,
    Multicast,
    Quit,
    Offer(Ipv4Addr),
}

impl Session {
    fn step(&mut self, card: &mut Card, now: u64) -> Step {
        self.wakeups += 1;
        card.acknowledge();
        let mut frame = [0; ANSWERS];
        let mut order = Order::Nothing;
        let seen = card.rings().0.poll(1, &mut |bytes, _| order = self.read(bytes, &mut frame));
        self.carry_out(card, &order, &mut frame);
        if now >= self.next_service || seen == 0 {
            self.service(card, now);
        }
        if seen > 0 || card.arm() == Armed::Pending {
            return Step::Busy;
        }
        Step::Idle { until_us: Some(self.next_service) }
    }

    fn service(&mut self, card: &mut Card, now: u64) {
        self.next_service = now + SERVICE_US;
        let events = card.service().unwrap_or_else(|why| rt::stop(format_args!("{why}")));
        if let Some(link) = events.link {
            log::info!("link {link:?}");
        }
        if !self.greeted && card.link() != LinkState::Down {
            self.greeted = true;
            if self.dhcp { discover(card) } else { self.greet(card) }
        }
    }

    fn greet(&self, card: &mut Card) {
        let mut frame = [0xFF; 60];
        self.head(&mut frame, [0xFF; 6]);
        frame[HEADER] = b'H';
        send(card, &[&frame], TxOffload::None);
    }

    fn head(&self, frame: &mut [u8], to: [u8; 6]) {
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&self.mac);
        frame[12..14].copy_from_slice(&[0x88, 0xB5]);
    }

    /// Understands a frame; an echo is prepared in `answer`.
    fn read(&self, frame: &[u8], answer: &mut [u8; ANSWERS]) -> Order {
        if self.dhcp {
            return offer(frame).map_or(Order::Nothing, Order::Offer);
        }
        if frame.get(12..14) != Some(&[0x88, 0xB5]) || frame.len() < 60 {
            return Order::Nothing;
        }
        match frame[HEADER] {
            b'E' => {
                answer[..frame.len()].copy_from_slice(frame);
                let mut peer = [0; 6];
                peer.copy_from_slice(&frame[6..12]);
                self.head(answer, peer);
                Order::Answer(frame.len())
            }
            b'T' => Order::Segment { payload: usize::from(u16::from_be_bytes([frame[15], frame[16]])) },
            b'C' => Order::Checksum,
            b'S' => Order::Count,
            b'M' => Order::Multicast,
            b'Q' => Order::Quit,
            _ => Order::Nothing,
        }
    }

    fn carry_out(&self, card: &mut Card, order: &Order, frame: &mut [u8; ANSWERS]) {
        match *order {
            Order::Nothing => {}
            Order::Answer(len) => send(card, &[&frame[..len]], TxOffload::None),
            Order::Segment { payload } => segment(card, payload),
            Order::Checksum => checksum(card),
            Order::Multicast => card.set_multicast(&[[0x33, 0x33, 0, 0, 0, 0x42]]),
            Order::Count => self.count(card),
            Order::Quit => {
                log::info!("{:?}", card.counters());
                rt::exit(0)
            }
            Order::Offer(address) => {
                log::info!("DHCP offers {address}");
                rt::exit(0)
            }
        }
    }

    /// Answers with the driver's and the card's counts.
    fn count(&self, card: &mut Card) {
        let _ = card.service();
        let mut frame = [0; 60];
        self.head(&mut frame, [0xFF; 6]);
        frame[HEADER] = b'S';
        let theirs = card.statistics().get(e1000e::stats::Counter::FramesReceived);
        let counters = card.counters();
        let numbers = [counters.rx.frames, counters.tx.frames, theirs, u64::from(self.wakeups)];
        for (slot, number) in frame[16..48].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_be_bytes());
        }
        send(card, &[&frame], TxOffload::None);
    }
}

fn send(card: &mut Card, parts: &[&[u8]], offload: TxOffload) {
    let (_, mut tx) = card.rings();
    tx.reclaim();
    if let Err(why) = tx.send(parts, offload) {
        log::error!("not sent: {why}");
    }
    tx.kick();
}

/// An Ethernet and IPv4 header from 192.0.2.1 to 192.0.2.2, to everyone.
fn ipv4(card: &Card, protocol: u8, payload: usize) -> [u8; 34] {
    let mut header = [0xFF; 34];
    header[6..12].copy_from_slice(&card.mac());
    header[12..34].copy_from_slice(&[
        8, 0, 0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
    ]);
    let length = u16::try_from(payload + 20).unwrap_or(u16::MAX);
    header[16..18].copy_from_slice(&length.to_be_bytes());
    let words = header[14..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xFFFF) + (folded >> 16)).unwrap_or(0);
    header[24..26].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// Has the card segment a TCP packet.
fn segment(card: &mut Card, payload: usize) {
    static DATA: [u8; 32_768] = {
        let mut data = [0; 32_768];
        let mut at = 0;
        while at < data.len() {
            data[at] = ((at % 251) & 0xFF).to_le_bytes()[0];
            at += 1;
        }
        data
    };
    let data = &DATA[..payload.min(DATA.len())];
    let ip = ipv4(card, 6, 20 + data.len());
    let tcp = [0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0];
    send(card, &[&ip, &tcp, data], TxOffload::Segment { mss: 1460 });
}

/// Has the card insert a UDP checksum.
fn checksum(card: &mut Card) {
    let ip = ipv4(card, 17, 8 + 32);
    // The pseudo-header: addresses, protocol, length.
    let sum: u32 = 0xC000 + 0x0201 + 0xC000 + 0x0202 + 17 + 40;
    let seed = u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap_or(0).to_be_bytes();
    let udp = [0x10, 0, 0x20, 0, 0, 40, seed[0], seed[1]];
    send(card, &[&ip, &udp, &[0x77; 32]], TxOffload::Checksum { start: 34, offset: 6 });
}

/// A DHCP discovery (RFC 2131), by broadcast from nowhere.
pub(crate) fn discover(card: &mut Card) {
    let mut ip = ipv4(card, 17, 8 + 244);
    ip[24..34].copy_from_slice(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let words = ip[14..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let checksum = !u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap_or(0);
    ip[24..26].copy_from_slice(&checksum.to_be_bytes());
    let udp = [0, 68, 0, 67, 0, 252, 0, 0];
    let mut dhcp = [0; 244];
    dhcp[..8].copy_from_slice(&[1, 1, 6, 0, 0xB0, 0x1C, 0x4E, 0xAD]);
    dhcp[10] = 0x80;
    dhcp[28..34].copy_from_slice(&card.mac());
    dhcp[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    send(card, &[&ip, &udp, &dhcp], TxOffload::None);
}

/// The address in a DHCP offer for us.
fn offer(frame: &[u8]) -> Option<Ipv4Addr> {
    let udp = frame.get(34..)?;
    let ours = udp.get(2..4)? == [0, 68] && udp.get(12..16)? == [0xB0, 0x1C, 0x4E, 0xAD];
    let [a, b, c, d] = udp.get(24..28)? else { return None };
    ours.then_some(Ipv4Addr::new(*a, *b, *c, *d))
}
