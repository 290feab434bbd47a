//! Why documents are not believed.

/// Why there are no relays to tell. Its text is one line: a word for programs, then what a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Standard input holds no request.
    #[error("request {0}")]
    Request(&'static str),
    /// The certificates cannot be read at all.
    #[error("certificates-malformed")]
    CertificatesMalformed,
    /// The consensus cannot be read.
    #[error("consensus-malformed {0}")]
    ConsensusMalformed(String),
    /// It counts later only, even allowing for a wrong clock.
    #[error("consensus-future valid-after {0}")]
    ConsensusFuture(u64),
    /// It does not count any more, even allowing for a while without a new one.
    #[error("consensus-expired valid-until {0}")]
    ConsensusExpired(u64),
    /// Not even the names of the signers are those of more than half of the authorities.
    #[error("consensus-unknown-authorities")]
    UnknownAuthorities,
    /// For too few of the signers there is a certificate that counts.
    #[error("certificates-missing {0}")]
    CertificatesMissing(Certificates),
    /// Too few of the signatures are good.
    #[error("consensus-signatures")]
    Signatures,
    /// More relays than any network has.
    #[error("consensus-too-many-relays")]
    TooManyRelays,
    /// It names no relay.
    #[error("consensus-no-relays")]
    NoRelays,
}

/// What became of the certificates that came along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Of an authority, consistent, and in their time.
    pub good: u32,
    /// Of nobody who counts.
    pub foreign: u32,
    /// Not signed by the keys that they name.
    pub inconsistent: u32,
    /// Out of their time.
    pub untimely: u32,
    /// Unreadable.
    pub malformed: u32,
}

impl std::fmt::Display for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { good, foreign, inconsistent, untimely, malformed } = self;
        write!(
            f,
            "good {good} foreign {foreign} inconsistent {inconsistent} untimely {untimely} malformed {malformed}"
        )
    }
}
