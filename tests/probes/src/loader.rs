//! What comes from outside at boot: a module, the time of day, a disk.

use rt::virtio_blk::{DiskError, SECTOR};
use rt::{Machine, wall_clock};

/// Shows the module and the time.
pub(crate) fn show(machine: &Machine) -> ! {
    match machine.module() {
        Some(bytes) => {
            let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
            log::info!("module of {} bytes, sum {sum}", bytes.len());
        }
        None => log::info!("no module"),
    }
    match wall_clock::now_ns() {
        Some(ns) => log::info!("time {}", ns / 1_000_000_000),
        None => log::info!("no time"),
    }
    wall_clock::set_ns(1_000_000_000_000_000_000);
    let now = wall_clock::now_ns().unwrap_or(0);
    log::info!("set: {}", (1_000_000_000_000_000_000..1_000_000_001_000_000_000).contains(&now));
    rt::exit(0)
}

/// Turns every byte of the disk over and tries what lies beyond its end.
pub(crate) fn disk(machine: &Machine) -> ! {
    let Some(mut disk) = machine.virtio_blk() else { rt::stop(format_args!("no disk")) };
    let sectors = disk.sectors();
    log::info!("disk of {sectors} sectors");
    let mut data = [0; 40 * SECTOR];
    let done = disk.read(0, &mut data).and_then(|()| {
        data.iter_mut().for_each(|byte| *byte = !*byte);
        disk.write(0, &data)?;
        disk.flush()?;
        let mut back = [0; SECTOR];
        disk.read(39, &mut back)?;
        log::info!("read back: {}", back[..] == data[39 * SECTOR..]);
        Ok(())
    });
    log::info!("turned: {done:?}");
    let out =
        [disk.read(sectors, &mut [0; SECTOR]), disk.write(u64::MAX, &[0; SECTOR]), disk.read(0, &mut [0; 5])];
    log::info!("beyond refused: {}", out == [Err(DiskError::OutOfRange); 3]);
    log::info!("nothing: {:?}", disk.read(sectors, &mut []));
    rt::exit(0)
}
