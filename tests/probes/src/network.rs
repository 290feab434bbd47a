//! A virtio network device: asks by DHCP for an address and shows what came back.

use rt::Step;

/// A DHCPDISCOVER from `mac` as a broadcast frame, checksums included.
fn discover_frame(mac: [u8; 6]) -> [u8; 300] {
    let mut frame = [0; 300];
    let (ethernet, rest) = frame.split_at_mut(14);
    ethernet[..6].fill(0xFF);
    ethernet[6..12].copy_from_slice(&mac);
    ethernet[12] = 0x08;
    let (ip, rest) = rest.split_at_mut(20);
    // Version 4, length 286, TTL 64, UDP, 0.0.0.0 to 255.255.255.255.
    ip.copy_from_slice(&[0x45, 0, 1, 30, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let sum: u32 = ip.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = !((sum & 0xFFFF) + (sum >> 16));
    ip[10..12].copy_from_slice(&[(sum >> 8 & 0xFF) as u8, (sum & 0xFF) as u8]);
    let (udp, dhcp) = rest.split_at_mut(8);
    // Ports 68 to 67, length 266, no checksum.
    udp.copy_from_slice(&[0, 68, 0, 67, 1, 10, 0, 0]);
    dhcp[..4].copy_from_slice(&[1, 1, 6, 0]);
    dhcp[28..34].copy_from_slice(&mac);
    dhcp[236..244].copy_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    frame
}

/// When the request goes out, and when the answer must be there, in microseconds.
const ASK_US: u64 = 100_000;
const ANSWER_US: u64 = 60_000_000;

/// Sends one request and sleeps until the answer comes. Only its interrupt can end that sleep in time.
pub(crate) fn discover(machine: &rt::Machine) -> ! {
    let Some(mut net) = machine.virtio_net() else { rt::stop(format_args!("no network device")) };
    log::info!("mac {:02x?}", net.mac());
    let (mut sent, mut wakeups, mut strays) = (false, 0, 0);
    rt::run(move |now| {
        wakeups += 1;
        let mut frame = [0; 1514];
        // All there is: the host has more to say than the answer, and one interrupt may stand for several frames.
        while let Some(len) = net.receive(&mut frame).unwrap_or_else(|why| rt::stop(format_args!("{why}"))) {
            if frame[12..14] != [8, 0] || frame[34..38] != [0, 67, 0, 68] {
                strays += 1;
                continue;
            }
            log::info!("offered {:?} in {len} bytes, {wakeups} wake-ups, {strays} strays", &frame[58..62]);
            if now >= ANSWER_US {
                log::error!("NO INTERRUPT for a frame");
            }
            rt::exit(u32::from(now >= ANSWER_US));
        }
        if now >= ANSWER_US {
            log::error!("NO ANSWER, {wakeups} wake-ups, {strays} strays");
            rt::exit(1);
        }
        if now < ASK_US {
            return Step::Idle { until_us: Some(ASK_US) };
        }
        if !core::mem::replace(&mut sent, true)
            && let Err(why) = net.send(&[&discover_frame(net.mac())])
        {
            log::error!("NOT SENT {why:?}");
        }
        Step::Idle { until_us: Some(ANSWER_US) }
    })
}

/// Has a device interrupt a piece of code that keeps values below the stack pointer and in vector registers,
/// and checks them all the time.
pub(crate) fn interrupt_steadily(machine: &rt::Machine) -> ! {
    const ROUNDS: u32 = 3_000;
    let Some(mut net) = machine.virtio_net() else { rt::stop(format_args!("no network device")) };
    let frame = discover_frame(net.mac());
    let (mut round, mut interrupts) = (0, 0);
    rt::run(move |_| {
        round += 1;
        interrupts += u32::from(net.interrupt().fired());
        if round > ROUNDS {
            log::info!("{interrupts} interrupts in {ROUNDS} rounds");
            rt::exit(if interrupts > 50 { 0 } else { 1 });
        }
        // Full or not: either way the device is busy.
        let _ = net.send(&[&frame]);
        let _ = net.receive(&mut [0; 64]);
        if !keeps_registers(u64::from(round)) {
            log::error!("CORRUPTED in round {round}");
            rt::exit(1);
        }
        Step::Busy
    })
}

/// Puts `value` into the red zone and into vector registers, waits a while, and looks at them again.
fn keeps_registers(value: u64) -> bool {
    let mut differences: u64;
    // SAFETY: the 128 bytes below the stack pointer are free here, as the block may use the stack.
    unsafe {
        core::arch::asm!(
            "mov [rsp - 8], {value}",
            "mov [rsp - 64], {value}",
            "mov [rsp - 128], {value}",
            "movq xmm0, {value}",
            "movq xmm15, {value}",
            "2:",
            "pause",
            "dec {count}",
            "jnz 2b",
            "xor {sum}, {sum}",
            "mov {other}, [rsp - 8]",
            "xor {other}, {value}",
            "or {sum}, {other}",
            "mov {other}, [rsp - 64]",
            "xor {other}, {value}",
            "or {sum}, {other}",
            "mov {other}, [rsp - 128]",
            "xor {other}, {value}",
            "or {sum}, {other}",
            "movq {other}, xmm0",
            "xor {other}, {value}",
            "or {sum}, {other}",
            "movq {other}, xmm15",
            "xor {other}, {value}",
            "or {sum}, {other}",
            value = in(reg) value | 0x5A5A_0000_0000_0000,
            count = inout(reg) 2_000u64 => _,
            sum = out(reg) differences,
            other = out(reg) _,
            out("xmm0") _,
            out("xmm15") _,
        );
    }
    differences == 0
}
