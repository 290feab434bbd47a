//! The configuration file: TOML, read once, refused as a whole when anything in it is wrong.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use arti_client::TorClientConfig;
use arti_client::config::TorClientConfigBuilder;
use control::tor::{Isolation, PortClass};
use serde::Deserialize;

/// Why a configuration is refused.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that was checked.
#[derive(Debug)]
pub struct Config {
    /// Where clients are heard.
    pub listen: Listen,
    /// How much clients may have at a time.
    pub limits: Limits,
    /// What streams are kept apart by.
    pub isolation: Isolation,
    /// What arti gets.
    pub arti: TorClientConfig,
    /// Directory of what must survive: guards.
    pub state_dir: PathBuf,
    /// Directory of what can be fetched again.
    pub cache_dir: PathBuf,
    /// Lines of configured bridges.
    pub bridges: Vec<String>,
    /// Whether they are used.
    pub bridges_used: bool,
}

/// Where clients are heard: IPv4 only. What comes to torvm over IPv6 is brought here under the client's IPv4 address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// TCP to anywhere, redirected here.
    pub transparent: SocketAddrV4,
    /// SOCKS.
    pub socks: Option<SocketAddrV4>,
    /// HTTP `CONNECT`.
    pub http: Option<SocketAddrV4>,
    /// Questions about names, over UDP.
    pub dns: SocketAddrV4,
}

/// How much clients may have at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Streams of all clients.
    pub streams: u32,
    /// Streams of one client.
    pub streams_per_client: u32,
    /// Unanswered questions about names of all clients, beside the few to which each has a right.
    pub questions: u32,
    /// Unanswered questions about names of one client.
    pub questions_per_client: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams: 512, streams_per_client: 256, questions: 256, questions_per_client: 64 }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Listen,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    isolation: IsolationSection,
    arti: toml::Table,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct IsolationSection {
    by_destination_address: bool,
    by_destination_port: bool,
    by_socks_credentials: bool,
    port_classes: Vec<Vec<u16>>,
}

impl Default for IsolationSection {
    fn default() -> Self {
        Self {
            by_destination_address: false,
            by_destination_port: false,
            by_socks_credentials: true,
            port_classes: Vec::new(),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |e: &dyn fmt::Display| ConfigError(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        Self::parse(&text).map_err(|e| wrong(&e))
    }

    /// Checks a text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let File { listen, limits, isolation, arti } =
            toml::from_str(text).map_err(|e| ConfigError(e.to_string()))?;
        let (bridges, bridges_used) = bridges(&arti);
        Ok(Self {
            listen,
            limits,
            isolation: isolation.check()?,
            state_dir: directory(&arti, "state_dir")?,
            cache_dir: directory(&arti, "cache_dir")?,
            bridges,
            bridges_used,
            arti: build(arti)?,
        })
    }
}

impl IsolationSection {
    fn check(self) -> Result<Isolation, ConfigError> {
        let mut port_classes = control::tor::PortClasses::new();
        for ports in self.port_classes {
            let class = PortClass::from_slice(&ports).map_err(|_| {
                ConfigError(format!("isolation.port-classes: a class of {} ports", ports.len()))
            })?;
            port_classes.push(class).map_err(|_| ConfigError("isolation.port-classes: too many".into()))?;
        }
        Ok(Isolation {
            by_destination_address: self.by_destination_address,
            by_destination_port: self.by_destination_port,
            by_socks_credentials: self.by_socks_credentials,
            port_classes,
        })
    }
}

fn build(arti: toml::Table) -> Result<TorClientConfig, ConfigError> {
    let builder: TorClientConfigBuilder =
        toml::Value::Table(arti).try_into().map_err(|e| ConfigError(format!("arti: {e}")))?;
    builder.build().map_err(|e| ConfigError(format!("arti: {e}")))
}

/// A directory of arti's section `storage`. It has to be spelled out, since this program reads there as well.
fn directory(arti: &toml::Table, key: &str) -> Result<PathBuf, ConfigError> {
    let value = arti.get("storage").and_then(|storage| storage.get(key)).and_then(toml::Value::as_str);
    match value.map(PathBuf::from) {
        Some(path) if path.is_absolute() && !path.to_string_lossy().contains("${") => Ok(path),
        _ => Err(ConfigError(format!("arti.storage.{key} must be an absolute path"))),
    }
}

/// Bridge lines (one string of lines or a list), and whether they are used: unless it is said, when there are any.
fn bridges(arti: &toml::Table) -> (Vec<String>, bool) {
    let section = arti.get("bridges");
    let texts: Vec<&str> = match section.and_then(|section| section.get("bridges")) {
        Some(toml::Value::String(text)) => text.lines().collect(),
        Some(toml::Value::Array(list)) => list.iter().filter_map(toml::Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_line = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let lines: Vec<String> =
        texts.iter().map(|line| line.trim()).filter(is_line).map(str::to_owned).collect();
    let enabled = section.and_then(|section| section.get("enabled")).and_then(toml::Value::as_bool);
    let used = enabled.unwrap_or(!lines.is_empty());
    (lines, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        [listen]
        transparent = "0.0.0.0:9040"
        dns = "0.0.0.0:5300"
        [arti.storage]
        state_dir = "/state"
        cache_dir = "/cache"
    "#;

    fn refused(text: &str) -> String {
        Config::parse(text).map(|_| ()).expect_err("must be refused").to_string()
    }

    #[test]
    fn what_is_not_said_has_a_cautious_default() {
        let config = Config::parse(BASE).expect("complete");
        assert!(config.isolation.by_socks_credentials);
        assert!(config.listen.socks.is_none() && !config.bridges_used);
        assert_eq!(config.limits.streams_per_client, 256);
    }

    #[test]
    fn the_configuration_that_is_shipped_is_accepted() {
        Config::parse(include_str!("../gateway.toml")).expect("accepted");
    }

    #[test]
    fn unknown_words_are_refused_everywhere() {
        assert!(refused(&BASE.replace("[listen]", "[listen]\nsurprise = 1")).contains("surprise"));
        assert!(refused(&format!("{BASE}\n[isolation]\nby-weather = true")).contains("by-weather"));
        assert!(refused(&format!("[surprise]\n{BASE}")).contains("surprise"));
        assert!(refused(&BASE.replace(":9040", "")).contains("transparent"));
    }

    #[test]
    fn classes_of_ports_are_bounded() {
        let many = format!("{BASE}\n[isolation]\nport-classes = [{}]", "[1],".repeat(9));
        assert!(refused(&many).contains("too many"));
        let large = format!("{BASE}\n[isolation]\nport-classes = [[{}]]", "1,".repeat(17));
        assert!(refused(&large).contains("17 ports"));
    }

    #[test]
    fn directories_must_be_spelled_out() {
        assert!(refused(&BASE.replace("\"/state\"", "\"${HOME}/state\"")).contains("state_dir"));
        assert!(refused(&BASE.replace("\"/cache\"", "\"cache\"")).contains("cache_dir"));
    }

    #[test]
    fn bridges_are_read_in_both_forms() {
        let line = "192.0.2.7:443 4352E58420E68F5E40BF7C74FADDCCD9D1349413";
        let one = format!("{BASE}\n[arti.bridges]\nbridges = '''\n# ours\n{line}\n'''");
        let list = format!("{BASE}\n[arti.bridges]\nenabled = false\nbridges = ['{line}']");
        let (one, list) = (Config::parse(&one).expect("lines"), Config::parse(&list).expect("list"));
        assert_eq!((one.bridges.as_slice(), one.bridges_used), ([line.to_owned()].as_slice(), true));
        assert_eq!((list.bridges.as_slice(), list.bridges_used), ([line.to_owned()].as_slice(), false));
        assert!(refused(&format!("{BASE}\n[arti.bridges]\nbridges = ['nonsense']")).contains("arti"));
    }
}
