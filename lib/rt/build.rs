//! Tells each image's build script where the linker script is (`DEP_BULKHEAD_RT_LINKER_SCRIPT`).
fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::metadata=linker_script={dir}/link.ld");
}
