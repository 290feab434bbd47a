//! Validated names: domains and PCI functions.
//!
//! Both end up in file names and sysfs paths, so the constructor is the only way to make one.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A domain's name: a lower-case letter, then at most 30 lower-case letters, digits or hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut chars = text.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !first || !rest || text.len() > control::message::NAME_LEN {
            return Err(format!(
                "{text:?} is not a domain name (a lower-case letter, then at most 30 lower-case letters, \
                 digits or hyphens)"
            ));
        }
        if text == "dom0" {
            return Err("\"dom0\" is this machine itself, not a domain".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Address of a PCI function on this machine, `0000:01:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bdf {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for Bdf {
    type Err = String;

    /// Accepts `0000:01:00.0` and, as `lspci` prints it, `01:00.0`.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_bdf(text).ok_or_else(|| {
            format!("{text:?} is not a PCI address (like 0000:01:00.0; `bulkhead nic list` shows them)")
        })
    }
}

fn parse_bdf(text: &str) -> Option<Bdf> {
    let (bus_part, function) = text.rsplit_once('.')?;
    let (rest, device) = bus_part.rsplit_once(':')?;
    let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
    let hex = |part: &str, digits: usize| {
        let plain = part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u16::from_str_radix(part, 16).ok()).flatten()
    };
    let bdf = Bdf {
        segment: hex(segment, 4)?,
        bus: u8::try_from(hex(bus, 2)?).ok()?,
        device: u8::try_from(hex(device, 2)?).ok()?,
        function: u8::try_from(hex(function, 1)?).ok()?,
    };
    (bdf.device < 32 && bdf.function < 8).then_some(bdf)
}

impl TryFrom<String> for Bdf {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bdf> for String {
    fn from(bdf: Bdf) -> Self {
        bdf.to_string()
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", "..", "a/b", "A", "1a", "a b", "dom0", "-x", &"x".repeat(32)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("work-2".parse::<Name>().is_ok());
    }

    #[test]
    fn short_and_long_addresses_mean_the_same() {
        assert_eq!("01:00.0".parse::<Bdf>().unwrap().to_string(), "0000:01:00.0");
        for bad in
            ["", "01:00", "01:20.0", "01:00.8", "1:0.0", "../x", "0000:01:00.0/", "+1:00.0", "+001:01:00.0"]
        {
            assert!(bad.parse::<Bdf>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Bdf>();
            let _ = text.parse::<Name>();
        }
    }
}
