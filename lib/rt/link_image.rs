// The build script of every image, by `include!`: link arguments of the bare-metal binary; host builds of the
// library beside it get none.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
    let script = std::env::var("DEP_BULKHEAD_RT_LINKER_SCRIPT").expect("rt names its linker script");
    println!("cargo::rerun-if-changed={script}");
    for arg in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
    for arg in ["--build-id=none", "-znorelro", "-zmax-page-size=4096", "--no-eh-frame-hdr"] {
        println!("cargo::rustc-link-arg-bins=-Wl,{arg}");
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{script}");
}
