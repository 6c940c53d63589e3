//! Options of how long a container lives, and what follows.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cmd::Context;
use crate::spec::config::Lifetime;
use crate::spec::create::CreateRequest;
use crate::spec::restart::RestartPolicy;

/// As typed.
#[derive(clap::Args, Clone, Debug)]
pub struct RestartOptions {
    /// Write the pid of the container's first process to this file at each start
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Start these containers first; can be given several times
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',')]
    pub requires: Vec<String>,
    /// What follows the container's end (no, on-failure[:COUNT], always, unless-stopped)
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Kill the container after so many seconds; 0 lets it run
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
}

impl RestartOptions {
    /// Fills its fields of the request.
    pub fn fill(&self, request: &mut CreateRequest, context: &Context) -> Result<()> {
        request.restart = self.restart.as_deref().unwrap_or_default().parse::<RestartPolicy>()?;
        let mut requires = Vec::new();
        for name in &self.requires {
            requires.push(context.store()?.containers().resolve(name)?);
        }
        let absolute = |path: &PathBuf| std::path::absolute(path).context("use the PID file's name");
        request.lifetime = Lifetime {
            timeout: self.timeout.filter(|seconds| *seconds > 0),
            requires,
            pidfile: self.pidfile.as_ref().map(absolute).transpose()?,
        };
        Ok(())
    }
}
