//! Messages from dom0, and what dom0 is told.
