//! Link arguments of the bare-metal image.
include!("../lib/rt/link_image.rs");
