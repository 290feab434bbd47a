//! What netvm counts: every frame that is not forwarded has a reason with a name.

/// One counter.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A counter's name in code; [`Counter::as_str`] is its name in reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter { $($(#[doc = $doc])+ $name,)+ }

        impl Counter {
            /// All counters, in the order of reports.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

counters! {
    /// Frames that went from the segment to firewallvm.
    ToFirewall = "frames_to_firewall",
    /// Frames that went from firewallvm to the segment; a frame that is cut counts once.
    ToNic = "frames_to_nic",
    /// Frames that netvm kept: DHCP, ARP, neighbour discovery, router advertisements.
    Kept = "frames_kept",
    /// Frames that netvm sent on its own behalf.
    Own = "frames_own",
    /// In: too short, or an IP header that is not one.
    Malformed = "drop_malformed",
    /// In: neither ARP, IPv4 nor IPv6; VLAN tags are this too.
    EtherType = "drop_ethertype",
    /// In: for another hardware address, or an IP packet to us in a broadcast frame.
    NotOurMac = "drop_not_our_mac",
    /// In: for an IP address that is not the uplink's.
    NotOurAddress = "drop_not_our_address",
    /// In: ARP that does not concern us.
    OtherArp = "drop_other_arp",
    /// In: neighbour discovery from beyond the segment, redirects, solicitations of routers or of others.
    Discovery = "drop_discovery",
    /// In: more for netvm itself than it looks at in one burst.
    KeptFull = "drop_kept_full",
    /// In: firewallvm does not take frames fast enough.
    FirewallFull = "drop_firewall_full",
    /// In: no firewallvm is attached.
    NoFirewall = "drop_no_firewall",
    /// Out: a frame or metadata that make no sense, or a message that netvm does not know.
    BadFrame = "drop_bad_frame",
    /// Out: the source is not the uplink's address: it may be an inner one, and does not leave.
    ForeignSource = "drop_foreign_source",
    /// Out: the destination cannot be a host on the Internet or the segment.
    Unroutable = "drop_unroutable",
    /// Out: off the segment, and there is no router.
    NoGateway = "drop_no_gateway",
    /// Out: longer than the segment carries, and not to be cut.
    TooLong = "drop_too_long",
    /// Out: waits for the next hop's hardware address, but too many do, or it is too long to wait.
    PendingFull = "drop_pending_full",
    /// Out: the next hop did not answer.
    HopSilent = "drop_hop_silent",
    /// Out: the card refused the frame.
    NicRefused = "drop_nic_refused",
    /// Own frames that found no room at the card.
    OwnFull = "drop_own_full",
    /// Addresses offered by DHCP or a router advertisement that netvm did not believe.
    BadOffer = "bad_offer",
    /// Gateways beyond the segment, ignored.
    BadGateway = "bad_gateway",
    /// IPv6 addresses that someone else on the segment has.
    DuplicateAddress = "duplicate_address",
    /// Links whose peer broke the protocol.
    PeerFaults = "peer_faults",
}

/// The counters' values.
#[derive(Clone, Debug)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Counter::ALL.len()])
    }
}

impl Counters {
    /// Adds one.
    #[inline]
    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    #[inline]
    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        if let Some(value) = self.0.get_mut(counter as usize) {
            *value = value.wrapping_add(n);
        }
    }

    /// The value of one counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL.iter().map(|counter| (counter.as_str(), self.get(*counter)))
    }
}
