//! Who may say to be whom: {every link} × {every kind of address}, expected to pass only for the owner.
use super::world::*;
use crate::verdict::DropReason;

#[test]
fn a_client_sends_from_its_own_addresses_only() {
    let mut w = World::new(3);
    let foreign4 = [
        client4(1),
        client4(2),
        gateway4(0),
        gateway4(1),
        UPLINK4,
        SERVER4,
        RESOLVER4,
        Ipv4Addr::new(0, 0, 0, 0),
        Ipv4Addr::new(0, 1, 2, 3),
        Ipv4Addr::new(127, 0, 0, 1),
        Ipv4Addr::new(169, 254, 1, 1),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(255, 255, 255, 255),
        Ipv4Addr::new(10, 137, 0, 7),
        Ipv4Addr::new(10, 139, 1, 1),
        Ipv4Addr::new(240, 0, 0, 1),
    ];
    for source in foreign4 {
        w.refused(0, &Path::Four(source, SERVER4).udp(mac(0), (5000, 53), b"x"), DropReason::Spoofed);
        w.refused(
            0,
            &Path::Four(source, SERVER4).tcp(mac(0), (5000, 53), 2, (1, 0), 9, b""),
            DropReason::Spoofed,
        );
        w.refused(0, &Path::Four(source, SERVER4).echo(mac(0), true, 1, b""), DropReason::Spoofed);
    }
    let foreign6 = [
        client6(1),
        prefix6(0),
        v6("fd09:24ef:4179:1::1"),
        v6("fd09:24ef:4179:2::1"),
        uplink6(),
        server6(),
        v6("::"),
        v6("::1"),
        v6("::ffff:10.137.0.6"),
        v6("ff02::1"),
        link_local(),
        v6("fec0::1"),
    ];
    for source in foreign6 {
        w.refused(0, &Path::Six(source, server6()).udp(mac(0), (5000, 53), b"x"), DropReason::Spoofed);
    }
    // Link-local is the client's own, but goes nowhere.
    w.refused(0, &Path::Six(v6("fe80::5"), server6()).udp(mac(0), (5000, 53), b"x"), DropReason::Destination);
    for n in 0..3 {
        w.out(n, &to_server(false, n).udp(mac(n), (5000, 53), b"x"));
        w.out(n, &to_server(true, n).udp(mac(n), (5000, 53), b"x"));
        // A second address of its own prefix, as privacy extensions make.
        let [a, b, c, d, ..] = prefix6(n).segments();
        let own = Ipv6Addr::new(a, b, c, d, 0x1234, 0x5678, 0x9abc, 0xdef0);
        w.out(n, &Path::Six(own, server6()).udp(mac(n), (5000, 53), b"x"));
    }
    w.refused(0, &to_server(false, 0).udp(mac(1), (5000, 53), b"x"), DropReason::SourceMac);
    let mut frame = to_server(false, 0).udp(mac(0), (5000, 53), b"x");
    frame[..6].copy_from_slice(&mac(1));
    w.refused(0, &frame, DropReason::DestinationMac);
    frame[..6].copy_from_slice(&[0xff; 6]);
    w.refused(0, &frame, DropReason::DestinationMac);
}

#[test]
fn a_client_without_ipv6_has_none() {
    let mut w = World::new(1);
    let mut client = w.description(0);
    client.v6_prefix = None;
    w.tell(&control::message::ToFirewall::Client { port: 2, client });
    w.at_client(0);
    for source in [client6(0), v6("fe80::5"), v6("::")] {
        w.refused(0, &Path::Six(source, server6()).udp(mac(0), (5000, 53), b"x"), DropReason::Spoofed);
        w.refused(
            0,
            &Path::Six(source, v6("ff02::2")).frame(mac(0), 58, vec![133, 0, 0, 0, 0, 0, 0, 0]),
            DropReason::Spoofed,
        );
    }
    assert!(w.at_client(0).is_empty());
}

#[test]
fn the_network_never_sends_from_inside() {
    let mut w = World::new(2);
    for destination in [UPLINK4, client4(0)] {
        let inside = [
            client4(0),
            client4(1),
            gateway4(0),
            Ipv4Addr::new(10, 137, 200, 1),
            Ipv4Addr::new(10, 139, 1, 1),
            UPLINK4,
            Ipv4Addr::new(127, 0, 0, 1),
            Ipv4Addr::new(0, 0, 0, 0),
            Ipv4Addr::new(224, 0, 0, 251),
            Ipv4Addr::new(255, 255, 255, 255),
            Ipv4Addr::new(169, 254, 0, 1),
        ];
        for source in inside {
            w.refused_from_net(
                &Path::Four(source, destination).udp(NIC, (53, 5000), b"x"),
                DropReason::Spoofed,
            );
        }
    }
    let inside = [
        client6(0),
        v6("fd09:24ef:4179::53"),
        v6("fd09:24ef:4179:77::1"),
        uplink6(),
        v6("::1"),
        v6("::"),
        v6("::ffff:1.2.3.4"),
        v6("fe80::1"),
        v6("ff02::1"),
    ];
    for source in inside {
        w.refused_from_net(&Path::Six(source, uplink6()).udp(NIC, (53, 5000), b"x"), DropReason::Spoofed);
    }
    // To a client directly, as if there were no translation.
    w.refused_from_net(&Path::Four(SERVER4, client4(0)).udp(NIC, (53, 5000), b"x"), DropReason::NotOurs);
    w.refused_from_net(&Path::Six(server6(), client6(0)).udp(NIC, (53, 5000), b"x"), DropReason::NotOurs);
    w.refused_from_net(
        &Path::Four(SERVER4, Ipv4Addr::new(224, 0, 0, 251)).udp(NIC, (53, 53), b""),
        DropReason::Multicast,
    );
    let arp = packet::arp::Arp {
        operation: packet::arp::Operation::Request,
        sender_mac: NIC,
        sender: RESOLVER4,
        target_mac: [0; 6],
        target: UPLINK4,
    };
    w.refused_from_net(&arp.emit([0xff; 6]), DropReason::Arp);
}

#[test]
fn a_client_outside_the_plan_is_still_inside() {
    let mut w = World::new(1);
    let mut client = w.description(3);
    (client.v4, client.v4_gateway, client.v4_prefix) =
        (Ipv4Addr::new(172, 20, 0, 2), Ipv4Addr::new(172, 20, 0, 1), 24);
    client.v6_prefix = Some(v6("fd55:1:2:3::"));
    w.tell(&control::message::ToFirewall::Client { port: 9, client });
    w.refused_from_net(
        &Path::Four(Ipv4Addr::new(172, 20, 0, 77), UPLINK4).udp(NIC, (53, 5000), b""),
        DropReason::Spoofed,
    );
    w.refused_from_net(
        &Path::Six(v6("fd55:1:2:3::9"), uplink6()).udp(NIC, (53, 5000), b""),
        DropReason::Spoofed,
    );
    w.refused(
        0,
        &Path::Four(client4(0), Ipv4Addr::new(172, 20, 0, 2)).udp(mac(0), (1, 2), b""),
        DropReason::Isolation,
    );
    w.refused(0, &Path::Six(client6(0), v6("fd55:1:2:3::9")).udp(mac(0), (1, 2), b""), DropReason::Isolation);
}

#[test]
fn clients_do_not_reach_each_other() {
    let mut w = World::new(2);
    // Addresses of other clients, running or not, and of our end of their links.
    for to in [
        client4(1),
        gateway4(1),
        client4(20),
        Ipv4Addr::new(10, 137, 255, 255),
        Ipv4Addr::new(10, 139, 1, 77),
    ] {
        w.refused(0, &Path::Four(client4(0), to).udp(mac(0), (5000, 22), b""), DropReason::Isolation);
        w.refused(
            0,
            &Path::Four(client4(0), to).tcp(mac(0), (5000, 22), 2, (1, 0), 9, b""),
            DropReason::Isolation,
        );
        w.refused(0, &Path::Four(client4(0), to).echo(mac(0), true, 1, b""), DropReason::Isolation);
    }
    for to in [client6(1), v6("fd09:24ef:4179:2::1"), v6("fd09:24ef:4179:99::1"), v6("fd09:24ef:4179::54")] {
        w.refused(0, &Path::Six(client6(0), to).udp(mac(0), (5000, 22), b""), DropReason::Isolation);
    }
    assert!(w.at_client(1).is_empty());
    // Through the uplink's address and back: no.
    let port = ends(&w.out(1, &to_server(false, 1).udp(mac(1), (5000, 4433), b""))).1;
    w.refused(0, &Path::Four(client4(0), UPLINK4).udp(mac(0), (4433, port), b""), DropReason::Destination);
    w.refused(0, &Path::Six(client6(0), uplink6()).udp(mac(0), (4433, 5), b""), DropReason::Destination);
    assert!(w.at_client(1).is_empty());
}

#[test]
fn some_destinations_nobody_reaches() {
    let mut w = World::new(1);
    for (to, reason) in [
        (Ipv4Addr::new(127, 0, 0, 1), DropReason::Destination),
        (Ipv4Addr::new(0, 0, 0, 0), DropReason::Destination),
        (Ipv4Addr::new(169, 254, 169, 254), DropReason::Destination),
        (Ipv4Addr::new(240, 0, 0, 1), DropReason::Destination),
        (Ipv4Addr::new(224, 0, 0, 251), DropReason::Multicast),
        (Ipv4Addr::new(255, 255, 255, 255), DropReason::Multicast),
        (Ipv4Addr::from_bits(client4(0).to_bits() + 1), DropReason::Multicast),
    ] {
        w.refused(0, &Path::Four(client4(0), to).udp(mac(0), (5000, 5353), b""), reason);
    }
    for (to, reason) in [
        ("::", DropReason::Destination),
        ("::1", DropReason::Destination),
        ("::ffff:10.0.0.1", DropReason::Destination),
        ("fe80::1234", DropReason::Destination),
        ("fec0::1", DropReason::Destination),
        ("ff02::fb", DropReason::Multicast),
    ] {
        w.refused(0, &Path::Six(client6(0), v6(to)).udp(mac(0), (5000, 5353), b""), reason);
    }
    // A flow to ourselves.
    w.refused(0, &Path::Four(client4(0), gateway4(0)).udp(mac(0), (5000, 22), b""), DropReason::NotForUs);
    w.refused(
        0,
        &Path::Six(client6(0), link_local()).tcp(mac(0), (5000, 22), 2, (1, 0), 9, b""),
        DropReason::NotForUs,
    );
}
