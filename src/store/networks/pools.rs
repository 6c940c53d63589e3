//! Subnets for networks that were given none.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::store::fs;

/// Tries at a random prefix before giving up: with 56 bits to choose, one is enough.
const TRIES: usize = 16;

/// docker's pools in its order: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in sixteenths.
pub fn v4() -> impl Iterator<Item = IpNet> {
    let large = (17..=31).map(|second| net4([172, second, 0, 0], 16));
    large.chain((0..16).map(|part| net4([192, 168, part * 16, 0], 20)))
}

fn net4(octets: [u8; 4], prefix: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::from(octets), prefix).into()
}

/// A unique local subnet with a random global id (RFC 4193).
pub fn v6(is_free: impl Fn(&IpNet) -> bool) -> io::Result<IpNet> {
    for _ in 0..TRIES {
        let random: [u8; 7] = fs::random_bytes()?;
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..8].copy_from_slice(&random);
        let net = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(octets), 64));
        if is_free(&net) {
            return Ok(net);
        }
    }
    Err(io::Error::other("all random subnets are in use"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_dockers_order() {
        let pools: Vec<String> = v4().map(|pool| pool.to_string()).collect();
        assert_eq!(pools.len(), 31);
        assert_eq!(
            [&pools[0], &pools[14], &pools[15], &pools[30]].map(String::as_str),
            ["172.17.0.0/16", "172.31.0.0/16", "192.168.0.0/20", "192.168.240.0/20"]
        );
        let local = v6(|_| true).unwrap();
        assert!(local.to_string().starts_with("fd") && local.prefix_len() == 64 && local == local.trunc());
        assert!(v6(|_| false).is_err());
    }
}
