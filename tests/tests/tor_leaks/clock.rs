//! Clocks that are wrong: Tor may not work, but nothing else is tried.

use super::load::Load;
use super::machine::{Machine, Start, Store};
use super::world::{PATIENCE, World};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::lab::until;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// How far off, and how often it is tried: the first ones always.
const SHORT: &[i64] = &[3 * DAY, -40 * YEAR, 5 * HOUR, -25 * HOUR];
const LONG: &[i64] =
    &[HOUR, -HOUR, -5 * HOUR, DAY, -DAY, -3 * DAY, 30 * DAY, -YEAR, YEAR, 10 * YEAR, -10 * YEAR];

/// torvm boots with its clock so far off and an empty disk.
pub(crate) fn wrong(world: &mut World) {
    world.machine = None;
    let more = if world.long { LONG } else { &[] };
    for offset in SHORT.iter().chain(more) {
        let start = Start { clock: Some(date(*offset)) };
        world.store = Store::new();
        world.machine = Some(Machine::start(&world.image, &world.store, &world.clients(), &start));
        let load = Load::start(&world.appvms[0], &world.network);
        until(PATIENCE, "something is tried", || (world.judge().connections > 0).then_some(()));
        let machine = world.machine.as_ref().expect("torvm runs");
        let pages = || load.pages.load(Ordering::SeqCst);
        let told = || machine.console().lines().rev().find(|line| is_reason(line)).map(str::to_owned);
        until(PATIENCE, "pages, or a reason why there are none", || {
            (pages() > 0 || told().is_some()).then_some(())
        });
        std::thread::sleep(Duration::from_secs(if world.long { 30 } else { 12 }));
        if machine.console().contains("ready") {
            until(PATIENCE, "a page from who said to be ready", || (pages() > 0).then_some(()));
        }
        let (pages, told) = (pages(), told());
        drop(load);
        let report = world.end().report;
        eprintln!("clock off by {offset} s: {pages} pages, {told:?}, {report:?}");
    }
}

/// Whether a line of the program's is for the user whose clock is wrong.
fn is_reason(line: &str) -> bool {
    line.contains("of the way into the Tor network; ") && line.contains("clock")
}

/// Now and so many seconds, in UTC, as QEMU takes it.
fn date(offset: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = i64::try_from(now).unwrap() + offset;
    let (days, seconds) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute) = (seconds / HOUR, seconds % HOUR / 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", seconds % 60)
}

/// The date of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    let mut rest = days;
    let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    while rest < 0 {
        year -= 1;
        rest += length(year);
    }
    while rest >= length(year) {
        rest -= length(year);
        year += 1;
    }
    let february = if length(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[test]
fn dates_are_right() {
    assert_eq!(civil(0), (1970, 1, 1));
    assert_eq!(civil(-1), (1969, 12, 31));
    assert_eq!(civil(11_016), (2000, 2, 29));
    assert_eq!(civil(20_778), (2026, 11, 21));
}
