use super::*;
use alloc::vec;
use proptest::prelude::*;

fn tree(chunks: usize) -> Files {
    Files::new(Limits { bytes: chunks * CHUNK, nodes: 8 })
}

fn file(files: &mut Files, path: &[u8]) -> NodeId {
    let at = files.find(ROOT, path).expect("a path");
    files.make(at, Body::File(Content::default()), 0o600, 1).expect("room")
}

fn directory(files: &mut Files, path: &[u8]) -> NodeId {
    let at = files.find(ROOT, path).expect("a path");
    files.make(at, Body::Directory(BTreeMap::new()), 0o700, 1).expect("room")
}

fn rename(files: &mut Files, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    files.rename(files.find(ROOT, from)?, files.find(ROOT, to)?, 2)
}

#[test]
fn paths_lead_where_they_say() {
    let mut files = tree(4);
    let dir = directory(&mut files, b"/a");
    let inner = file(&mut files, b"/a/b");
    for path in [&b"/a/b"[..], b"a/b", b"//a///b", b"/a/./b", b"/../a/../a/b"] {
        assert_eq!(files.lookup(ROOT, path), Ok(inner), "{path:?}");
    }
    assert_eq!(files.lookup(dir, b"b"), Ok(inner));
    assert_eq!(files.lookup(dir, b".."), Ok(ROOT));
    let long = [b'x'; 256];
    for (path, errno) in [
        (&b""[..], Errno::NOENT),
        (b"/a/c", Errno::NOENT),
        (b"/c/b", Errno::NOENT),
        (b"/a/b/c", Errno::NOTDIR),
        (b"/a/b/", Errno::NOTDIR),
        (&long, Errno::NAMETOOLONG),
    ] {
        assert_eq!(files.lookup(ROOT, path), Err(errno), "{path:?}");
    }
}

#[test]
fn a_removed_file_lives_until_it_is_closed() {
    let mut files = tree(1);
    let id = file(&mut files, b"/a");
    assert_eq!(files.write(id, 0, b"hello", 2), Ok(5));
    files.retain(id);
    files.remove(files.find(ROOT, b"/a").expect("there"), 3).expect("removed");
    assert_eq!(files.lookup(ROOT, b"/a"), Err(Errno::NOENT));
    let mut out = [0; 8];
    assert_eq!(files.read(id, 1, &mut out), Ok(4));
    assert_eq!(&out[..4], b"ello");
    let other = file(&mut files, b"/b");
    assert_eq!(files.write(other, 0, b"x", 4), Err(Errno::NOSPC), "its chunk is still taken");
    files.release(id);
    assert_eq!(files.write(other, 0, b"x", 5), Ok(1));
    assert!(files.node(id).is_err());
}

#[test]
fn renaming_replaces_in_one_step_and_makes_no_loops() {
    let mut files = tree(4);
    directory(&mut files, b"/d");
    directory(&mut files, b"/d/e");
    let (new, _) = (file(&mut files, b"/d/new"), file(&mut files, b"/old"));
    assert_eq!(rename(&mut files, b"/d/new", b"/old"), Ok(()));
    assert_eq!(files.lookup(ROOT, b"/old"), Ok(new));
    assert_eq!(rename(&mut files, b"/old", b"/old"), Ok(()));
    assert_eq!(rename(&mut files, b"/d", b"/d/e/f"), Err(Errno::INVAL));
    assert_eq!(rename(&mut files, b"/d", b"/old"), Err(Errno::NOTDIR));
    assert_eq!(rename(&mut files, b"/old", b"/d"), Err(Errno::ISDIR));
    assert_eq!(rename(&mut files, b"/d/e", b"/d"), Err(Errno::NOTEMPTY));
    assert_eq!(rename(&mut files, b"/", b"/x"), Err(Errno::BUSY));
    assert_eq!(files.count(), 4, "nothing is left over");
}

#[test]
fn nodes_and_bytes_are_bounded() {
    let mut files = tree(2);
    let id = file(&mut files, b"/a");
    assert_eq!(
        files.write(id, CHUNK as u64 - 1, &[1; 3 * CHUNK], 1),
        Ok(CHUNK + 1),
        "two chunks and no more"
    );
    assert_eq!(files.write(id, content::LONGEST, b"x", 1), Err(Errno::FBIG));
    assert_eq!(files.set_len(id, content::LONGEST + 1, 1), Err(Errno::FBIG));
    assert_eq!(files.set_len(id, content::LONGEST, 1), Ok(()), "what was never written takes nothing");
    assert_eq!(files.bytes(), 2 * CHUNK);
    assert_eq!(files.set_len(id, 0, 1), Ok(()));
    assert_eq!(files.bytes(), 0);
    for name in b"bcdefg" {
        file(&mut files, &[b'/', *name]);
    }
    let at = files.find(ROOT, b"/z").expect("a path");
    assert_eq!(files.make(at, Body::Directory(BTreeMap::new()), 0, 1), Err(Errno::NOSPC));
}

/// What is done to a file.
#[derive(Clone, Debug)]
enum Step {
    Write(u16, Vec<u8>),
    Cut(u16),
}

proptest! {
    /// A file is what an ordinary vector would be, the bundle's bytes under it included.
    #[test]
    fn content_is_as_a_vector(steps in prop::collection::vec(prop_oneof![
        (0..20_000_u16, prop::collection::vec(any::<u8>(), 0..6000)).prop_map(|(at, b)| Step::Write(at, b)),
        (0..20_000_u16).prop_map(Step::Cut),
    ], 0..12)) {
        const BUNDLE: &[u8] = &[7; 9000];
        let mut files = tree(16);
        let at = files.find(ROOT, b"/a").expect("a path");
        let id = files.make(at, Body::File(Content::fixed(BUNDLE)), 0, 0).expect("room");
        let mut model = BUNDLE.to_vec();
        for step in steps {
            match step {
                Step::Write(at, bytes) => {
                    let end = usize::from(at) + bytes.len();
                    if !bytes.is_empty() && model.len() < end {
                        model.resize(end, 0);
                    }
                    if !bytes.is_empty() {
                        model[usize::from(at)..end].copy_from_slice(&bytes);
                    }
                    prop_assert_eq!(files.write(id, u64::from(at), &bytes, 0), Ok(bytes.len()));
                }
                Step::Cut(len) => {
                    model.resize(usize::from(len), 0);
                    prop_assert_eq!(files.set_len(id, u64::from(len), 0), Ok(()));
                }
            }
            let mut out = vec![0xEE; model.len() + 10];
            prop_assert_eq!(files.read(id, 0, &mut out), Ok(model.len()));
            prop_assert_eq!(&out[..model.len()], &model[..]);
        }
    }
}
