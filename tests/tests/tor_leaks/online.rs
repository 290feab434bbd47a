//! From power-on to a page, and on.

use super::load::{Load, datagrams, get};
use super::questions::question;
use super::world::{PATIENCE, World};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tests::lab::until;

/// Name servers that clients are told.
const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 139, 1, 1), 53);

/// While torvm boots and its program finds its way into Tor, an AppVM is at it already.
pub(crate) fn bootstrap(world: &mut World) {
    world.start();
    let load = Load::start(&world.appvms[0], &world.network);
    world.wait_for_page(PATIENCE);
    assert!(load.forbidden.load(Ordering::SeqCst) > 0, "the load has sent what may not leave");
    drop(load);
    let report = world.judge();
    eprintln!("{report:?}");
    assert!(report.connections > 0);
}

/// Both AppVMs fetch the page and the onion page; the web server sees an exit.
pub(crate) fn pages(world: &mut World) {
    world.online();
    let before = world.network.visits().len();
    let web = (world.network.web, 80).into();
    for appvm in &world.appvms {
        let page = appvm.inside(|| get(web, ""));
        assert_eq!(page.as_deref(), Some(world.network.page.as_bytes()), "{}", appvm.name);
    }
    assert!(world.network.visits().len() > before, "the web server was visited");
    let (onion, page) = world.network.onion.clone();
    let found = until(PATIENCE, "the onion page", || {
        world.appvms[0].inside(|| {
            let address = ask(&onion)?;
            assert_eq!((address.octets()[0], address.octets()[1] & 0xc0), (10, 192), "{address}");
            get((address, 80).into(), "")
        })
    });
    assert_eq!(String::from_utf8_lossy(&found), page);
    world.judge();
}

/// An address for a name, from the gateway's name server.
fn ask(name: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    socket.send_to(&question(1, name, 1), RESOLVER).ok()?;
    let mut answer = [0; 1_500];
    let length = socket.recv(&mut answer).ok()?;
    // The address is what a single answer ends with.
    let last = answer[..length].last_chunk::<4>()?;
    (answer[7] == 1).then(|| Ipv4Addr::from(*last))
}

/// Everything at once, from both AppVMs.
pub(crate) fn load(world: &mut World) {
    world.online();
    let before = world.judge();
    let loads = [0, 1].map(|number| Load::start(&world.appvms[number], &world.network));
    std::thread::sleep(Duration::from_secs(if world.long { 120 } else { 15 }));
    let pages = || -> usize { loads.iter().map(|load| load.pages.load(Ordering::SeqCst)).sum() };
    until(PATIENCE, "a page under load", || (pages() > 0).then_some(()));
    let pages = pages();
    let forbidden: usize = loads.iter().map(|load| load.forbidden.load(Ordering::SeqCst)).sum();
    drop(loads);
    assert!(forbidden > 100, "{pages} pages, {forbidden} packets that may not leave");
    // What is refused is said to be, as a rule: the AppVM's stack heard "prohibited".
    let gateway = world.appvms[0].gateway;
    assert!(world.appvms[0].inside(|| datagrams(world.network.web, gateway)) > 0);
    let after = world.judge();
    eprintln!(
        "{pages} pages, {forbidden} packets that may not leave; {} frames with relays",
        after.relay_frames()
    );
    assert!(after.relay_frames() > before.relay_frames(), "traffic went through Tor");
}
