//! The Debian kernel: the lab machine (which is dom0 there) and AppVMs run it.

use crate::{cache, packages};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// Version, as in `/lib/modules`.
    pub(crate) version: String,
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// `/lib/modules/VERSION`.
    pub(crate) modules: PathBuf,
}

/// Gets the kernel of `linux-image-amd64`.
///
/// # Errors
/// When the package cannot be had or looks different from what is expected.
pub(crate) fn debian() -> Result<Kernel> {
    const PREFIX: &str = "linux-image-";
    let tree = match packages::entry(&cache::dir()?, PREFIX) {
        Ok(cached) => cached,
        Err(_) => packages::unpacked(&packages::dependency("linux-image-amd64", PREFIX)?)?,
    };
    let image = packages::entry(&tree.join("boot"), "vmlinuz-")?;
    let lib = ["lib/modules", "usr/lib/modules"].map(|path| tree.join(path));
    let lib = lib.iter().find(|path| path.is_dir()).unwrap_or(&lib[0]);
    let modules = packages::entry(lib, "")?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Kernel { version, image, modules })
}

impl Kernel {
    /// The ELF inside the bzImage, unpacked once: booting it (PVH) spares every start the decompressor,
    /// which takes seconds under emulation.
    ///
    /// # Errors
    /// When the image is not one that the boot protocol describes, or its compressor is not known.
    pub(crate) fn vmlinux(&self) -> Result<PathBuf> {
        cache::artifact(&format!("vmlinux-{}", self.version), "AppVM kernel", |path| {
            let image = fs::read(&self.image)?;
            let payload = payload(&image).with_context(|| format!("{}", self.image.display()))?;
            decompress(payload, path)
        })
    }
}

/// The compressed kernel of a bzImage (Documentation/arch/x86/boot.rst, `payload_offset`).
fn payload(image: &[u8]) -> Result<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        bail!("not a bzImage");
    }
    let setup_sectors = match image.get(0x1f1) {
        Some(0) | None => 4,
        Some(&sectors) => usize::from(sectors),
    };
    let (offset, length) = word(0x248).zip(word(0x24c)).context("bzImage header too short")?;
    let from = (setup_sectors + 1) * 512 + offset;
    image.get(from..from + length).context("bzImage payload lies outside the file")
}

/// Unpacks what the kernel's build packed; a size follows the compressed bytes, hence the lenient flags.
fn decompress(payload: &[u8], to: &Path) -> Result<()> {
    let (program, args): (&str, &[&str]) = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz", &["-dc", "--single-stream"]),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", &["-dcq"]),
        [0x02, 0x21, 0x4c, 0x18, ..] => ("lz4", &["-dcq"]),
        [0x1f, 0x8b, ..] => ("gzip", &["-dcq"]),
        _ => bail!("the kernel is packed in a way that is not known here"),
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(File::create(to)?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // The program stops reading at the end of its stream: a broken pipe is no error here.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(payload));
    // Trailing bytes make some of them end with a warning status; the ELF header tells success.
    child.wait()?;
    let mut magic = [0; 4];
    std::io::Read::read_exact(&mut File::open(to)?, &mut magic).context("nothing was unpacked")?;
    if magic != *b"\x7fELF" {
        bail!("{program} unpacked something that is not an ELF file");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut image = vec![0; 0x400 + 3 * 512];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&4u32.to_le_bytes());
        image[1024 + 16..1024 + 20].copy_from_slice(b"data");
        image
    }

    #[test]
    fn payload_is_found_behind_the_setup_sectors() {
        assert_eq!(payload(&image()).unwrap(), b"data");
    }

    #[test]
    fn payload_outside_the_file_is_refused() {
        let mut image = image();
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(payload(&image).is_err());
        assert!(payload(b"short").is_err());
        assert!(payload(&[0; 0x300]).is_err());
    }
}
