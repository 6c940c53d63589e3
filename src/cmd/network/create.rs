//! `network create`: make a network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::host_subnets;
use crate::cmd::format::quote::quote;
use crate::cmd::{Context, go_bool, print_line};
use crate::spec::env;
use crate::spec::network::{NewNetwork, plan_subnets};
use crate::store::networks::CreateError;

/// The smallest that IPv4 and IPv6 work with, and the largest of a veth device.
const MTU_V4: u32 = 68;
const MTU_V6: u32 = 1280;
const MTU_MAX: u32 = 65535;

/// Create a network
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Accepted for compatibility: containers can always be attached
    #[arg(long)]
    attachable: bool,
    /// Keep an address of the subnet free
    #[arg(long, value_name = "NAME=IP")]
    aux_address: Vec<String>,
    /// Don't resolve names of containers on this network
    #[arg(long)]
    disable_dns: bool,
    /// Ask this server for names that are not containers', instead of the host's
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// What makes the network: bridge is all there is
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// The network's own address in a subnet; by default the first of the range or the subnet
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,
    /// Do nothing if there is a network of this name
    #[arg(long)]
    ignore: bool,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Give containers addresses of this part of the subnet only
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<String>,
    /// Who gives out addresses: default is all there is
    #[arg(long, value_name = "DRIVER", default_value = "default", hide_default_value = true)]
    ipam_driver: String,
    /// Give containers IPv4 addresses, the default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = go_bool)]
    ipv4: bool,
    /// Give containers IPv6 addresses
    #[arg(long)]
    ipv6: bool,
    /// Set a label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Set an option of the driver (mtu, isolate, com.docker.network...)
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Where the network exists: local is all there is
    #[arg(long, value_name = "SCOPE", default_value = "local", hide_default_value = true)]
    scope: String,
    /// A subnet, one of each family at most; by default one that nothing uses
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// The network's name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Makes the network and prints its id.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let new = args.plan()?;
    match context.store()?.networks().create(new, &host_subnets()?) {
        Ok(network) => print_line(&network.id)?,
        Err(CreateError::Exists(name)) if args.ignore => {
            print_line(&context.store()?.networks().find(&name).map(|network| network.id)?)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn plan(&self) -> Result<NewNetwork> {
        check_word("driver", &self.driver, "bridge")?;
        check_word("scope", &self.scope, "local")?;
        if self.ipam_driver != "host-local" {
            check_word("IPAM driver", &self.ipam_driver, "default")?;
        }
        let (subnets, auxiliary) = plan_subnets(&self.subnet, &self.ip_range, &self.gateway, &self.aux_address)?;
        // A subnet says it too, and with none of the other family nobody need say more.
        let ipv6 = self.ipv6 || subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6());
        let options = options(&self.opt)?;
        let settings = Settings::of(&options, self.ipv4, ipv6)?;
        Ok(NewNetwork {
            name: self.name.clone(),
            subnets,
            ipv4: self.ipv4,
            ipv6,
            internal: self.internal,
            attachable: self.attachable,
            isolate_containers: settings.isolate_containers,
            mtu: settings.mtu,
            disable_dns: self.disable_dns,
            dns_servers: self.dns.clone(),
            labels: self.label.iter().map(|text| env::parse_label(text)).collect::<Result<_, _>>()?,
            options,
            auxiliary,
        })
    }
}

fn check_word(what: &str, given: &str, known: &str) -> Result<()> {
    if given != known {
        bail!("network {what} {} is not supported: {known} is the only one", quote(given));
    }
    Ok(())
}

fn options(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((key, value)) => options.insert(key.to_owned(), value.to_owned()),
            None => options.insert(text.clone(), String::new()),
        };
    }
    Ok(options)
}

/// What the options of the driver ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    mtu: Option<u32>,
    isolate_containers: bool,
}

impl Settings {
    /// Reads docker's and podman's names; what cannot be had is refused, unless it asks for what is so
    /// anyway.
    fn of(options: &BTreeMap<String, String>, ipv4: bool, ipv6: bool) -> Result<Self> {
        const DOCKER: &str = "com.docker.network.";
        let mut settings = Self::default();
        for (key, value) in options {
            let boolean = || go_bool(value).map_err(|error| anyhow::anyhow!("network option {}: {error}", quote(key)));
            let refuse =
                |reason: &str| bail!("network option {}={} is not supported: {reason}", quote(key), quote(value));
            match key.strip_prefix(DOCKER).unwrap_or(key) {
                "driver.mtu" | "mtu" => settings.mtu = mtu(value, ipv6)?,
                "bridge.enable_icc" => settings.isolate_containers = !boolean()?,
                // podman's: networks are apart from each other in any case.
                "isolate" if matches!(value.as_str(), "true" | "1" | "strict") => {}
                "isolate" => refuse("networks are always isolated from each other")?,
                "bridge.inhibit_ipv4" if !boolean()? => {}
                "bridge.inhibit_ipv4" => refuse("a network's gateway always has its address")?,
                "bridge.enable_ip_masquerade" if boolean()? => {}
                "bridge.enable_ip_masquerade" => refuse("use --internal for a network without a way out")?,
                "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" if value == "nat" => {}
                "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" if value == "isolated" => {
                    refuse("use --internal for a network without a way out")?;
                }
                "bridge.host_binding_ipv4" if value == "0.0.0.0" => {}
                "bridge.host_binding_ipv4" => refuse("name the address with --publish")?,
                "bridge.name" => refuse("no bridge of the host is made")?,
                _ => bail!("unknown network option {}", quote(key)),
            }
        }
        if !ipv4 && !ipv6 {
            bail!("IPv4 or IPv6 must be enabled");
        }
        Ok(settings)
    }
}

/// None leaves it to us, as docker's 0 does.
fn mtu(text: &str, ipv6: bool) -> Result<Option<u32>> {
    let least = if ipv6 { MTU_V6 } else { MTU_V4 };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(mtu) if (least..=MTU_MAX).contains(&mtu) => Ok(Some(mtu)),
        _ => bail!("invalid mtu {}: must be a number from {least} to {MTU_MAX}", quote(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[(&str, &str)], ipv6: bool) -> Result<Settings, String> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::of(&options, true, ipv6).map_err(|error| error.to_string())
    }

    #[test]
    fn options_of_docker_and_podman() {
        for (key, value, mtu, isolate) in [
            ("com.docker.network.driver.mtu", "1500", Some(1500), false),
            ("mtu", "9000", Some(9000), false),
            ("mtu", "0", None, false),
            ("com.docker.network.bridge.enable_icc", "false", None, true),
            ("com.docker.network.bridge.enable_icc", "true", None, false),
            ("com.docker.network.bridge.enable_ip_masquerade", "true", None, false),
            ("com.docker.network.bridge.gateway_mode_ipv4", "nat", None, false),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0", None, false),
            ("isolate", "true", None, false),
            ("isolate", "strict", None, false),
        ] {
            assert_eq!(settings(&[(key, value)], false), Ok(Settings { mtu, isolate_containers: isolate }), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for (key, value, error) in [
            ("parent", "eth0", "unknown network option \"parent\""),
            ("mtu", "9", "invalid mtu \"9\": must be a number from 68 to 65535"),
            ("mtu", "x", "invalid mtu \"x\": must be a number from 68 to 65535"),
            ("mtu", "65536", "invalid mtu \"65536\": must be a number from 68 to 65535"),
            (
                "com.docker.network.bridge.enable_icc",
                "maybe",
                "network option \"com.docker.network.bridge.enable_icc\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "com.docker.network.bridge.name",
                "br0",
                "network option \"com.docker.network.bridge.name\"=\"br0\" is not supported: no bridge of the host is made",
            ),
            (
                "isolate",
                "false",
                "network option \"isolate\"=\"false\" is not supported: networks are always isolated from each other",
            ),
        ] {
            assert_eq!(settings(&[(key, value)], false), Err(error.to_owned()));
        }
        assert!(settings(&[("mtu", "1000")], true).unwrap_err().contains("from 1280"), "IPv6 needs more");
    }

    #[test]
    fn drivers_and_scopes_that_are_not_there() {
        let error = check_word("driver", "overlay", "bridge").unwrap_err().to_string();
        assert_eq!(error, "network driver \"overlay\" is not supported: bridge is the only one");
    }
}
