//! The page to read first: a card from reset to traffic, and what its owner may ask of it afterwards.

use crate::chip::Chip;
use crate::error::SetupError;
use crate::filter::{self, Groups};
use crate::interrupt::{self, InterruptMode, TxWake};
use crate::link::{self, LinkState};
use crate::nvm;
use crate::phy;
use crate::regs::{self, Regs, cause};
use crate::reset;
use crate::rx::{Receiver, RxRing};
use crate::stats::{self, Counter, DriverCounters, Statistics};
use crate::tx::{Transmitter, TxRing};
use hal::clock::Clock;
use hal::dma::{Dma, DmaRegion};
use hal::mmio::Mmio;

/// One card. Owns its registers, rings and buffers; allocates nothing after [`Nic::new`].
#[derive(Debug)]
pub struct Nic<M, R, C> {
    regs: Regs<M>,
    clock: C,
    chip: &'static Chip,
    mode: InterruptMode,
    mac: [u8; 6],
    groups: Groups,
    link: LinkState,
    rx: RxRing<R>,
    tx: TxRing<R>,
    statistics: Statistics,
    resets: u64,
    /// Frames received and the card's lost frames at the last `service`, for the receive watchdog.
    rx_seen: (u64, u64),
}

/// Whether the owner may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// An interrupt will end the sleep.
    Sleep,
    /// A frame arrived meanwhile: look again.
    Pending,
}

/// What `service` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The link changed to this state.
    pub link: Option<LinkState>,
    /// The card hung and was reset; queued frames were lost.
    pub reset: bool,
}

impl<M: Mmio, R: DmaRegion, C: Clock> Nic<M, R, C> {
    /// Brings up the card with PCI id 8086:`device` behind BAR 0 (`mmio`).
    ///
    /// Memory decoding, bus mastering and the chosen interrupt mode are set up in PCI configuration
    /// space by the caller. Takes about 1.7 MiB of the arena and some 40 ms.
    ///
    /// # Errors
    /// Every [`SetupError`]; the card is left unable to reach memory only as far as the IOMMU ensures it.
    pub fn new(
        device: u16,
        mode: InterruptMode,
        mmio: M,
        dma: &mut impl Dma<Region = R>,
        clock: C,
    ) -> Result<Self, SetupError> {
        let chip = Chip::find(device).ok_or(SetupError::UnknownChip(device))?;
        if mode == InterruptMode::MsiX && !chip.has_msix {
            return Err(SetupError::InterruptMode);
        }
        let mut nic = Self {
            regs: Regs::new(mmio),
            clock,
            chip,
            mode,
            mac: [0; 6],
            groups: Groups::default(),
            link: LinkState::Down,
            rx: RxRing::new(dma)?,
            tx: TxRing::new(dma)?,
            statistics: Statistics::default(),
            resets: 0,
            rx_seen: (0, 0),
        };
        nic.bring_up()?;
        Ok(nic)
    }

    /// The software initialisation sequence (§4.6), at start and after a hang.
    fn bring_up(&mut self) -> Result<(), SetupError> {
        reset::global_reset(&self.regs, &self.clock)?; // §4.6.2
        reset::configure(&self.regs, self.chip); // §4.6.2, §4.6.3
        self.mac = nvm::station_address(&self.regs, &self.clock)?;
        phy::negotiate(&self.regs, &self.clock, self.chip)?; // §4.6.3
        stats::clear(&self.regs); // §4.6.4
        filter::set_station(&self.regs, self.chip, self.mac); // §4.6.5
        self.rx.start(&self.regs);
        self.groups.apply(&self.regs, self.chip);
        self.tx.start(&self.regs, self.clock.now_us()); // §4.6.6
        interrupt::configure(&self.regs, self.mode); // §7.4
        interrupt::set_interval(&self.regs, self.mode, self.rx.moderation.class());
        self.tx.enable(&self.regs);
        self.rx.enable(&self.regs);
        self.link = link::report(&self.regs).state;
        Ok(())
    }

    /// The two halves of the data path, usable at the same time.
    pub fn rings(&mut self) -> (Receiver<'_, M, R>, Transmitter<'_, M, R, C>) {
        let Self { regs, clock, rx, tx, .. } = self;
        (Receiver { regs, ring: rx }, Transmitter { regs, clock, ring: tx })
    }

    /// Call first after every wake-up. Nothing to do with MSI-X, where sent causes clear themselves;
    /// otherwise reads ICR, which clears and masks all causes (and releases the INTx pin).
    pub fn acknowledge(&mut self) {
        if self.mode != InterruptMode::MsiX {
            let _ = self.regs.read(regs::ICR);
        }
    }

    /// Call last before a sleep: unmasks interrupts, then looks whether a frame slipped in before that.
    pub fn arm(&mut self) -> Armed {
        if let Some(class) = self.rx.moderation.settle() {
            interrupt::set_interval(&self.regs, self.mode, class);
        }
        let tx = if self.tx.blocked { TxWake::Wanted } else { TxWake::Unwanted };
        interrupt::arm(&self.regs, self.mode, tx);
        self.regs.flush();
        if self.rx.ready() { Armed::Pending } else { Armed::Sleep }
    }

    /// Slow path: link, statistics, watchdogs. Call once a second, and after a wake-up that found no frame
    /// (then the link may have changed).
    ///
    /// # Errors
    /// A hung card that cannot be brought back, or one that vanished.
    pub fn service(&mut self) -> Result<Events, SetupError> {
        if !self.regs.present() {
            return Err(SetupError::Absent);
        }
        let now_us = self.clock.now_us();
        let report = link::report(&self.regs);
        // Discard the link cause, or it would not fire again.
        self.regs.write(regs::ICR, cause::LSC);
        self.statistics.collect(&self.regs);
        self.tx.reclaim(now_us);
        if report.state == LinkState::Down || report.paused {
            self.tx.excuse(now_us);
        }
        let mut events = Events::default();
        if self.tx.hung(now_us) || self.receiver_hung() {
            self.resets += 1;
            events.reset = true;
            self.bring_up()?;
        }
        let now = if events.reset { self.link } else { report.state };
        if now != self.link || events.reset {
            self.link = now;
            events.link = Some(now);
        }
        Ok(events)
    }

    /// The card says that it finds no descriptor, while none of those it has was filled since the last look.
    fn receiver_hung(&mut self) -> bool {
        let lost = self.statistics.get(Counter::NoBuffers).wrapping_add(self.statistics.get(Counter::Missed));
        let (frames_before, lost_before) = self.rx_seen;
        self.rx_seen = (self.rx.counters.frames, lost);
        lost != lost_before && frames_before == self.rx.counters.frames && !self.rx.ready()
    }

    /// Chooses the multicast groups to receive; more than [`filter::MAX_GROUPS`] means all.
    pub fn set_multicast(&mut self, groups: &[[u8; 6]]) {
        self.groups.set(groups);
        self.groups.apply(&self.regs, self.chip);
    }

    /// The card's own address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The link as last seen by `service`.
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.link
    }

    /// Name of the chip.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.chip.name
    }

    /// What the card counted.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What the driver counted.
    #[must_use]
    pub fn counters(&self) -> DriverCounters {
        DriverCounters { rx: self.rx.counters, tx: self.tx.counters, resets: self.resets }
    }
}
