//! What push and the other ways to a registry have in common.

use anyhow::{Result, bail};

use crate::cmd::format::text::warn;
use crate::cmd::registry_options::{RegistryOptions, RetryOptions};
use crate::cmd::{Context, go_bool};
use crate::spec::reference::ImageRef;
use crate::store::compress::Codec;
use crate::store::pull::PullOptions;
use crate::store::push::{Format, PushAccess, PushOptions};

/// How an image is sent.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TransferOptions {
    /// Compress layers so: gzip, zstd, or zstd:chunked, which is done as zstd
    #[arg(long, value_name = "COMPRESSION", value_enum)]
    compression_format: Option<Compression>,
    /// How hard to compress: 1 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    compression_level: Option<i64>,
    /// Compress anew what is compressed in another way; the default with --compression-format
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    force_compression: Option<bool>,
    /// Kind of manifest: oci or v2s2; by default the image's own
    #[arg(short, long, value_name = "KIND", value_enum)]
    format: Option<Kind>,
    #[command(flatten)]
    retry: RetryOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// Kinds of manifests.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Oci,
    V2s1,
    V2s2,
}

/// Kinds of compression.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    #[value(name = "zstd:chunked")]
    ZstdChunked,
}

impl Kind {
    /// The kind of a manifest that can be written.
    pub fn format(self) -> Result<Format> {
        match self {
            Self::Oci => Ok(Format::Oci),
            Self::V2s2 => Ok(Format::V2s2),
            Self::V2s1 => bail!("manifests of schema 1 are obsolete and not written: use --format v2s2 or oci"),
        }
    }
}

impl TransferOptions {
    /// Puts flags and configuration together, for pushing to `registry`.
    pub fn options(&self, context: &Context, registry: &str) -> Result<PushOptions> {
        let mut codec = self.compression_format.map(|format| match format {
            Compression::Gzip => Codec::GZIP,
            Compression::Zstd | Compression::ZstdChunked => Codec::ZSTD,
        });
        if let Some(level) = self.compression_level {
            codec = Some(codec.unwrap_or(Codec::GZIP).with_level(level)?);
        }
        let force = self.force_compression.unwrap_or(self.compression_format.is_some());
        Ok(PushOptions {
            access: access(&self.registry, context, registry)?,
            // Without a format, forcing means what would be used anyway.
            codec: codec.or(force.then_some(Codec::GZIP)),
            force,
            format: self.format.map(Kind::format).transpose()?,
            patience: self.retry.patience(),
        })
    }

    /// How to fetch what is missing here, when pushing to `to`, from where it came.
    pub fn source(&self, context: &Context, from: &ImageRef, to: &ImageRef) -> Result<PullOptions> {
        source(&self.registry, &self.retry, context, from, to)
    }

    /// Says what is done in another way than asked for.
    pub fn remark(&self) -> Result<()> {
        if self.compression_format == Some(Compression::ZstdChunked) {
            warn("zstd:chunked is written as plain zstd: every reader takes it, none can fetch parts of it");
        }
        Ok(())
    }
}

/// How to fetch from the registry of `from` what is missing here, when pushing to `to` by these flags.
pub fn source(
    options: &RegistryOptions,
    retry: &RetryOptions,
    context: &Context,
    from: &ImageRef,
    to: &ImageRef,
) -> Result<PullOptions> {
    // The flags are about one registry.
    let other = RegistryOptions { authfile: options.authfile.clone(), ..RegistryOptions::default() };
    let options = if from.domain() == to.domain() { options } else { &other };
    options.pull_options(context, from, retry)
}

/// How registries are reached by a command that pushes to `registry` and may read from others.
pub fn access(options: &RegistryOptions, context: &Context, registry: &str) -> Result<PushAccess> {
    Ok(PushAccess {
        tls_verify: options.tls_verify,
        cert_dir: options.cert_dir.clone(),
        registries: context.registries()?,
        keyring: Some(options.keyring(registry)?),
    })
}
