//! Kernel modules: the few that an initramfs needs, with what they depend on.

use crate::kernel::Kernel;
use crate::packages;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules in an order in which each comes after its dependencies.
pub(crate) struct Set {
    modules: Vec<Module>,
}

struct Module {
    name: String,
    bytes: Vec<u8>,
    depends: Vec<String>,
}

impl Set {
    /// Finds `wanted` and everything below them. What is built into the kernel is left out.
    ///
    /// # Errors
    /// When the kernel has no such module, or a file cannot be read.
    pub(crate) fn collect(kernel: &Kernel, wanted: &[&str]) -> Result<Self> {
        let index = Index::read(&kernel.modules)?;
        let mut set = Self { modules: Vec::new() };
        let mut seen = BTreeSet::new();
        for name in wanted {
            set.add(&index, &normal(name), &mut seen)?;
        }
        Ok(set)
    }

    fn add(&mut self, index: &Index, name: &str, seen: &mut BTreeSet<String>) -> Result<()> {
        if index.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = index.files.get(name) else { bail!("the kernel has no module {name}") };
        let bytes = read(path)?;
        let depends = depends(&bytes);
        for below in &depends {
            self.add(index, below, seen)?;
        }
        self.modules.push(Module { name: name.to_owned(), bytes, depends });
        Ok(())
    }

    /// Files for `/lib/modules/VERSION`: the modules and a `modules.dep` that modprobe reads.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> =
            self.modules.iter().map(|module| (format!("{}.ko", module.name), module.bytes.clone())).collect();
        let mut dep = String::new();
        for module in &self.modules {
            let below: Vec<_> = self.below(module).iter().map(|name| format!("{name}.ko")).collect();
            dep.push_str(&format!("{}.ko: {}\n", module.name, below.join(" ")));
        }
        files.push(("modules.dep".to_owned(), dep.into_bytes()));
        files
    }

    /// Everything below a module, each before what it depends on itself: modprobe loads from the end.
    fn below(&self, module: &Module) -> Vec<&str> {
        let mut reached: BTreeSet<&String> = module.depends.iter().collect();
        let mut below = Vec::new();
        // A module stands after its dependencies, so one pass from the end meets everything.
        for other in self.modules.iter().rev() {
            if reached.contains(&other.name) {
                reached.extend(&other.depends);
                below.push(other.name.as_str());
            }
        }
        below
    }
}

struct Index {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Index {
    fn read(modules: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        walk(&modules.join("kernel"), &mut files)?;
        let builtin = fs::read_to_string(modules.join("modules.builtin"))
            .with_context(|| format!("cannot read modules.builtin in {}", modules.display()))?;
        let builtin = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
        Ok(Self { files, builtin })
    }
}

fn walk(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `kvm-amd` of `…/kvm-amd.ko.xz`, as the kernel writes it: `kvm_amd`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, _) = file.split_once(".ko")?;
    Some(normal(name))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        return Ok(packages::output(Command::new("xz").arg("-dc").arg(path))?.stdout);
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The `depends=` entry of a module's `.modinfo` section.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modinfo_names_dependencies() {
        assert_eq!(depends(b"\x7fELF..\0license=GPL\0depends=kvm,ccp\0x=y\0"), ["kvm", "ccp"]);
        assert_eq!(depends(b"license=GPL\0depends=\0x=y\0"), [""; 0]);
        assert_eq!(depends(b"nothing"), [""; 0]);
    }

    #[test]
    fn module_names_are_normal() {
        assert_eq!(module_name(Path::new("kernel/arch/x86/kvm/kvm-amd.ko.xz")).as_deref(), Some("kvm_amd"));
        assert_eq!(module_name(Path::new("kernel/modules.order")), None);
    }

    #[test]
    fn shared_dependency_is_loaded_before_both() {
        let module = |name: &str, depends: &[&str]| Module {
            name: name.to_owned(),
            bytes: Vec::new(),
            depends: depends.iter().map(|&name| name.to_owned()).collect(),
        };
        let set = Set { modules: vec![module("a", &[]), module("b", &["a"]), module("c", &["a", "b"])] };
        assert_eq!(set.below(&set.modules[2]), ["b", "a"]);
    }
}
