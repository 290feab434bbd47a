//! The bundle: a "newc" cpio archive (`Documentation/driver-api/early-userspace/buffer-format.rst` of Linux) with the
//! program and the first files.
//!
//! Read here by hand: the format is a header of fixed fields, and the libraries for it want `std` or are not kept up.

/// Length of a member's header.
const HEADER: usize = 110;
/// Longest name.
const MAX_NAME: usize = 4096;
/// File type in the mode.
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// The archive is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBundle;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A link, a device or the like; not taken.
    Other,
}

/// A member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its path, as it stands there.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// The members of an archive, up to its trailer.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    archive: &'a [u8],
    at: usize,
}

/// Reads an archive.
#[must_use]
pub fn members(archive: &[u8]) -> Members<'_> {
    Members { archive, at: 0 }
}

impl<'a> Members<'a> {
    fn next_member(&mut self) -> Result<Option<Member<'a>>, BadBundle> {
        let header = self.take(HEADER)?;
        if header.get(..6) != Some(b"070701".as_slice()) {
            return Err(BadBundle);
        }
        let mode = field(header, 1)?;
        let size = usize::try_from(field(header, 6)?).map_err(|_| BadBundle)?;
        let name_len = usize::try_from(field(header, 11)?).map_err(|_| BadBundle)?;
        if !(1..=MAX_NAME).contains(&name_len) {
            return Err(BadBundle);
        }
        let path = self.take(name_len)?.strip_suffix(&[0]).ok_or(BadBundle)?;
        self.align()?;
        let bytes = self.take(size)?;
        self.align()?;
        if path == b"TRAILER!!!" {
            return Ok(None);
        }
        let kind = match mode & S_IFMT {
            S_IFDIR => Kind::Directory,
            S_IFREG => Kind::File,
            _ => Kind::Other,
        };
        Ok(Some(Member { path, kind, mode: mode & 0o7777, bytes }))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], BadBundle> {
        let end = self.at.checked_add(len).ok_or(BadBundle)?;
        let bytes = self.archive.get(self.at..end).ok_or(BadBundle)?;
        self.at = end;
        Ok(bytes)
    }

    fn align(&mut self) -> Result<(), BadBundle> {
        // The last member may end with the archive.
        self.at = self.at.checked_next_multiple_of(4).ok_or(BadBundle)?.min(self.archive.len());
        Ok(())
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, BadBundle>;

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.next_member().transpose();
        if !matches!(member, Some(Ok(_))) {
            // Nothing comes after the end or a mistake, not even another mistake.
            let done = core::mem::take(&mut self.archive).is_empty();
            self.at = 0;
            return member.filter(|_| !done);
        }
        member
    }
}

/// Field `index` of a header: eight hexadecimal digits.
fn field(header: &[u8], index: usize) -> Result<u32, BadBundle> {
    let start = 6 + 8 * index;
    let digits = header.get(start..start + 8).ok_or(BadBundle)?;
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(BadBundle)?;
        Ok(value << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::bundle::member;
    use alloc::vec::Vec;

    fn archive() -> Vec<u8> {
        let mut out = Vec::new();
        member(&mut out, "etc", 0o40755, b"");
        member(&mut out, "etc/group", 0o100_644, b"root:x:0:\n");
        member(&mut out, "link", 0o120_777, b"etc");
        member(&mut out, "TRAILER!!!", 0, b"");
        out
    }

    #[test]
    fn members_come_in_order() {
        let archive = archive();
        let all: Vec<_> = members(&archive).map(|m| m.expect("sound")).collect();
        assert_eq!(all[0], Member { path: b"etc", kind: Kind::Directory, mode: 0o755, bytes: b"" });
        let group = Member { path: b"etc/group", kind: Kind::File, mode: 0o644, bytes: b"root:x:0:\n" };
        assert_eq!(all[1], group);
        assert_eq!((all[2].kind, all.len()), (Kind::Other, 3));
    }

    #[test]
    fn every_cut_is_noticed() {
        let archive = archive();
        let end = archive.len();
        for len in 0..end - 3 {
            let read: Vec<_> = members(&archive[..len]).collect();
            let cut = read.last().is_none_or(|last| last == &Err(BadBundle));
            assert!(cut && read.iter().filter(|m| m.is_err()).count() <= 1, "{len} of {end}: {read:?}");
        }
    }

    #[test]
    fn any_byte_may_be_wrong() {
        let sound = archive();
        for at in 0..sound.len() {
            for value in [0, b'f', 0xFF] {
                let mut archive = sound.clone();
                archive[at] = value;
                assert!(members(&archive).count() <= 5, "each a mistake or read once");
            }
        }
    }
}
