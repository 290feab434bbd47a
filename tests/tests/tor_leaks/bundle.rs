//! Changes a file in a newc archive (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).

/// Bytes of a header: a magic number and thirteen fields of eight hexadecimal digits.
const HEADER: usize = 110;
/// Where the length of the content and that of the name stand.
const CONTENT: std::ops::Range<usize> = 54..62;
const NAME: std::ops::Range<usize> = 94..102;

/// The archive with another content of this file, made from the one that it has.
pub(crate) fn change(archive: &[u8], file: &str, change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut out, mut at, mut found) = (Vec::new(), 0, false);
    while archive.get(at..at + HEADER).is_some_and(|header| header.starts_with(b"070701")) {
        let number = |range: std::ops::Range<usize>| {
            let digits = std::str::from_utf8(&archive[at + range.start..at + range.end]).unwrap();
            usize::from_str_radix(digits, 16).unwrap()
        };
        let body = (at + HEADER + number(NAME)).next_multiple_of(4);
        let content = body..body + number(CONTENT);
        let end = content.end.next_multiple_of(4);
        let name = &archive[at + HEADER..at + HEADER + number(NAME) - 1];
        if name == file.as_bytes() {
            found = true;
            let content = change(&archive[content]);
            let start = out.len();
            out.extend(&archive[at..body]);
            out[start + CONTENT.start..start + CONTENT.end]
                .copy_from_slice(format!("{:08x}", content.len()).as_bytes());
            out.extend(content);
            out.resize(out.len().next_multiple_of(4), 0);
        } else {
            out.extend(&archive[at..end.min(archive.len())]);
        }
        at = end;
    }
    assert!(found, "the archive has no {file}");
    out
}
