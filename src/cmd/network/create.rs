//! `network create`: make a network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use crate::cmd::format::quote::quote;
use crate::cmd::format::text;
use crate::cmd::{Context, go_bool, print_line};
use crate::net::host::host_subnets;
use crate::spec::env;
use crate::spec::network::{NewNetwork, plan_subnets};
use crate::store::networks::CreateError;

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
        let options = options(&self.opt);
        options.iter().try_for_each(|(key, value)| check_option(key, value))?;
        let (subnets, auxiliary) = plan_subnets(&self.subnet, &self.ip_range, &self.gateway, &self.aux_address)?;
        let mut new = NewNetwork {
            subnets,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            internal: self.internal,
            attachable: self.attachable,
            disable_dns: self.disable_dns,
            dns_servers: self.dns.clone(),
            labels: self.label.iter().map(|text| env::parse_label(text)).collect::<Result<_, _>>()?,
            auxiliary,
            ..NewNetwork::named(&self.name)
        };
        new.set_options(options)?;
        Ok(new)
    }
}

fn check_word(what: &str, given: &str, known: &str) -> Result<()> {
    if given != known {
        bail!("network {what} {} is not supported: {known} is the only one", quote(given));
    }
    Ok(())
}

fn options(texts: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    texts.iter().map(pair).collect()
}

/// Refuses options of the driver that mean nothing here, unless they ask for what is so anyway.
fn check_option(key: &str, value: &str) -> Result<()> {
    let boolean = || go_bool(value).map_err(|error| anyhow!("network option {}: {error}", quote(key)));
    let reason = match key.strip_prefix("com.docker.network.").unwrap_or(key) {
        // The network takes these.
        "driver.mtu" | "mtu" | "bridge.enable_icc" => return Ok(()),
        // podman's: networks are apart from each other in any case.
        "isolate" if matches!(value, "strict" | "true" | "1") => return Ok(()),
        "isolate" => "networks are always isolated from each other",
        "bridge.enable_ip_masquerade" if boolean()? => return Ok(()),
        "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" if value == "nat" => return Ok(()),
        "bridge.enable_ip_masquerade" | "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" => {
            "use --internal for a network without a way out"
        }
        "bridge.inhibit_ipv4" if !boolean()? => return Ok(()),
        "bridge.inhibit_ipv4" => "a network's gateway always has its address",
        "bridge.host_binding_ipv4" if value == "0.0.0.0" => return Ok(()),
        "bridge.host_binding_ipv4" => "name the address with --publish",
        "bridge.name" => "no bridge of the host is made",
        _ => bail!("unknown network option {}", quote(key)),
    };
    bail!("network option {}={} is not supported: {reason}", text::clean_line(key), quote(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_docker_and_podman() {
        for (key, value) in [
            ("com.docker.network.driver.mtu", "1500"),
            ("mtu", "9000"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
            ("com.docker.network.bridge.inhibit_ipv4", "false"),
            ("isolate", "true"),
            ("isolate", "strict"),
        ] {
            check_option(key, value).unwrap_or_else(|error| panic!("{key}={value}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for (key, value, error) in [
            ("parent", "eth0", "unknown network option \"parent\""),
            (
                "com.docker.network.bridge.enable_ip_masquerade",
                "maybe",
                "network option \"com.docker.network.bridge.enable_ip_masquerade\": strconv.ParseBool: parsing \
                 \"maybe\": invalid syntax",
            ),
            (
                "com.docker.network.bridge.name",
                "br0",
                "network option com.docker.network.bridge.name=\"br0\" is not supported: no bridge of the host is made",
            ),
            (
                "isolate",
                "false",
                "network option isolate=\"false\" is not supported: networks are always isolated from each other",
            ),
        ] {
            assert_eq!(check_option(key, value).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn drivers_and_scopes_that_are_not_there() {
        let error = check_word("driver", "overlay", "bridge").unwrap_err().to_string();
        assert_eq!(error, "network driver \"overlay\" is not supported: bridge is the only one");
    }
}
