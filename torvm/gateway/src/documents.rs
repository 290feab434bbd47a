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
/// Consensuses that one which is valid from then on has replaced, be they complete or not.
const REPLACED: &str = "
    SELECT digest, filename FROM Consensuses INNER JOIN ExtDocs USING (digest)
    WHERE flavor = 'microdesc' AND unixepoch(valid_after) < ?1";
/// Descriptors that were listed last before a consensus that is valid from then on.
const UNLISTED: &str = "DELETE FROM Microdescs WHERE unixepoch(last_listed) < ?1";
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
        self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?.query_row(CONSENSUS, [], row).optional()
    }

    /// The text of a consensus.
    ///
    /// # Errors
    /// Those of the file.
    pub fn text(&self, consensus: &Consensus) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.file(&consensus.file))
    }

    /// Removes the consensuses that this one has replaced. arti keeps them for two days after their end, some thirty of
    /// them, but asks for differences to the newest alone; here they would fill the memory within hours. Descriptors
    /// that it came with no more go, too, which arti keeps for a week: what it uses it has beside the cache.
    ///
    /// # Errors
    /// Those of the database.
    pub fn forget_replaced(&self, by: &Consensus) -> rusqlite::Result<()> {
        let mut database = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let transaction = database.transaction()?;
        let valid_after = i64::try_from(by.validity.valid_after).unwrap_or(0);
        let replaced = transaction
            .prepare(REPLACED)?
            .query_map([valid_after], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
        for (digest, _) in &replaced {
            transaction.execute("DELETE FROM Consensuses WHERE digest = ?1", [digest])?;
            transaction.execute("DELETE FROM ExtDocs WHERE digest = ?1", [digest])?;
        }
        transaction.execute(UNLISTED, [valid_after])?;
        transaction.commit()?;
        for (_, file) in replaced {
            // One that is gone already is as good as removed.
            let _ = std::fs::remove_file(self.file(&file));
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join("dir_blobs").join(name)
    }

    /// All certificates, one behind the other.
    ///
    /// # Errors
    /// Those of the database.
    pub fn certificates(&self) -> rusqlite::Result<Vec<u8>> {
        let database = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut statement = database.prepare(CERTIFICATES)?;
        let texts = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        texts.collect::<rusqlite::Result<Vec<_>>>().map(|texts| texts.concat())
    }

    fn open(&self, how: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = how | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.directory.join("dir.sqlite3"), flags)
    }
}

/// Sends the documents whenever another consensus is in use, and when `again` asks for it; what a consensus has replaced
/// is forgotten. `look` is a hint that it
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
            if let Err(e) = cache.forget_replaced(&consensus) {
                gateway
                    .log
                    .line(Level::Warning, &format!("old consensuses stay in the directory cache: {e}"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of arti's database that is looked at here, with three consensuses an hour apart: the last is not complete.
    fn cache(directory: &Path) -> Cache {
        let cache = Cache::new(directory);
        std::fs::create_dir(directory.join("dir_blobs")).unwrap();
        let database = Connection::open(directory.join("dir.sqlite3")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE ExtDocs (digest TEXT PRIMARY KEY NOT NULL, filename TEXT NOT NULL);
                 CREATE TABLE Microdescs (sha256_digest TEXT PRIMARY KEY NOT NULL, last_listed DATE NOT NULL);
                 INSERT INTO Microdescs VALUES ('old', '2026-01-01 00:00:00+00:00'), ('used', '2026-01-01 01:00:00+00:00');
                 CREATE TABLE Consensuses (valid_after DATE NOT NULL, fresh_until DATE NOT NULL,
                     valid_until DATE NOT NULL, flavor TEXT NOT NULL, pending BOOLEAN NOT NULL, digest TEXT NOT NULL,
                     FOREIGN KEY (digest) REFERENCES ExtDocs (digest) ON DELETE CASCADE);",
            )
            .unwrap();
        for (hour, pending) in [(0, false), (1, false), (2, true)] {
            let file = format!("con_{hour}");
            std::fs::write(cache.file(&file), format!("consensus {hour}")).unwrap();
            database.execute("INSERT INTO ExtDocs VALUES (?1, ?1)", [&file]).unwrap();
            let times = [hour, hour + 1, hour + 3].map(|hour| format!("2026-01-01 {hour:02}:00:00+00:00"));
            let [after, fresh, until] = &times;
            database
                .execute(
                    "INSERT INTO Consensuses VALUES (?1, ?2, ?3, 'microdesc', ?4, ?5)",
                    (after, fresh, until, pending, &file),
                )
                .unwrap();
        }
        cache
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory.join("dir_blobs")).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaced_consensuses_are_forgotten_and_newer_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let consensus = cache.consensus().unwrap().unwrap();
        assert_eq!(cache.text(&consensus).unwrap(), b"consensus 1", "the newest that is complete");
        cache.forget_replaced(&consensus).unwrap();
        assert_eq!(files(directory.path()), ["con_1", "con_2"]);
        assert_eq!(cache.consensus().unwrap().as_ref(), Some(&consensus));
        cache.forget_replaced(&consensus).unwrap();
        let database = cache.open(OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let left = |table: &str| {
            let count = format!("SELECT count(*) FROM {table}");
            database.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((left("Consensuses"), left("ExtDocs"), left("Microdescs")), (2, 2, 1));
    }
}
