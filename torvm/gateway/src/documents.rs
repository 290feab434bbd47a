//! Hands the documents that arti relies on to dom0: the consensus and the authorities' certificates, as they were
//! signed. Dom0 verifies them itself and opens the firewall for the relays in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control::tor::{DocumentKind, GatewayReport, Level, Validity};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::sync::Notify;

use crate::gateway::Gateway;

/// How often to look for a new consensus without being told to.
const LOOK: Duration = Duration::from_secs(30);

/// The newest consensus that arti uses; pending ones still lack descriptors.
const CONSENSUS: &str = "
    SELECT unixepoch(valid_after), unixepoch(fresh_until), unixepoch(valid_until), filename
    FROM Consensuses INNER JOIN ExtDocs USING (digest)
    WHERE pending = 0 AND flavor = 'microdesc' ORDER BY valid_until DESC LIMIT 1";
const CERTIFICATES: &str = "SELECT CAST(contents AS BLOB) FROM Authcerts ORDER BY id_digest, published DESC";

/// arti's directory cache.
pub struct Cache {
    directory: PathBuf,
}

/// A consensus in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consensus {
    /// When it counts.
    pub validity: Validity,
    file: String,
}

impl Cache {
    /// The one below arti's cache directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The consensus in use, if there is one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn consensus(&self) -> rusqlite::Result<Option<Consensus>> {
        let seconds = |n: i64| u64::try_from(n).unwrap_or(0);
        let row = |row: &rusqlite::Row<'_>| {
            let validity = Validity {
                valid_after: seconds(row.get(0)?),
                fresh_until: seconds(row.get(1)?),
                valid_until: seconds(row.get(2)?),
            };
            Ok(Consensus { validity, file: row.get(3)? })
        };
        self.open()?.query_row(CONSENSUS, [], row).optional()
    }

    /// The text of a consensus.
    ///
    /// # Errors
    /// Those of the file.
    pub fn text(&self, consensus: &Consensus) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.directory.join("dir_blobs").join(&consensus.file))
    }

    /// All certificates, one behind the other.
    ///
    /// # Errors
    /// Those of the database.
    pub fn certificates(&self) -> rusqlite::Result<Vec<u8>> {
        let database = self.open()?;
        let mut statement = database.prepare(CERTIFICATES)?;
        let texts = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        texts.collect::<rusqlite::Result<Vec<_>>>().map(|texts| texts.concat())
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.directory.join("dir.sqlite3"), flags)
    }
}

/// Sends the documents whenever another consensus is in use, and when `again` asks for it. `look` is a hint that it
/// may be.
pub async fn hand_over(gateway: Arc<Gateway>, cache: Arc<Cache>, look: Arc<Notify>, again: Arc<Notify>) {
    let mut sent = None;
    let mut generation = 0_u32;
    loop {
        let consensus = cache.consensus().unwrap_or_else(|e| {
            gateway.log.line(Level::Warning, &format!("the directory cache cannot be read: {e}"));
            None
        });
        if let Some(consensus) = consensus.filter(|consensus| sent.as_ref() != Some(consensus)) {
            match (cache.certificates(), cache.text(&consensus)) {
                (Ok(certificates), Ok(text)) => {
                    generation = generation.wrapping_add(1);
                    send(&gateway, DocumentKind::AuthorityCertificates, generation, &certificates).await;
                    send(&gateway, DocumentKind::Consensus, generation, &text).await;
                    sent = Some(consensus);
                }
                (Err(e), _) => gateway.log.line(Level::Warning, &format!("no certificates: {e}")),
                (_, Err(e)) => gateway.log.line(Level::Warning, &format!("no consensus: {e}")),
            }
        }
        tokio::select! {
            () = look.notified() => {}
            () = again.notified() => sent = None,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn send(gateway: &Gateway, kind: DocumentKind, generation: u32, document: &[u8]) {
    for piece in GatewayReport::document(kind, generation, document) {
        gateway.reports.send(piece).await;
    }
}
