//! Values with a unit: `"5s"`, `"256MiB"`.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{AGES, SIZES, parse};

/// A length of time, as `"500ms"`, `"5s"`, `"10m"`, `"24h"` or `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(u64);

/// A number of bytes, as `"512KiB"`, `"256MiB"` or `"4GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Age {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Age {
        Age(seconds * 1000)
    }

    /// As the standard library has it.
    pub fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl Size {
    /// So many MiB.
    pub const fn mib(mib: u64) -> Size {
        Size(mib << 20)
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// In bytes, for memory.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

fn print(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole = units.iter().filter(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    match whole.max_by_key(|(_, factor)| *factor) {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => write!(f, "0{}", units[0].0),
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &AGES)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SIZES)
    }
}

impl std::str::FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Age, String> {
        let wanted = || format!("'{text}' is no length of time; write \"500ms\", \"5s\", \"10m\", \"24h\" or \"7d\"");
        parse(text, &AGES).map(Age).ok_or_else(wanted)
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wanted = || format!("'{text}' is no size; write \"512KiB\", \"256MiB\" or \"4GiB\"");
        parse(text, &SIZES).map(Size).ok_or_else(wanted)
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written() {
        assert_eq!(("5s".parse(), "256 MiB".parse()), (Ok(Age::seconds(5)), Ok(Size::mib(256))));
        assert_eq!(Age::seconds(90).to_string(), "90s");
        assert_eq!(Age::seconds(24 * 3600).to_string(), "1d");
        assert_eq!(Size::mib(4096).to_string(), "4GiB");
    }
}
