//! The leak detector fires: one bad frame of each kind among ten thousand good ones is found, and nothing else is.

mod tor_detector {
    mod bits;
    mod damage;
    mod kinds;
    pub(crate) mod packets;
    pub(crate) mod traffic;
}
