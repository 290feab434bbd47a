//! Carries out what dom0 orders, and passes on what the program says.

use super::{Takeover, Torvm, why};
use crate::control_plane::relay::{BadReport, frame};
use crate::control_plane::{Dom0, Order};
use crate::guest::{Guest, Network};
use alloc::{boxed::Box, vec::Vec};
use control::message::{Client, FromDomain, InForce};
use control::tor::{GatewayCommand, GatewayReport, cut};
use core::fmt::Write as _;
use heapless::String;
use link::{Doorbell, Link};

/// Orders in one round.
const ORDERS: usize = 32;
/// Reports of the program in one round.
const REPORTS: usize = 32;

/// What happened to messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Orders that make no sense.
    pub(super) orders_refused: u64,
    /// Commands that the program did not take.
    pub(super) commands_lost: u64,
    /// Reports that nobody was there for, or that are too long to be passed on.
    pub(super) reports_lost: u64,
}

impl<G: Guest, D: Doorbell> Torvm<G, D> {
    /// Puts the link to dom0 in place, and tells how things are.
    pub fn attach_dom0(&mut self, link: Link<D>) {
        let mut dom0 = Dom0::new(link);
        dom0.flush();
        self.dom0 = Some(dom0);
        self.life.tell_again(None);
    }

    /// Takes the link to dom0 away; all else goes on.
    pub fn detach_dom0(&mut self) {
        self.dom0 = None;
    }

    /// Carries out what dom0 orders; `true` when there was something.
    pub(super) fn take_orders(&mut self, now_us: u64) -> bool {
        for taken in 0..ORDERS {
            let Some(dom0) = &mut self.dom0 else { return taken > 0 };
            match dom0.next_order() {
                Ok(None) => return taken > 0,
                Ok(Some(order)) => self.obey(order, now_us),
                Err(fault) => {
                    log::error!("dom0's link: {}", fault.as_str());
                    self.dom0 = None;
                    return true;
                }
            }
        }
        true
    }

    fn obey(&mut self, order: Order, now_us: u64) {
        match order {
            Order::Uplink(client) => self.set_uplink(&client),
            Order::Client { port, client } => {
                let taken = self.guest.network().set_client(port, &client);
                self.note(taken, "client");
            }
            Order::ForgetClient(port) => self.guest.network().forget_client(port),
            Order::Clock(unix_us) => self.set_clock(now_us, unix_us),
            Order::Configuration { whole, from } => self.configure(&whole, from, now_us),
            Order::RestartProgram => self.begin_anew("dom0 asked for a restart"),
            Order::Gateway(command) => self.command(&command),
            Order::GetCounters => self.tell_counters(),
            Order::Stop => self.stop = true,
        }
    }

    fn set_uplink(&mut self, client: &Client) {
        let taken = self.guest.network().set_uplink(client);
        self.has_uplink |= taken;
        self.note(taken, "uplink");
    }

    fn note(&mut self, taken: bool, what: &str) {
        if !taken {
            log::warn!("{what}: description refused");
            self.messages.orders_refused += 1;
        }
    }

    /// Another configuration: the program is started with it, now or next time. The one in force, sent once more, starts
    /// nothing: dom0 repeats itself when its link was made anew. But what the program was told to take over may have been
    /// lost with that link: unless it has said that it did, it does not go on.
    fn configure(&mut self, whole: &[u8], from: InForce, now_us: u64) {
        if self.life.is_up() && self.in_force.as_deref() == Some(whole) {
            if from == InForce::Now && self.takeover != Takeover::Done {
                self.begin_anew("it has not said that it took its configuration over");
            }
            return;
        }
        let now = self.now(now_us);
        match self.guest.configure(whole, now) {
            Ok(()) => {
                log::info!("a configuration of {} bytes", whole.len());
                self.in_force = Some(whole.to_vec());
                match from {
                    InForce::Now => self.begin_anew("a new configuration"),
                    InForce::NextStart => self.takeover = Takeover::Owed,
                }
            }
            Err(why) => {
                log::error!("configuration refused: {why}");
                self.end_program();
                self.life.refused(now_us, why);
            }
        }
    }

    fn begin_anew(&mut self, how: &str) {
        self.end_program();
        self.life.begin_anew(cut(how));
    }

    fn command(&mut self, command: &GatewayCommand) {
        let sent = self.life.is_up() && frame(command, |bytes| self.guest.control_send(bytes)) == Some(true);
        match command {
            _ if !sent => self.messages.commands_lost += 1,
            GatewayCommand::SetIsolation(wanted) if self.takeover != Takeover::Done => {
                self.takeover = Takeover::Told(Box::new(wanted.clone()));
            }
            _ => {}
        }
    }

    /// Passes on what the program says, as far as dom0's link has room; `true` when there was something.
    pub(super) fn take_reports(&mut self, now_us: u64) -> bool {
        self.tell_news();
        for taken in 0..REPORTS {
            // Without a link what is said is lost; with a full one the program waits.
            if self.dom0.as_mut().is_some_and(|dom0| !dom0.has_room_for_report()) {
                return taken > 0;
            }
            let Self { relay, guest, .. } = self;
            match relay.next_report(|out| guest.control_receive(out)) {
                Ok(Some(report)) => self.pass_on(report, now_us),
                Ok(None) => return taken > 0,
                Err(BadReport) => {
                    let how = why(format_args!("it said something on its control stream that is no message"));
                    self.ended(now_us, how);
                    return true;
                }
            }
        }
        true
    }

    fn pass_on(&mut self, report: GatewayReport, now_us: u64) {
        if let GatewayReport::Status(status) = &report {
            self.life.heard(now_us, status.ready);
            if self.dom0.is_none() {
                log::info!("{} %{}", status.percent, if status.ready { ", ready" } else { "" });
                if status.ready {
                    self.log_memory();
                }
            }
        }
        if let (GatewayReport::Isolation(said), Takeover::Told(wanted)) = (&report, &self.takeover)
            && said == &**wanted
        {
            self.takeover = Takeover::Done;
        }
        let told = self.dom0.as_mut().is_some_and(|dom0| dom0.tell(&FromDomain::Gateway(report)));
        if !told {
            self.messages.reports_lost += 1;
        }
    }

    /// Says on the console what dom0 would ask for: how much the program and its files have taken (bytes).
    fn log_memory(&self) {
        let mut words = alloc::string::String::new();
        self.guest.counters(&mut |name, value| {
            if name.starts_with("program-memory") || name.starts_with("file") {
                // A string takes everything.
                let _ = write!(words, " {name} {value}");
            }
        });
        log::info!("memory:{words}");
    }

    /// Tells dom0 what became of the program.
    pub(super) fn tell_news(&mut self) {
        if let Some(dom0) = &mut self.dom0
            && let Some(news) = self.life.news()
            && !dom0.tell(&FromDomain::Program(news.clone()))
        {
            self.life.tell_again(Some(news));
        }
    }

    fn tell_counters(&mut self) {
        let Self { dom0: Some(dom0), guest, messages, life, .. } = self else { return };
        let mut all: Vec<(String<40>, u64)> = Vec::new();
        guest.counters(&mut |name, value| all.push((cut(name), value)));
        let ours = [
            ("control orders refused", messages.orders_refused),
            ("control commands lost", messages.commands_lost),
            ("control reports lost", messages.reports_lost),
            ("program starts", u64::from(life.runs())),
        ];
        dom0.tell_counters(all.iter().map(|(name, value)| (name.as_str(), *value)).chain(ours));
    }
}
