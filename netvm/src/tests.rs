//! The library on a simulated segment.
