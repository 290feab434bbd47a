//! The machine's network card, whichever it is, as one [`Nic`]: one copy of the packet path in the image.

mod virtio;

use core::fmt;
use e1000e::{InterruptMode, chip::Chip, interrupt};
use netvm::nic::{E1000e, Nic, NicGone, Offload, Offloads, RxChecksum, TxError};
use rt::{Interrupt, Machine, pci::Function};
use virtio::VirtioCard;

/// The card that this domain owns.
#[expect(clippy::large_enum_variant, reason = "there is one card, made once and never moved about")]
pub(crate) enum Card {
    /// An Intel card, assigned.
    E1000e(E1000e<rt::Registers, rt::Region, rt::Clock>),
    /// A virtio card, for machines that have no card to spare.
    Virtio(VirtioCard),
}

/// Why there is no card.
pub(crate) enum NoCard {
    /// None that netvm can drive.
    Absent,
    /// There is one without usable registers or interrupts.
    Resources,
    /// The driver could not bring it up.
    Driver(e1000e::SetupError),
}

impl fmt::Display for NoCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no network card that netvm can drive"),
            Self::Resources => f.write_str("the network card lacks registers or MSI-X interrupts"),
            Self::Driver(why) => write!(f, "the network card did not start: {why}"),
        }
    }
}

impl Card {
    /// Brings up the first card that there is a driver for.
    pub(crate) fn open(machine: &Machine) -> Result<Self, NoCard> {
        for function in machine.pci() {
            let (vendor, device) = function.id();
            if vendor == e1000e::chip::VENDOR && Chip::find(device).is_some() {
                return open_e1000e(machine, function, device);
            }
        }
        let virtio = machine.virtio_net().ok_or(NoCard::Absent)?;
        log::info!("virtio network card");
        Ok(Self::Virtio(VirtioCard::new(virtio)))
    }
}

fn open_e1000e(machine: &Machine, function: &Function, device: u16) -> Result<Card, NoCard> {
    let registers = function.registers(0).ok_or(NoCard::Resources)?;
    let mut msix = function.msix().ok_or(NoCard::Resources)?;
    for vector in [interrupt::VECTOR_RX, interrupt::VECTOR_TX, interrupt::VECTOR_OTHER] {
        let interrupt = Interrupt::take().ok_or(NoCard::Resources)?;
        if !msix.connect(vector.into(), &interrupt) {
            return Err(NoCard::Resources);
        }
    }
    function.enable_bus_master();
    msix.start();
    let nic = e1000e::Nic::new(device, InterruptMode::MsiX, registers, &mut machine.dma_arena(), rt::Clock)
        .map_err(NoCard::Driver)?;
    log::info!("{} network card", nic.name());
    Ok(Card::E1000e(E1000e::new(nic)))
}

/// Calls the same method of whichever card there is.
macro_rules! card {
    ($self:expr, $card:ident => $call:expr) => {
        match $self {
            Card::E1000e($card) => $call,
            Card::Virtio($card) => $call,
        }
    };
}

impl Nic for Card {
    fn mac(&self) -> [u8; 6] {
        card!(self, card => card.mac())
    }

    fn link_up(&self) -> bool {
        card!(self, card => card.link_up())
    }

    fn offloads(&self) -> Offloads {
        card!(self, card => card.offloads())
    }

    fn receive(&mut self, budget: usize, sink: impl FnMut(&[u8], RxChecksum)) -> usize {
        card!(self, card => card.receive(budget, sink))
    }

    fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), TxError> {
        card!(self, card => card.send(frame, offload))
    }

    fn flush(&mut self) {
        card!(self, card => card.flush());
    }

    fn service(&mut self) -> Result<(), NicGone> {
        card!(self, card => card.service())
    }

    fn set_groups(&mut self, groups: &[[u8; 6]]) {
        card!(self, card => card.set_groups(groups));
    }

    fn arm(&mut self) -> bool {
        card!(self, card => card.arm())
    }
}
