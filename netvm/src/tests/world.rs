//! The simulated machine.

use crate::{
    Counter, Netvm, Progress,
    nic::{Nic, NicGone, Offload, Offloads, RxChecksum, TxError},
};
use control::{
    codec,
    message::{FromDomain, NetToFirewall, ToNet, Uplink},
};
use link::{Geometry, Kind, Link, MAX_PAYLOAD, Meta, host, host::CountBell};
use std::{cell::RefCell, collections::VecDeque, rc::Rc, vec::Vec};

pub(super) const OUR_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(super) const SECOND: u64 = 1_000_000;

/// The cable and the card's state.
#[derive(Default)]
pub(super) struct Cable {
    pub(super) up: bool,
    pub(super) to_card: VecDeque<(Vec<u8>, Option<RxChecksum>)>,
    pub(super) from_card: VecDeque<(Vec<u8>, Offload)>,
    /// Frames that the card still takes; `None`: any number.
    pub(super) room: Option<usize>,
    pub(super) offloads: Offloads,
    pub(super) groups: Vec<[u8; 6]>,
    pub(super) gone: bool,
}

/// A card whose other side is the test.
pub(super) struct TestNic(Rc<RefCell<Cable>>);

impl Nic for TestNic {
    fn mac(&self) -> [u8; 6] {
        OUR_MAC
    }

    fn link_up(&self) -> bool {
        self.0.borrow().up
    }

    fn offloads(&self) -> Offloads {
        self.0.borrow().offloads
    }

    fn receive(&mut self, budget: usize, mut sink: impl FnMut(&[u8], RxChecksum)) -> usize {
        let mut seen = 0;
        while seen < budget {
            let Some((frame, checksum)) = self.0.borrow_mut().to_card.pop_front() else { break };
            sink(&frame, checksum.unwrap_or(RxChecksum::Unknown));
            seen += 1;
        }
        seen
    }

    fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), TxError> {
        let mut cable = self.0.borrow_mut();
        let segmented = matches!(offload, Offload::Segment { .. });
        if frame.len() < 14 || (frame.len() > 1514 && !segmented) {
            return Err(TxError::Refused);
        }
        match &mut cable.room {
            Some(0) => return Err(TxError::Full),
            Some(room) => *room -= 1,
            None => {}
        }
        cable.from_card.push_back((frame.to_vec(), offload));
        Ok(())
    }

    fn flush(&mut self) {}

    fn service(&mut self) -> Result<(), NicGone> {
        if self.0.borrow().gone { Err(NicGone) } else { Ok(()) }
    }

    fn set_groups(&mut self, groups: &[[u8; 6]]) {
        self.0.borrow_mut().groups = groups.to_vec();
    }

    fn arm(&mut self) -> bool {
        self.0.borrow().to_card.is_empty()
    }
}

/// A station on the segment: sees a frame, answers with any number.
pub(super) type Station = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>>>;

/// Netvm and everything around it.
pub(super) struct World {
    pub(super) netvm: Netvm<TestNic, CountBell>,
    pub(super) cable: Rc<RefCell<Cable>>,
    pub(super) firewall: Link<CountBell>,
    pub(super) dom0: Link<CountBell>,
    pub(super) stations: Vec<Station>,
    /// Everything that netvm sent.
    pub(super) sent: Vec<(Vec<u8>, Offload)>,
    pub(super) now_us: u64,
}

impl World {
    /// A machine with its cable plugged in, firewallvm on port 1 and dom0 on port 0.
    pub(super) fn new() -> Self {
        Self::with(Offloads::default())
    }

    pub(super) fn with(offloads: Offloads) -> Self {
        let cable = Rc::new(RefCell::new(Cable { up: true, offloads, ..Cable::default() }));
        let mut netvm = Netvm::new(TestNic(Rc::clone(&cable)), 0x1234_5678_9ABC_DEF0).unwrap();
        let (near, firewall) = host::pair(Geometry::DEFAULT, 1).unwrap();
        netvm.attach_firewall(1, near);
        let (near, dom0) = host::pair(Geometry { data_len: 16384 }, 1).unwrap();
        netvm.attach_dom0(0, near);
        Self { netvm, cable, firewall, dom0, stations: Vec::new(), sent: Vec::new(), now_us: SECOND }
    }

    pub(super) fn station(&mut self, station: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) {
        self.stations.push(Box::new(station));
    }

    /// Puts a frame on the cable towards netvm.
    pub(super) fn arrive(&mut self, frame: &[u8]) {
        self.cable.borrow_mut().to_card.push_back((frame.to_vec(), None));
    }

    /// Carries netvm's frames to the stations and their answers back.
    fn carry(&mut self) -> bool {
        let mut carried = false;
        loop {
            let next = self.cable.borrow_mut().from_card.pop_front();
            let Some((frame, offload)) = next else { return carried };
            carried = true;
            for station in &mut self.stations {
                for answer in station(&frame) {
                    self.cable.borrow_mut().to_card.push_back((answer, None));
                }
            }
            self.sent.push((frame, offload));
        }
    }

    /// Carries what is on the cable now.
    pub(super) fn carry_once(&mut self) {
        self.carry();
    }

    /// Lets everything happen that happens at this time; gives the time that netvm sleeps until.
    pub(super) fn settle(&mut self) -> u64 {
        for _ in 0..10_000 {
            let progress = self.netvm.step(self.now_us).unwrap();
            if self.carry() {
                continue;
            }
            match progress {
                Progress::Busy => {}
                Progress::Idle { until_us } => return until_us,
                Progress::Stop => return u64::MAX,
            }
        }
        panic!("netvm never sleeps");
    }

    /// Lets time pass, waking netvm only when it asked for it.
    pub(super) fn pass(&mut self, us: u64) {
        let end = self.now_us + us;
        loop {
            let until = self.settle();
            assert!(until > self.now_us, "netvm asks to be woken in the past");
            if until > end {
                break;
            }
            self.now_us = until;
        }
        self.now_us = end;
        self.settle();
    }

    /// What firewallvm finds in its link: frames, and the last uplink it was told of.
    pub(super) fn at_firewall(&mut self) -> (Vec<(Vec<u8>, Meta)>, Option<Uplink>) {
        let (mut frames, mut uplink, mut buffer) = (Vec::new(), None, vec![0; MAX_PAYLOAD]);
        while let Some((meta, len)) = self.firewall.recv(&mut buffer).unwrap() {
            if meta.kind == Kind::Frame {
                frames.push((buffer[..len].to_vec(), meta));
            } else {
                let NetToFirewall::Uplink(told) = codec::decode(&buffer[..len]).unwrap();
                uplink = Some(told);
            }
        }
        self.firewall.release();
        (frames, uplink)
    }

    /// What dom0 finds in its link.
    pub(super) fn at_dom0(&mut self) -> Vec<FromDomain> {
        let (mut messages, mut buffer) = (Vec::new(), vec![0; codec::MAX_LEN]);
        while let Some((_, len)) = self.dom0.recv(&mut buffer).unwrap() {
            messages.push(codec::decode(&buffer[..len]).unwrap());
        }
        self.dom0.release();
        messages
    }

    pub(super) fn order(&mut self, order: &ToNet) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(order, &mut buffer).unwrap();
        self.dom0.send(&Meta::MESSAGE, &[bytes]).unwrap();
        self.dom0.publish();
    }

    /// firewallvm sends a frame.
    pub(super) fn firewall_sends(&mut self, frame: &[u8], meta: Meta) {
        self.firewall.send(&meta, &[frame]).unwrap();
        self.firewall.publish();
    }

    /// Takes what netvm has sent since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.sent).into_iter().map(|(frame, _)| frame).collect()
    }

    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.netvm.counters().get(counter)
    }
}
