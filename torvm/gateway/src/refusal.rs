//! Why a client does not get what it asked for, and how it is told: as a SOCKS reply, an HTTP status or a DNS code.

use arti_client::{ErrorKind, HasKind};
use domain::base::iana::Rcode;
use tor_socksproto::SocksStatus;

/// Why a client does not get what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is no way into the Tor network (yet).
    NoTor,
    /// Addresses that are nobody's business, or that no exit serves.
    NotAllowed,
    /// There is no such name.
    NoSuchHost,
    /// The far end refuses.
    ConnectionRefused,
    /// The far end's network does not answer.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// The onion service is not to be found.
    OnionNotFound,
    /// The onion service does not run.
    OnionNotRunning,
    /// The onion service knows its clients, and this is none.
    OnionUnauthorised,
    /// Not the address of an onion service.
    OnionBadAddress,
    /// Anything else.
    Failed,
}

impl Refusal {
    /// What arti's error means to a client.
    #[must_use]
    pub fn from_tor(error: &arti_client::Error) -> Self {
        Self::from_kind(error.kind())
    }

    fn from_kind(kind: ErrorKind) -> Self {
        use ErrorKind as E;
        match kind {
            E::BootstrapRequired | E::DirectoryExpired | E::TorDirectoryUnusable | E::TorAccessFailed => {
                Self::NoTor
            }
            E::ClockSkew | E::NoPath | E::LocalNetworkError | E::ArtiShuttingDown => Self::NoTor,
            E::ExitPolicyRejected | E::ForbiddenStreamTarget | E::NoExit => Self::NotAllowed,
            E::RemoteHostNotFound | E::InvalidStreamTarget => Self::NoSuchHost,
            E::RemoteConnectionRefused => Self::ConnectionRefused,
            E::RemoteNetworkFailed | E::RemoteHostResolutionFailed => Self::Unreachable,
            E::RemoteNetworkTimeout | E::TorNetworkTimeout | E::ExitTimeout => Self::TimedOut,
            E::OnionServiceNotFound => Self::OnionNotFound,
            E::OnionServiceNotRunning | E::OnionServiceConnectionFailed => Self::OnionNotRunning,
            E::OnionServiceMissingClientAuth | E::OnionServiceWrongClientAuth => Self::OnionUnauthorised,
            E::OnionServiceAddressInvalid => Self::OnionBadAddress,
            _ => Self::Failed,
        }
    }

    /// As a SOCKS reply; the codes for onion services are those that C tor calls extended errors.
    #[must_use]
    pub fn socks(self) -> SocksStatus {
        match self {
            Self::NoTor | Self::Unreachable => SocksStatus::NETWORK_UNREACHABLE,
            Self::NotAllowed => SocksStatus::NOT_ALLOWED,
            Self::NoSuchHost => SocksStatus::HOST_UNREACHABLE,
            Self::ConnectionRefused => SocksStatus::CONNECTION_REFUSED,
            Self::TimedOut => SocksStatus::TTL_EXPIRED,
            Self::OnionNotFound => SocksStatus::HS_DESC_NOT_FOUND,
            Self::OnionNotRunning => SocksStatus::HS_INTRO_FAILED,
            Self::OnionUnauthorised => SocksStatus::HS_MISSING_CLIENT_AUTH,
            Self::OnionBadAddress => SocksStatus::HS_BAD_ADDRESS,
            Self::Failed => SocksStatus::GENERAL_FAILURE,
        }
    }

    /// As the first line of an HTTP answer.
    #[must_use]
    pub fn http(self) -> &'static str {
        match self {
            Self::NoTor => "503 Tor Not Ready",
            Self::NotAllowed => "403 Forbidden",
            Self::NoSuchHost | Self::OnionNotFound => "404 Not Found",
            Self::ConnectionRefused | Self::OnionNotRunning => "502 Connection Refused",
            Self::Unreachable => "502 Unreachable",
            Self::TimedOut => "504 Gateway Timeout",
            Self::OnionUnauthorised => "403 Client Authorization Needed",
            Self::OnionBadAddress => "400 Bad Onion Address",
            Self::Failed => "500 Failed",
        }
    }

    /// As the code of a DNS answer.
    #[must_use]
    pub fn dns(self) -> Rcode {
        match self {
            Self::NoSuchHost | Self::OnionBadAddress => Rcode::NXDOMAIN,
            Self::NotAllowed => Rcode::REFUSED,
            _ => Rcode::SERVFAIL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 11] = [
        Refusal::NoTor,
        Refusal::NotAllowed,
        Refusal::NoSuchHost,
        Refusal::ConnectionRefused,
        Refusal::Unreachable,
        Refusal::TimedOut,
        Refusal::OnionNotFound,
        Refusal::OnionNotRunning,
        Refusal::OnionUnauthorised,
        Refusal::OnionBadAddress,
        Refusal::Failed,
    ];

    #[test]
    fn no_refusal_looks_like_success() {
        for refusal in ALL {
            assert_ne!(refusal.socks(), SocksStatus::SUCCEEDED);
            assert!(refusal.http().starts_with(['4', '5']), "{refusal:?}");
            assert_ne!(refusal.dns(), Rcode::NOERROR);
        }
    }

    #[test]
    fn what_the_far_end_says_is_passed_on() {
        let socks = |kind| Refusal::from_kind(kind).socks();
        assert_eq!(socks(ErrorKind::RemoteConnectionRefused), SocksStatus::CONNECTION_REFUSED);
        assert_eq!(socks(ErrorKind::ExitPolicyRejected), SocksStatus::NOT_ALLOWED);
        assert_eq!(socks(ErrorKind::RemoteHostNotFound), SocksStatus::HOST_UNREACHABLE);
        assert_eq!(socks(ErrorKind::OnionServiceNotFound), SocksStatus::HS_DESC_NOT_FOUND);
        assert_eq!(Refusal::from_kind(ErrorKind::RemoteHostNotFound).dns(), Rcode::NXDOMAIN);
        assert_eq!(Refusal::from_kind(ErrorKind::RemoteHostResolutionFailed).dns(), Rcode::SERVFAIL);
    }
}
