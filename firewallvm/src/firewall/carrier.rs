//! The long way: has one frame parsed and judged, and carries the verdict out.

use crate::{
    answer,
    decide::{self, Hint, Origin, Packet, Translate},
    flows::{Flows, tcp::Direction},
    from_client, from_net,
    offload::Offload,
    opening,
    ports::Ports,
    state::Core,
    to_client, to_net,
    translate::Leaving,
    verdict::{Answer, DropReason, Verdict},
};
use abi::link_device::Role;
use link::{Doorbell, Meta};
use packet::{
    headers::{self, Frame, Headers, Network, Transport},
    plain::HEAD,
};

/// The known flow that a packet probably belongs to; `None` for what belongs to no flow.
pub(super) fn find(core: &Core, headers: &Headers, port: u8, role: Role) -> Option<Hint> {
    fn find<A: Translate>(flows: &Flows<A>, headers: &Headers, port: u8, role: Role) -> Option<Hint> {
        let key = match role {
            Role::Downstream => decide::tuple(headers, Direction::Outward)?.on_link(port),
            _ => decide::tuple(headers, Direction::Inward)?.on_uplink(),
        };
        let hash = flows.hash(&key);
        Some(Hint { hash, flow: flows.candidate(hash) })
    }
    match &headers.network {
        Network::V4(_) => find(&core.v4.flows, headers, port, role),
        Network::V6(_) => find(&core.v6.flows, headers, port, role),
    }
}

/// Judges a frame and carries the verdict out.
pub(super) struct Carrier<'a, D> {
    pub(super) core: &'a mut Core,
    pub(super) ports: &'a mut Ports<D>,
    /// Room for an answer.
    pub(super) out: &'a mut [u8; answer::ROOM],
    /// Where the frame came from.
    pub(super) port: u8,
    pub(super) role: Role,
}

impl<D: Doorbell> Carrier<'_, D> {
    /// A plain packet, with the hash of its key.
    pub(super) fn plain(
        &mut self,
        frame: &mut [u8],
        meta: &Meta,
        headers: &Headers,
        hash: u64,
    ) -> Result<(), DropReason> {
        let mut offload = Offload::check(meta, headers)?;
        offload.verified &= self.role == Role::Upstream;
        let hint = Hint { hash, flow: self.core.v4.flows.candidate(hash) };
        let mut leaving = Leaving { frame, headers, offload, plain: true };
        if self.role == Role::Downstream && hint.flow.is_none() {
            return self.open(&mut leaving, hint);
        }
        let verdict = self.judge(&leaving, Origin::Whole, Some(hint));
        self.carry_out(&mut leaving, verdict)
    }

    /// A packet of a client over IPv4, with ports, that belongs to no flow.
    #[inline(always)]
    fn open(&mut self, leaving: &mut Leaving<'_>, hint: Hint) -> Result<(), DropReason> {
        let Leaving { frame, headers, offload, .. } = leaving;
        let key = match from_client::opens(self.core, headers, self.port) {
            Ok(key) => key,
            Err(verdict) => return self.carry_out(leaving, verdict),
        };
        let packet = Packet { frame, headers, offload: *offload, origin: Origin::Whole, hint: Some(hint) };
        let Core { v4, common, .. } = &mut *self.core;
        match opening::outward(v4, common, &packet, &key) {
            Ok(Verdict::ToNet(translation)) => to_net::send(self.ports, self.core, leaving, &translation),
            Ok(verdict) | Err(verdict) => self.carry_out(leaving, verdict),
        }
    }

    /// A frame of `len` bytes, and what follows it. First packets of connections are spared what only others need if
    /// the lane is open.
    pub(super) fn frame(
        &mut self,
        frame: &mut [u8],
        (len, open): (usize, bool),
        meta: &Meta,
    ) -> Result<(), DropReason> {
        let bytes = frame.get_mut(..len).unwrap_or_default();
        let mut headers = Headers::NONE;
        match headers::parse_into(bytes, &mut headers)? {
            headers::Kind::Ip => {
                let mut offload = Offload::check(meta, &headers)?;
                // What a client says about a checksum is believed by nobody.
                offload.verified &= self.role == Role::Upstream;
                let hint = find(self.core, &headers, self.port, self.role);
                if let Some(hint) = hint.filter(|hint| hint.flow.is_none())
                    && open
                    && self.role == Role::Downstream
                    && matches!(headers.network, Network::V4(_))
                    && matches!(headers.transport, Transport::Tcp(_))
                    && offload.segment.is_none()
                    && let Some(frame) = frame.get_mut(..len.max(HEAD))
                {
                    let mut leaving = Leaving { frame, headers: &headers, offload, plain: true };
                    return self.open(&mut leaving, hint);
                }
                let bytes = frame.get_mut(..len).unwrap_or_default();
                let mut leaving = Leaving { frame: bytes, headers: &headers, offload, plain: false };
                match self.judge(&leaving, Origin::Whole, hint) {
                    Verdict::Complete => self.datagram(),
                    verdict => self.carry_out(&mut leaving, verdict),
                }
            }
            headers::Kind::Arp => self.arp(bytes),
        }
    }

    fn arp(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let Frame::Arp(ethernet, arp) = headers::parse(bytes)? else { return Err(DropReason::Internal) };
        let verdict = match self.role {
            Role::Downstream => from_client::judge_arp(self.core, &ethernet, &arp, self.port),
            _ => DropReason::Arp.into(),
        };
        match verdict {
            Verdict::Answer(Answer::Arp(reply)) => {
                to_client::send_own(self.ports, self.port, &reply.emit(ethernet.source))
            }
            Verdict::Drop(reason) => Err(reason),
            _ => Ok(()),
        }
    }

    #[inline]
    fn judge(&mut self, leaving: &Leaving<'_>, origin: Origin, hint: Option<Hint>) -> Verdict {
        let Leaving { frame, headers, offload, .. } = leaving;
        let packet = Packet { frame, headers, offload: *offload, origin, hint };
        match self.role {
            Role::Downstream => from_client::judge(self.core, &packet, self.port),
            _ => from_net::judge(self.core, &packet, self.port),
        }
    }

    #[inline]
    fn carry_out(&mut self, leaving: &mut Leaving<'_>, verdict: Verdict) -> Result<(), DropReason> {
        let Self { core, ports, out, port, role } = self;
        match verdict {
            Verdict::ToNet(translation) => to_net::send(ports, core, leaving, &translation),
            Verdict::ToClient(to, translation) => to_client::send(ports, core, leaving, (to, &translation)),
            Verdict::Answer(answer) if *role == Role::Downstream => {
                answer::client(ports, core, leaving, (*port, answer), out)
            }
            Verdict::Answer(answer) => answer::net(ports, core, leaving, answer, out),
            Verdict::Absorbed => Ok(()),
            Verdict::Complete => Err(DropReason::Internal),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// Judges a datagram whose last fragment just came.
    #[cold]
    #[inline(never)]
    fn datagram(&mut self) -> Result<(), DropReason> {
        let mut fragments = core::mem::take(&mut self.core.fragments);
        let done = match fragments.take(self.port) {
            Some((buffer, len)) => self.whole(buffer.get_mut(..len).unwrap_or_default()),
            None => Err(DropReason::Internal),
        };
        self.core.fragments = fragments;
        done
    }

    fn whole(&mut self, bytes: &mut [u8]) -> Result<(), DropReason> {
        let headers: Headers = match headers::parse(bytes)? {
            Frame::Ip(headers) => headers,
            Frame::Arp(..) => return Err(DropReason::Internal),
        };
        let mut leaving = Leaving { frame: bytes, headers: &headers, offload: Offload::NONE, plain: false };
        let verdict = self.judge(&leaving, Origin::Pieces, None);
        self.carry_out(&mut leaving, verdict)
    }
}
