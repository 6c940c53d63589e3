//! `--dns`, `--dns-search` and `--dns-option`.

use std::net::IpAddr;

use crate::spec::config::DnsConfig;
use crate::spec::text::printable;

/// The longest name in the DNS, as text without its last dot.
const NAME_MAX: usize = 253;

/// Why a value can't be used; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidDns {
    #[error("IP address is not correctly formatted: {0}")]
    Server(String),
    #[error("--dns none can't be combined with other DNS options")]
    None,
    #[error("{0} is not a valid domain")]
    Search(String),
    #[error("invalid --dns-option {0:?}")]
    Option(String),
}

/// What differs from the host's resolv.conf.
pub fn parse_dns(servers: &[String], search: &[String], options: &[String]) -> Result<DnsConfig, InvalidDns> {
    if servers.iter().any(|server| server == "none") {
        let alone = servers.len() == 1 && search.is_empty() && options.is_empty();
        return if alone { Ok(DnsConfig { untouched: true, ..DnsConfig::default() }) } else { Err(InvalidDns::None) };
    }
    let server = |text: &String| text.parse::<IpAddr>().map_err(|_| InvalidDns::Server(printable(text)));
    let servers = servers.iter().map(server).collect::<Result<_, _>>()?;
    if let Some(bad) = search.iter().find(|domain| *domain != "." && !is_domain(domain)) {
        return Err(InvalidDns::Search(printable(bad)));
    }
    let named = search.iter().any(|domain| domain != ".");
    let search = search.iter().filter(|domain| *domain != "." || !named).cloned().collect();
    if let Some(bad) = options.iter().find(|option| option.is_empty() || !option.bytes().all(|c| c.is_ascii_graphic()))
    {
        return Err(InvalidDns::Option(bad.clone()));
    }
    Ok(DnsConfig { servers, search, options: options.to_vec(), untouched: false })
}

/// Labels of letters, digits, `-` and `_` between dots; one dot may end it.
pub(super) fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= NAME_MAX && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(servers: &[&str], search: &[&str], options: &[&str]) -> Result<DnsConfig, String> {
        let [servers, search, options] =
            [servers, search, options].map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        parse_dns(&servers, &search, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn servers_domains_and_options() {
        let config = parse(&["1.1.1.1", "fd00::1"], &["a.example", "b_c."], &["ndots:2"]).unwrap();
        assert_eq!(config.servers.len(), 2);
        assert_eq!((config.search.join(" "), config.options.join(" ")), ("a.example b_c.".into(), "ndots:2".into()));
        assert_eq!(parse(&[], &["."], &[]).unwrap().search, ["."]);
        assert_eq!(parse(&[], &[".", "x"], &[]).unwrap().search, ["x"]);
        assert!(parse(&["none"], &[], &[]).unwrap().untouched);
    }

    #[test]
    fn refusals() {
        assert_eq!(parse(&["x"], &[], &[]), Err("IP address is not correctly formatted: x".into()));
        assert!(parse(&["none", "1.1.1.1"], &[], &[]).unwrap_err().starts_with("--dns none"));
        assert!(parse(&["none"], &["."], &[]).is_err());
        let long = "a".repeat(64);
        for bad in ["", "a b", "-a", "a..b", "a\nb", &long] {
            assert_eq!(parse(&[], &[bad], &[]), Err(format!("{} is not a valid domain", printable(bad))));
        }
        for bad in ["", "a b", "a\n"] {
            assert!(parse(&[], &[], &[bad]).is_err(), "{bad:?}");
        }
    }
}
