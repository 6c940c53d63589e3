//! Volumes of a container that is to be made: what can be known to be wrong before, and what other containers have.

use anyhow::{Result, anyhow, bail};

use crate::cmd::Context;
use crate::cmd::format::text;
use crate::spec::create::CreateRequest;
use crate::spec::mount::{MountKind, VolumeUse, parse_volumes_from};
use crate::spec::volume::{self, NewVolume};
use crate::store::Store;
use crate::store::volumes::LookupError;

/// Takes in the mounts of other containers, and checks the volumes that are asked for.
pub fn complete(context: &Context, request: &mut CreateRequest) -> Result<()> {
    let store = context.store()?;
    for text in &request.storage.volumes_from {
        let from = parse_volumes_from(text)?;
        let donor = store.containers().find(&from.container)?;
        request.inherited.extend(from.mounts(&donor.config.mounts));
    }
    let default = request.storage.volume_driver.clone();
    for mount in &mut request.mounts {
        if let MountKind::Volume(volume) = &mut mount.kind {
            volume.driver = volume.driver.take().or_else(|| default.clone());
            check(store, volume)?;
        }
    }
    volume::check_driver(default.as_deref().unwrap_or_default())?;
    Ok(())
}

fn check(store: &Store, volume: &VolumeUse) -> Result<()> {
    volume::check_driver(volume.driver.as_deref().unwrap_or_default())?;
    let new = NewVolume {
        options: volume.driver_options.clone(),
        ..NewVolume::named(volume.name.as_deref().unwrap_or("new"))
    };
    new.check()?;
    let Some(name) = &volume.name else { return Ok(()) };
    match store.volumes().get(name) {
        Ok(there) if new.options.is_empty() || new.options == there.options => Ok(()),
        Ok(_) => Err(anyhow!(crate::store::volumes::CreateError::Conflict(name.clone()))),
        // podman's words.
        Err(LookupError::NotFound(name)) if volume.nocreate => {
            bail!("creating named volume {}: volume must already exist, as nocreate says", text::clean_line(&name))
        }
        Err(LookupError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
