//! A mount as the value of `--mount`.

use std::fmt;

use super::{Devpts, Mount, MountKind, OverlayDirs, Propagation, Recursion, Sharing, Tmpfs, VolumeUse, csv};

/// Prints the value that parses to this mount.
pub(super) fn as_mount(mount: &Mount, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut fields = match &mount.kind {
        MountKind::Bind(bind) => vec!["type=bind".to_owned(), format!("source={}", bind.source.display())],
        MountKind::Tmpfs(_) => vec!["type=tmpfs".to_owned()],
        MountKind::Volume(volume) => {
            let mut fields = vec!["type=volume".to_owned()];
            let name = volume.name.as_ref().filter(|_| !volume.anonymous);
            fields.extend(name.map(|name| format!("source={name}")));
            fields
        }
        MountKind::Image(image) => vec!["type=image".to_owned(), format!("source={}", image.reference)],
        MountKind::Devpts(_) => vec!["type=devpts".to_owned()],
    };
    fields.push(format!("target={}", mount.target));
    let usual = matches!(mount.kind, MountKind::Image(_));
    fields.extend((mount.read_only != usual).then(|| if usual { "rw" } else { "readonly" }.to_owned()));
    match &mount.kind {
        MountKind::Bind(bind) => {
            print_sharing(&bind.sharing, &mut fields);
            fields.extend(bind.create_source.then(|| "bind-create-src".to_owned()));
        }
        MountKind::Tmpfs(tmpfs) => print_tmpfs(tmpfs, &mut fields),
        MountKind::Volume(volume) => print_volume(volume, &mut fields),
        MountKind::Image(image) => fields.extend(image.subpath.iter().map(|path| format!("image-subpath={path}"))),
        MountKind::Devpts(devpts) => print_devpts(devpts, &mut fields),
    }
    let quoted: Vec<String> = fields.iter().map(|field| csv::quote(field)).collect();
    f.write_str(&quoted.join(","))
}

fn print_sharing(sharing: &Sharing, fields: &mut Vec<String>) {
    let strict = sharing.recursion == Recursion::Readonly;
    if strict || sharing.propagation != Propagation::default() {
        // `bind-propagation` is for binds only, the bare word for volumes too.
        let word = sharing.propagation.as_str();
        fields.push(if strict { format!("bind-propagation={word}") } else { word.to_owned() });
    }
    let word = match sharing.recursion {
        Recursion::Enabled => None,
        Recursion::Disabled => Some("disabled"),
        Recursion::Writable => Some("writable"),
        Recursion::Readonly => Some("readonly"),
    };
    fields.extend(word.map(|word| format!("bind-recursive={word}")));
    fields.extend(sharing.relabel.map(|letter| letter.to_string()));
    fields.extend(sharing.restrictions.iter().map(|restriction| restriction.as_str().to_owned()));
    fields.extend(sharing.chown.then(|| "chown".to_owned()));
    fields.extend(sharing.idmap.as_ref().map(ToString::to_string));
    if let Some(OverlayDirs { upper, work }) = &sharing.overlay {
        fields.push("O".to_owned());
        fields.extend(upper.as_ref().map(|path| format!("upperdir={}", path.display())));
        fields.extend(work.as_ref().map(|path| format!("workdir={}", path.display())));
    }
}

fn print_tmpfs(tmpfs: &Tmpfs, fields: &mut Vec<String>) {
    let words = [
        (tmpfs.exec, "exec"),
        (tmpfs.suid, "suid"),
        (tmpfs.dev, "dev"),
        (tmpfs.noatime, "noatime"),
        (tmpfs.chown, "chown"),
        (tmpfs.copy_up, "tmpcopyup"),
    ];
    fields.extend(words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()));
    fields.extend(tmpfs.parameters.iter().map(|(name, value)| match name.as_str() {
        "uid" | "gid" => format!("{name}={value}"),
        name => format!("tmpfs-{name}={value}"),
    }));
}

fn print_volume(volume: &VolumeUse, fields: &mut Vec<String>) {
    print_sharing(&volume.sharing, fields);
    fields.extend(volume.nocopy.then(|| "volume-nocopy".to_owned()));
    fields.extend(volume.nocreate.then(|| "nocreate".to_owned()));
    fields.extend(volume.subpath.iter().map(|path| format!("volume-subpath={path}")));
    fields.extend(volume.driver.iter().map(|driver| format!("volume-driver={driver}")));
    fields.extend(volume.driver_options.iter().map(|(name, value)| format!("volume-opt={name}={value}")));
    fields.extend(volume.labels.iter().map(|(name, value)| format!("volume-label={name}={value}")));
}

fn print_devpts(devpts: &Devpts, fields: &mut Vec<String>) {
    let numbers = [("uid", devpts.uid), ("gid", devpts.gid), ("max", devpts.max)];
    fields.extend(numbers.into_iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}"))));
    fields.extend(devpts.mode.iter().map(|mode| format!("mode={mode}")));
}
