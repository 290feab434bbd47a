//! The wake-up protocol and the ring under every interleaving that the memory model allows.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p link --release loom`. A lost wake-up leaves a thread blocked
//! for ever, which loom reports as a deadlock; a byte read while it is unpublished, or overwritten while it is
//! unread, is a causality violation of the cell that holds it.

use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::{Armed, Doorbell, Geometry, Link, Meta, SendError, shared};

/// Four headers' worth: two short records fill it.
const TINY: Geometry = Geometry { data_len: 64 };

/// The interrupt: latched, so that a ring before the sleep is not lost.
#[derive(Clone)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    /// `sti; hlt`.
    fn sleep(&self) {
        let mut rung = self.0.0.lock().unwrap();
        while !*rung {
            rung = self.0.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Doorbell for Bell {
    fn ring(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
    }
}

/// An end, and the bell that wakes it.
struct End {
    link: Link<Bell>,
    bell: Bell,
}

impl End {
    fn receive(&mut self) -> u8 {
        let mut buffer = [0; 16];
        loop {
            if let Some((_, len)) = self.link.recv(&mut buffer).unwrap() {
                assert_eq!(len, 16);
                assert!(buffer.iter().all(|byte| *byte == buffer[0]), "torn record");
                return buffer[0];
            }
            if self.link.arm() == Armed::Sleep {
                self.bell.sleep();
            }
        }
    }

    fn send(&mut self, value: u8) {
        while let Err(error) = self.link.send(&Meta::default(), &[&[value; 16]]) {
            assert_eq!(error, SendError::Full);
            if self.link.arm() == Armed::Sleep {
                self.bell.sleep();
            }
        }
    }
}

fn ends() -> (End, End) {
    let (tx_a, rx_b) = shared::region(TINY);
    let (tx_b, rx_a) = shared::region(TINY);
    let (bell_a, bell_b) = (Bell::new(), Bell::new());
    let a = Link::new(TINY, tx_a, rx_a, 1, bell_b.clone()).unwrap();
    let b = Link::new(TINY, tx_b, rx_b, 1, bell_a.clone()).unwrap();
    (End { link: a, bell: bell_a }, End { link: b, bell: bell_b })
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Every lost wake-up of such protocols shows with two preemptions; three cost little.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

#[test]
fn loom_no_record_is_slept_through() {
    check(|| {
        let (mut a, mut b) = ends();
        let sender = thread::spawn(move || {
            a.send(1);
            a.link.publish();
            a.send(2);
            a.link.publish();
            a
        });
        assert_eq!((b.receive(), b.receive()), (1, 2));
        drop(sender.join().unwrap());
    });
}

#[test]
fn loom_no_room_is_slept_through() {
    check(|| {
        let (mut a, mut b) = ends();
        let sender = thread::spawn(move || {
            // The third finds the ring full until the receiver has given room back.
            for value in 1..=3 {
                a.send(value);
            }
            a.link.publish();
            a
        });
        for value in 1..=3 {
            assert_eq!(b.receive(), value);
            b.link.release();
        }
        drop(sender.join().unwrap());
    });
}

#[test]
fn loom_both_directions_at_once() {
    check(|| {
        let (mut a, mut b) = ends();
        let peer = thread::spawn(move || {
            a.send(1);
            a.link.publish();
            assert_eq!(a.receive(), 2);
            a
        });
        b.send(2);
        b.link.publish();
        assert_eq!(b.receive(), 1);
        drop(peer.join().unwrap());
    });
}

#[test]
fn loom_an_end_may_come_up_late() {
    check(|| {
        let (tx_a, rx_b) = shared::region(TINY);
        let (tx_b, rx_a) = shared::region(TINY);
        let (bell_a, bell_b) = (Bell::new(), Bell::new());
        let (ring_a, ring_b) = (bell_a.clone(), bell_b.clone());
        let late = thread::spawn(move || {
            let link = Link::new(TINY, tx_a, rx_a, 1, ring_b).unwrap();
            let mut a = End { link, bell: bell_a };
            a.send(1);
            a.link.publish();
            assert_eq!(a.receive(), 2);
            a
        });
        let link = Link::new(TINY, tx_b, rx_b, 1, ring_a).unwrap();
        let mut b = End { link, bell: bell_b };
        b.send(2);
        b.link.publish();
        assert_eq!(b.receive(), 1);
        drop(late.join().unwrap());
    });
}
