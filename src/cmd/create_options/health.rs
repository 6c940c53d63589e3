//! Options about health checks.

use std::path::Path;

use anyhow::{Result, bail};
use jiff::SignedDuration;

use crate::spec::health::{HealthRequest, Interval, StartupRequest, parse_command, parse_interval};
use crate::spec::time::parse_duration;

/// As typed.
#[derive(clap::Args, Clone, Debug)]
pub struct HealthOptions {
    /// Command that checks health: a line for the shell, a JSON list of words, or none
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between checks, 30s by default; disable for none but those of rbox healthcheck run
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, allow_hyphen_values = true)]
    pub health_interval: Option<Interval>,
    /// Where results are kept (local, events_logger, or an absolute directory)
    #[arg(long, value_name = "PLACE")]
    pub health_log_destination: Option<String>,
    /// How many results are kept, 5 by default; 0 for all
    #[arg(long, value_name = "COUNT")]
    pub health_max_log_count: Option<usize>,
    /// How many bytes of a result's output are kept, 4096 by default; 0 for all
    #[arg(long, value_name = "BYTES")]
    pub health_max_log_size: Option<usize>,
    /// What is done once the container is unhealthy (none, kill, restart, stop)
    #[arg(long, value_name = "ACTION")]
    pub health_on_failure: Option<String>,
    /// Failures in a row that make the container unhealthy, 3 by default
    #[arg(long, value_name = "COUNT")]
    pub health_retries: Option<i64>,
    /// Time between checks during the start period, 5s by default
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub health_start_interval: Option<SignedDuration>,
    /// Time from the start in which failures don't count
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub health_start_period: Option<SignedDuration>,
    /// Command that must succeed before health is checked
    #[arg(long, value_name = "COMMAND")]
    pub health_startup_cmd: Option<String>,
    /// Time between startup checks, 30s by default
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, allow_hyphen_values = true)]
    pub health_startup_interval: Option<Interval>,
    /// Failures of the startup check in a row after which the container is restarted; 0 for never
    #[arg(long, value_name = "COUNT")]
    pub health_startup_retries: Option<i64>,
    /// How often the startup check must succeed in a row, once by default
    #[arg(long, value_name = "COUNT")]
    pub health_startup_success: Option<i64>,
    /// What a startup check may take, 30s by default
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub health_startup_timeout: Option<SignedDuration>,
    /// What a check may take before it is killed and has failed, 30s by default
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub health_timeout: Option<SignedDuration>,
    /// Run no health check, whatever the image says
    #[arg(long)]
    pub no_healthcheck: bool,
}

impl HealthOptions {
    /// What they ask for. A directory for results must be there.
    pub fn request(&self) -> Result<HealthRequest> {
        if let Some(path) = self.health_log_destination.as_deref().filter(|place| place.starts_with('/'))
            && !Path::new(path).is_dir()
        {
            bail!("--health-log-destination {path}: there is no such directory");
        }
        let command = |text: &Option<String>| text.as_deref().map(parse_command).unwrap_or_default();
        Ok(HealthRequest {
            disabled: self.no_healthcheck,
            test: command(&self.health_cmd),
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
            retries: self.health_retries,
            on_failure: self.health_on_failure.clone(),
            startup: StartupRequest {
                test: command(&self.health_startup_cmd),
                interval: self.health_startup_interval,
                timeout: self.health_startup_timeout,
                retries: self.health_startup_retries,
                successes: self.health_startup_success,
            },
            log_destination: self.health_log_destination.clone(),
            log_count: self.health_max_log_count,
            log_size: self.health_max_log_size,
        })
    }
}
