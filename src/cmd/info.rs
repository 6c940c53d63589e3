//! `rbox info`: this installation and the machine, under docker's headings.

mod cgroups;
mod configuration;
pub mod host;
mod networks;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use self::cgroups::Cgroups;
use self::configuration::Configuration;
use self::host::Host;
use self::networks::{DRIVERS, Networks};
use super::Context;
use super::format::{document, human, text};
use super::version::VERSION;
use crate::spec::log::LogDriver;
use crate::store::Store;
use crate::store::containers::Status;

/// Display system-wide information
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints what is known.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let facts = Facts::collect(context.store()?, Configuration::of(context)?)?;
    let mut out = Vec::new();
    let terminal = std::io::stdout().is_terminal();
    match args.format.as_deref() {
        Some(format) if !format.is_empty() => {
            document::write(&mut out, format, &facts.json(), "system.dockerInfo", terminal)?;
        }
        _ => {
            out.write_all(text::clean(&facts.text()).as_bytes())?;
            facts.warnings().iter().for_each(|warning| text::warn(warning));
        }
    }
    super::print_bytes(&out)?;
    Ok(ExitCode::SUCCESS)
}

struct Facts<'a> {
    host: Host,
    configuration: Configuration<'a>,
    root: String,
    backing_filesystem: String,
    /// Created, running, exited.
    containers: [usize; 3],
    paused: usize,
    cgroups: Cgroups,
    images: usize,
    networks: Networks,
    secrets: usize,
}

impl<'a> Facts<'a> {
    fn collect(store: &Store, configuration: Configuration<'a>) -> Result<Self> {
        let (containers, _) = store.containers().list()?;
        let count = |status: Status| containers.iter().filter(|container| container.status() == status).count();
        Ok(Self {
            host: Host::read(),
            configuration,
            root: store.root().to_string_lossy().into_owned(),
            backing_filesystem: host::filesystem(store.root()),
            // docker takes one that waits to be started again for stopped.
            containers: [
                count(Status::Created),
                count(Status::Running),
                count(Status::Exited) + count(Status::Restarting),
            ],
            paused: containers.iter().filter(|container| container.state.paused.is_some()).count(),
            cgroups: Cgroups::read(),
            images: store.images().list()?.0.len(),
            networks: Networks::read(store)?,
            secrets: store.secrets().list()?.0.len(),
        })
    }

    fn warnings(&self) -> Vec<String> {
        self.host.warnings.iter().cloned().chain(self.cgroups.warnings()).collect()
    }

    fn driver_status(&self) -> [(&'static str, String); 3] {
        let rootless = if self.host.rootless { "true" } else { "false" };
        [
            ("Backing Filesystem", self.backing_filesystem.clone()),
            ("Supports d_type", "true".to_owned()),
            ("userxattr", rootless.to_owned()),
        ]
    }

    fn security_options(&self) -> Vec<&'static str> {
        let mut options = vec!["name=seccomp,profile=builtin", "name=cgroupns"];
        if self.host.rootless {
            options.insert(1, "name=rootless");
        }
        options
    }

    fn text(&self) -> String {
        let [created, running, exited] = self.containers;
        let host = &self.host;
        let mut text =
            format!("Client:\n Version:    {VERSION}\n Context:    default\n Debug Mode: false\n\nServer:\n");
        let mut line = |name: &str, value: &dyn Display| put(&mut text, name, value);
        line("Containers", &(created + running + exited));
        line(" Running", &(running - self.paused));
        line(" Paused", &self.paused);
        line(" Stopped", &(created + exited));
        line("Images", &self.images);
        line("Server Version", &VERSION);
        line("Storage Driver", &"overlay");
        for (name, value) in self.driver_status() {
            line(&format!(" {name}"), &value);
        }
        line("Logging Driver", &self.configuration.settings.log_driver.value);
        line("Cgroup Driver", &self.cgroups.driver);
        line("Cgroup Version", &host.cgroup_version);
        line("Plugins", &"");
        line(" Network", &DRIVERS.join(" "));
        line(" Log", &LogDriver::names().join(" "));
        text.push_str(" CDI spec directories:\n");
        for directory in &self.configuration.settings.cdi_spec_dirs.value {
            text.push_str(&format!("  {}\n", directory.display()));
        }
        text.push_str(&self.networks.text());
        let mut line = |name: &str, value: &dyn Display| put(&mut text, name, value);
        line("Secrets", &self.secrets);
        line("Runtimes", &"rbox");
        line("Default Runtime", &"rbox");
        line("Init Binary", &"rbox");
        text.push_str(" Security Options:\n");
        self.security_options().into_iter().for_each(|option| put_security_option(&mut text, option));
        let mut line = |name: &str, value: &dyn Display| put(&mut text, name, value);
        line("Kernel Version", &host.kernel);
        line("Operating System", &host.operating_system);
        line("OSType", &"linux");
        line("Architecture", &host.architecture);
        line("CPUs", &host.cpus);
        line("Total Memory", &human::binary_size(host.memory));
        line("Name", &host.name);
        line("Docker Root Dir", &self.root);
        line("Debug Mode", &false);
        line("Experimental", &false);
        line("Live Restore Enabled", &false);
        text.push_str(&self.configuration.text());
        text.push_str(&self.configuration.registries_text());
        text.push('\n');
        text
    }

    fn json(&self) -> Value {
        let [created, running, exited] = self.containers;
        let host = &self.host;
        let mut all = json!({
            "ID": "",
            "Containers": created + running + exited,
            "ContainersRunning": running - self.paused,
            "ContainersPaused": self.paused,
            "ContainersStopped": created + exited,
            "Images": self.images,
            "Driver": "overlay",
            "DriverStatus": self.driver_status(),
            "Plugins": {"Volume": [], "Network": DRIVERS, "Authorization": null, "Log": LogDriver::names()},
            "MemoryLimit": self.cgroups.has("memory"),
            "SwapLimit": self.cgroups.has("memory"),
            "CpuCfsPeriod": self.cgroups.has("cpu"),
            "CpuCfsQuota": self.cgroups.has("cpu"),
            "CPUShares": self.cgroups.has("cpu"),
            "CPUSet": self.cgroups.has("cpuset"),
            "PidsLimit": self.cgroups.has("pids"),
            "IPv4Forwarding": host.ipv4_forwarding,
            "Debug": false,
            "OomKillDisable": false,
            "SystemTime": jiff::Timestamp::now().to_string(),
            "LoggingDriver": self.configuration.settings.log_driver.value.to_string(),
            "CgroupDriver": self.cgroups.driver,
            "CgroupVersion": host.cgroup_version,
        });
        let rest = json!({
            "KernelVersion": host.kernel,
            "OperatingSystem": host.operating_system,
            "OSVersion": host.version,
            "OSType": "linux",
            "Architecture": host.architecture,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": self.configuration.registry_json(),
            "NCPU": host.cpus,
            "MemTotal": host.memory,
            "DockerRootDir": self.root,
            "HttpProxy": host::variable("HTTP_PROXY"),
            "HttpsProxy": host::variable("HTTPS_PROXY"),
            "NoProxy": host::variable("NO_PROXY"),
            "Name": host.name,
            "Labels": [],
            "ExperimentalBuild": false,
            "ServerVersion": VERSION,
            "Runtimes": {"rbox": {"path": "rbox"}},
            "DefaultRuntime": "rbox",
            "LiveRestoreEnabled": false,
            "Isolation": "",
            "InitBinary": "rbox",
            "SecurityOptions": self.security_options(),
            "Warnings": self.warnings(),
            "ClientInfo": {"Debug": false, "Version": VERSION, "Context": "default", "Plugins": [], "Warnings": null},
            "CDISpecDirs": self.configuration.settings.cdi_spec_dirs.value,
            "Networks": self.networks.json(),
            "Secrets": self.secrets,
            "Registries": self.configuration.registries_json(),
            "Configuration": self.configuration.json(),
            "ConfigurationFiles": self.configuration.files_json(),
        });
        if let (Value::Object(all), Value::Object(rest)) = (&mut all, rest) {
            all.extend(rest);
        }
        all
    }
}

fn put(text: &mut String, name: &str, value: &dyn Display) {
    let line = format!(" {name}: {value}");
    text.push_str(line.trim_end());
    text.push('\n');
}

/// docker's lines below `Security Options:`.
fn put_security_option(text: &mut String, option: &str) {
    let (name, profile) = option.split_once(",profile=").unwrap_or((option, ""));
    text.push_str("  ");
    text.push_str(name.trim_start_matches("name="));
    text.push('\n');
    if !profile.is_empty() {
        put(text, "  Profile", &profile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::GlobalOptions;
    use crate::store::testing::TestStore;

    #[test]
    fn facts_of_an_empty_store() {
        let store = TestStore::new();
        let options =
            GlobalOptions { root: Some(store.root().to_owned()), config: Some("".into()), ..GlobalOptions::default() };
        let context = Context::new(options);
        let facts = Facts::collect(&store, Configuration::of(&context).unwrap()).unwrap();
        let text = facts.text();
        for line in [
            " Containers: 0\n",
            "  Stopped: 0\n",
            " Networks: 3\n  In Use: 0\n",
            " CDI spec directories:\n  /etc/cdi\n  /var/run/cdi\n",
            " Secrets: 0\n",
            " Plugins:\n  Network: bridge host null\n",
            " Storage Driver: overlay\n",
            "  seccomp\n   Profile: builtin\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        let mut out = Vec::new();
        document::write(
            &mut out,
            "{{.DockerRootDir}} {{.OSType}} {{.Images}}",
            &facts.json(),
            "system.dockerInfo",
            false,
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{} linux 0\n", store.root().display()));
        assert!(facts.host.cpus > 0 && facts.host.memory > 0, "{:?}", facts.host);
    }
}
