//! What the bench prints.

use super::instructions::Counted;
use super::linux::Measured;

/// Prints the programs side by side, with ratios of the last, ours, to each of the others.
pub(crate) fn print(measured: &[Measured]) {
    println!("| | down MB/s | up MB/s | first byte ms | CPU µs a cell, down | up |");
    println!("|---|---|---|---|---|---|");
    for one in measured {
        println!(
            "| {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.2} |",
            one.name,
            one.down / 1e6,
            one.up / 1e6,
            one.first * 1e3,
            one.cell_down / 1e3,
            one.cell_up / 1e3
        );
    }
    let Some((one, bases)) = measured.split_last() else { return };
    for base in bases {
        println!(
            "| {} : {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            one.name,
            base.name,
            one.down / base.down,
            one.up / base.up,
            one.first / base.first,
            one.cell_down / base.cell_down,
            one.cell_up / base.cell_up
        );
    }
}

/// Prints what torvm takes, beside Linux with the same program.
#[expect(clippy::cast_precision_loss, reason = "a ratio of two decimals")]
pub(crate) fn print_instructions(counted: &Counted) {
    let Counted { online, torvm, linux } = counted;
    println!("torvm, power-on until it is in the network: {online} guest instructions\n");
    println!("| guest instructions of a cell: kernel, layer and program | down | up |");
    println!("|---|---|---|");
    println!("| torvm | {} | {} |", torvm.down, torvm.up);
    let mut packet = format!("bytes of a download in a packet to the client: {}", torvm.packet);
    match linux {
        Ok(linux) => {
            println!("| gateway on Linux, the same machine | {} | {} |", linux.down, linux.up);
            let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
            let (down, up) = (ratio(torvm.down, linux.down), ratio(torvm.up, linux.up));
            println!("| torvm : Linux | {down:.2} | {up:.2} |");
            packet += &format!(", on Linux {}", linux.packet);
        }
        Err(why) => println!("| gateway on Linux, the same machine | not counted: {why} | |"),
    }
    println!("\n{packet}");
}
