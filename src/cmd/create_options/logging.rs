//! Options about the log.

use anyhow::{Result, bail};

use crate::cmd::launching::logging;
use crate::spec::log::LogConfig;

/// `--log-driver` and its options.
#[derive(clap::Args, Clone, Debug)]
pub struct LoggingOptions {
    /// Where the output is kept (json-file, k8s-file, local, journald, syslog, none, passthrough, passthrough-tty)
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Option of the log driver, as in max-size=10m, max-file=3, compress=true, tag={{.Name}}, labels=NAMES
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
}

impl LoggingOptions {
    /// What the container is to have, and what is wrong with it.
    pub fn request(&self, defaults: &LogConfig, tty: bool) -> Result<LogConfig> {
        let config = defaults.with_flags(self.log_driver.as_deref(), &self.log_opt)?;
        logging::check(&config)?;
        if config.driver.passes_through() && tty {
            bail!(
                "conflicting options: --log-driver {} passes on the streams there are, -t makes others",
                config.driver
            );
        }
        Ok(config)
    }
}
