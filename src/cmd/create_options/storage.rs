//! Options of `run` and `create` about mounts and volumes.

use anyhow::{Context as _, Result, bail};

use crate::spec::create::CreateRequest;
use crate::spec::mount::{ImageVolumes, Mount, parse_mount, parse_tmpfs, parse_volume};

/// As typed.
#[derive(clap::Args, Clone, Debug)]
pub struct StorageOptions {
    /// Show the container's own /etc/hosts, /etc/hostname and /etc/resolv.conf in this directory too
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub chrootdirs: Vec<String>,
    /// What to mount for the image's volumes (anonymous, bind: the same, tmpfs, ignore)
    #[arg(long, value_name = "WHAT")]
    pub image_volume: Option<String>,
    /// Attach a filesystem mount (type=bind, volume, tmpfs, image or devpts; source=SOURCE,target=PATH,...)
    #[arg(long, value_name = "SPEC")]
    pub mount: Vec<String>,
    /// Mount the container's root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// With --read-only, mount a writable tmpfs on /run, /tmp and /var/tmp
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cmd::go_bool)]
    pub read_only_tmpfs: Option<bool>,
    /// Option of the storage; size=BYTES is refused, as only root can limit a writable layer
    #[arg(long, value_name = "KEY=VALUE")]
    pub storage_opt: Vec<String>,
    /// Mount a tmpfs (PATH[:OPTIONS])
    #[arg(long, value_name = "PATH")]
    pub tmpfs: Vec<String>,
    /// Mount a directory, a file or a volume; without a source, a new anonymous volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    pub volume: Vec<String>,
    /// Driver of volumes that are made for this container (local)
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Mount what another container has mounted, volumes and directories, perhaps read-only
    #[arg(long, value_name = "CONTAINER[:ro|rw]")]
    pub volumes_from: Vec<String>,
}

impl StorageOptions {
    /// Fills in the fields of these options.
    pub fn fill(&self, request: &mut CreateRequest) -> Result<()> {
        self.check_storage_options()?;
        request.read_only = self.read_only;
        request.mounts = self.mounts()?;
        request.storage.read_only_tmpfs = self.read_only_tmpfs.unwrap_or(false);
        request.storage.image_volumes = self.image_volumes()?;
        request.storage.volume_driver = self.volume_driver.clone();
        request.storage.volumes_from = self.volumes_from.clone();
        request.storage.chroot_dirs = self.chrootdirs.clone();
        Ok(())
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let cwd = std::env::current_dir().context("find the working directory")?;
        let mut mounts = Vec::new();
        for text in &self.volume {
            mounts.push(parse_volume(text, &cwd)?);
        }
        for text in &self.mount {
            mounts.push(parse_mount(text, &cwd)?);
        }
        for text in &self.tmpfs {
            mounts.push(parse_tmpfs(text)?);
        }
        Ok(mounts)
    }

    fn image_volumes(&self) -> Result<ImageVolumes> {
        self.image_volume.as_deref().map_or(Ok(ImageVolumes::default()), |text| Ok(text.parse()?))
    }

    /// docker's words where it has them.
    fn check_storage_options(&self) -> Result<()> {
        match self.storage_opt.first().map(|option| option.split_once('=').map_or(&option[..], |(key, _)| key)) {
            None => Ok(()),
            Some("size") => bail!(
                "--storage-opt size is supported only for overlay over xfs with 'pquota' mount option, where only root \
                 can set a quota: use --tmpfs PATH:size=BYTES or a volume with a limit for what may grow"
            ),
            Some(other) => bail!("unknown option for overlay: {other}"),
        }
    }
}
