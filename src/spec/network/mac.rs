//! Link layer addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::text::printable;

/// A link layer address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

/// Why a text is not a link layer address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is not a valid mac address")]
pub struct InvalidMac(String);

impl FromStr for MacAddress {
    type Err = InvalidMac;

    /// Six pairs of hex digits between colons or dashes; a unicast address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMac(printable(text));
        let mut address = [0; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut address {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(invalid)?, 16).map_err(|_| invalid())?;
        }
        if pairs.next().is_some() || address[0] & 1 == 1 {
            return Err(invalid());
        }
        Ok(Self(address))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl MacAddress {
    /// docker's address for an IPv4 address, unique where that is.
    pub fn of_v4(address: std::net::Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in ["02:42:ac:11:00:02", "02-42-AC-11-00-02"] {
            assert_eq!(text.parse::<MacAddress>().unwrap().to_string(), "02:42:ac:11:00:02");
        }
        assert_eq!(MacAddress::of_v4([172, 17, 0, 2].into()).to_string(), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42",
            "01:00:00:00:00:00",
            "02:42:ac:11:00:02:03",
            "02:42:ac:11:00:0g",
            "+2:42:ac:11:00:02",
            "2:42:ac:11:0:2",
        ] {
            assert_eq!(bad.parse::<MacAddress>().unwrap_err().to_string(), format!("{bad} is not a valid mac address"));
        }
        let address = MacAddress([2, 0, 0, 0, 0, 1]);
        assert_eq!(serde_json::to_string(&address).unwrap(), "\"02:00:00:00:00:01\"");
        assert_eq!(serde_json::from_str::<MacAddress>("\"02:00:00:00:00:01\"").unwrap(), address);
    }
}
