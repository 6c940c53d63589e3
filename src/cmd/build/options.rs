//! The flags of `build`, as typed.

use std::path::PathBuf;

use crate::cmd::registry_options::{RegistryOptions, RetryOptions};
use crate::spec::limits::parse_memory_swap;
use crate::spec::size;
use crate::spec::ulimit::UlimitRequest;

/// What is built, and of what.
#[derive(clap::Args, Clone, Debug)]
pub struct SourceOptions {
    /// Processor to build for, as in arm64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Set a variable that the Dockerfile declares with ARG; NAME alone takes it from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Read in a file of such variables, one a line
    #[arg(long, value_name = "FILE")]
    pub build_arg_file: Vec<PathBuf>,
    /// Give a name to a directory, a repository or an archive (a path or an address), an image (docker-image://NAME,
    /// oci-layout://DIR[:TAG]) or a stage (target:NAME)
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub build_context: Vec<String>,
    /// The Dockerfile: a path, - for standard input, or its address; CONTEXT/Dockerfile unless given
    #[arg(short, long, value_name = "FILE|URL|-")]
    pub file: Option<String>,
    /// Take this image, or stage, in place of the one that the first FROM names
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<String>,
    /// Read this file in place of .dockerignore
    #[arg(long, value_name = "FILE")]
    pub ignorefile: Option<PathBuf>,
    /// Operating system to build for
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// Build for these platforms; of several a list of manifests is made
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Fetch images that it is built from (always, missing, newer, never); without a value always
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub pull: Option<String>,
    /// Show a file to RUN --mount=type=secret (id=ID[,src=FILE|,env=NAME])
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Show an agent's socket to RUN --mount=type=ssh (default, or ID[=SOCKET])
    #[arg(long, value_name = "AGENT")]
    pub ssh: Vec<String>,
    /// The stage to build, the last unless given
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Variant of the processor to build for, as in v7
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
}

/// What becomes of it.
#[derive(clap::Args, Clone, Debug)]
pub struct ResultOptions {
    /// Set an annotation of the manifest
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// Accepted for compatibility: attestations are not made
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,
    /// Set a variable of the image, before its first instruction; NAME alone takes it from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Kind of manifest to make
    #[arg(long, value_name = "TYPE", default_value = "oci", env = "BUILDAH_FORMAT", hide_env_values = true)]
    pub format: crate::cmd::commit::Format,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Set a label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Keep the image in the store, too, whatever else is made of it
    #[arg(long)]
    pub load: bool,
    /// Add the image to this list of manifests, which is made if there is none
    #[arg(long, value_name = "LIST")]
    pub manifest: Option<String>,
    /// Write digests and names as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// What to make: type=TYPE with dest=, or a path; the type is image, local, tar, oci, docker, registry or cacheonly
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Accepted for compatibility: attestations are not made
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Send the image to its registry
    #[arg(long)]
    pub push: bool,
    /// Files are not younger than the timestamp either
    #[arg(long)]
    pub rewrite_timestamp: bool,
    /// Accepted for compatibility: attestations are not made
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Make one layer of all that the build adds
    #[arg(long)]
    pub squash: bool,
    /// Make one layer of all, those of the base image, too
    #[arg(long)]
    pub squash_all: bool,
    /// Name of the image; can be given several times
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// Date the image and its files with this many seconds since 1970 (SOURCE_DATE_EPOCH dates the image)
    #[arg(long, alias = "source-date-epoch", value_name = "SECONDS")]
    pub timestamp: Option<i64>,
    /// Take a variable out of the image
    #[arg(long, value_name = "NAME")]
    pub unsetenv: Vec<String>,
    /// Take a label out of the image
    #[arg(long, value_name = "NAME")]
    pub unsetlabel: Vec<String>,
}

/// How it is built.
#[derive(clap::Args, Clone, Debug)]
pub struct WayOptions {
    /// Permit network.host or security.insecure
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// Accepted for compatibility: there is one builder
    #[arg(long, value_name = "NAME")]
    pub builder: Option<String>,
    /// Take steps from elsewhere (type=registry,ref=NAME or type=local,src=DIR)
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,
    /// Keep steps elsewhere (type=registry,ref=NAME, type=local,dest=DIR or type=inline; mode=min|max)
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,
    /// Say something of the Dockerfile in place of building it (build, check, lint, targets, outline)
    #[arg(long, value_name = "METHOD", default_value = "build", hide_default_value = true)]
    pub call: String,
    /// Look for mistakes in the Dockerfile in place of building it
    #[arg(long)]
    pub check: bool,
    /// Accepted for compatibility: no image is verified by docker's content trust
    #[arg(long)]
    pub disable_content_trust: bool,
    /// Accepted for compatibility: what a step left is removed in any case
    #[arg(long)]
    pub force_rm: bool,
    /// Accepted for compatibility: steps run in containers as others do
    #[arg(long, value_name = "TYPE")]
    pub isolation: Option<String>,
    /// Steps at once, as many as there are processors unless given
    #[arg(long, value_name = "COUNT", default_value = "0", hide_default_value = true)]
    pub jobs: usize,
    /// Keep steps for later builds
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_parser = crate::cmd::go_bool)]
    pub layers: bool,
    /// Take no step from the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Take no step of these stages from the cache
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// How to show progress (auto, plain, tty, quiet, rawjson)
    #[arg(long, value_name = "MODE", env = "BUILDKIT_PROGRESS", hide_env_values = true)]
    pub progress: Option<String>,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted for compatibility: what a step left is removed in any case
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cmd::go_bool)]
    pub rm: Option<bool>,
    #[command(flatten)]
    pub registry: RegistryOptions,
    #[command(flatten)]
    pub retry: RetryOptions,
}

/// What the containers of RUN get.
#[derive(clap::Args, Clone, Debug)]
pub struct RunOptions {
    /// Add a line to /etc/hosts (NAME[;NAME]:IP, or host-gateway for the host)
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// Add a Linux capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Drop a Linux capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// Where cgroups are made: a slice of systemd's, or a path in the hierarchy
    #[arg(long, value_name = "PARENT", default_value = "", hide_default_value = true)]
    pub cgroup_parent: String,
    /// Microseconds after which the time of --cpu-quota begins anew, 100000 by default
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,
    /// Weight of processor time among others', 1024 by default
    #[arg(short = 'c', long, value_name = "SHARES")]
    pub cpu_shares: Option<u64>,
    /// Processors a step may run on, as in 0-2,5
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes a step may use, as in 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Show a device of the host, all below a directory, or one of CDI (HOST[:CONTAINER][:rwm] or VENDOR/CLASS=NAME)
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Ask this DNS server instead of the host's; none keeps the image's /etc/resolv.conf
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// Set an option of the resolver, as in ndots:2
    #[arg(long, value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Complete host names with this domain instead of the host's; . alone means none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Give the caller's proxies (HTTP_PROXY and its like) to steps
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cmd::go_bool)]
    pub http_proxy: Option<bool>,
    /// Memory a step may use at most, 6m or more
    #[arg(short = 'm', long, value_name = "BYTES", value_parser = size::parse_bytes, allow_hyphen_values = true)]
    pub memory: Option<u64>,
    /// Memory and swap a step may use together, twice --memory by default; -1 for no limit of swap
    #[arg(long, value_name = "BYTES", value_parser = parse_memory_swap, allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,
    /// Network of RUN where it names none (default, none, host, or the name of one)
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Leave the image's /etc/hosts as it is
    #[arg(long, conflicts_with = "add_host")]
    pub no_hosts: bool,
    /// Security option (no-new-privileges, seccomp=FILE|builtin|unconfined)
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm, 64m by default
    #[arg(long, value_name = "BYTES", value_parser = size::parse_bytes)]
    pub shm_size: Option<u64>,
    /// Resource limit, as in nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<UlimitRequest>,
    /// Mount a directory or a file of the host, or a volume, while steps run; it is no part of the image
    #[arg(short = 'v', long, value_name = "SOURCE:TARGET[:OPTIONS]")]
    pub volume: Vec<String>,
}
