//! The platform that a command is about: docker's one word, podman's several.

use anyhow::{Result, bail};

use super::Context;
use super::format::text::clean_line;
use crate::spec::platform::Platform;
use crate::store::images::Image;

/// Which image to choose where there are several.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PlatformOptions {
    /// Processor to choose where there are several, as in arm64
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Operating system to choose where there are several
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Platform to choose where there are several, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH", env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platform: Option<Platform>,
    /// Variant of the processor to choose, as in v7
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

impl PlatformOptions {
    /// The platform asked for, in one word or in several.
    pub fn wanted(&self) -> Result<Option<Platform>> {
        if self.arch.is_none() && self.os.is_none() && self.variant.is_none() {
            return Ok(self.platform.clone());
        }
        // A default from the environment gives way.
        if std::env::var_os("DOCKER_DEFAULT_PLATFORM").is_none() && self.platform.is_some() {
            bail!("conflicting options: --platform with --arch, --os or --variant");
        }
        let host = Platform::host();
        let (os, arch) = (self.os.as_ref().unwrap_or(&host.os), self.arch.as_ref().unwrap_or(&host.architecture));
        Ok(Some(Platform::from_parts(os, arch, self.variant.as_deref())))
    }
}

/// Refuses an image, typed as `text`, that is for none of the platforms, in docker's words. No
/// platforms are any.
pub fn check(context: &Context, text: &str, image: &Image, platforms: &[Platform]) -> Result<()> {
    if platforms.is_empty() {
        return Ok(());
    }
    let own = context.store()?.images().config(image.id)?.platform();
    if platforms.iter().any(|wanted| own.satisfies(wanted)) {
        return Ok(());
    }
    let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let (text, wanted) = (clean_line(text), wanted.join(", "));
    bail!("image with reference {text} was found but does not provide the specified platform ({wanted})")
}
