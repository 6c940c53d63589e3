//! Who the processes of a container are: the map of its user namespace, its accounts, groups and
//! umask (`--userns`, `--uidmap`, `--group-add`, `--passwd` and their like).
//!
//! Three kinds of ids meet here. *Host ids* are those outside of everything. *Ids of the user's
//! namespace* are what /etc/subuid grants, counted from the caller, who is 0; podman calls them
//! intermediate, and they are what is on disk. *Container ids* are what processes inside see.

mod accounts;
pub mod auto;
mod grammar;
mod map;
mod userns;

use serde::{Deserialize, Serialize};

use super::config::ContainerId;

pub use accounts::{Account, InvalidAccount, check_entry, parse_umask};
pub use grammar::{MapFlags, explicit_maps};
pub use map::{EXTENTS_MAX, Extent, InvalidMap, fit, inverse, is_shifted, look_up, spare};
pub use userns::{AutoOptions, InvalidUserns, KeepOptions, Userns, keep_id, no_map, parse_userns};

/// The uid and gid map of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maps {
    pub uids: Vec<Extent>,
    pub gids: Vec<Extent>,
}

impl Maps {
    /// Whether ids have other numbers inside than outside.
    pub fn is_shifted(&self) -> bool {
        is_shifted(&self.uids) || is_shifted(&self.gids)
    }
}

/// What was asked for about identity, with maps and accounts filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// `--userns` as typed, for inspect; `auto` maps are a lease.
    pub userns: String,
    /// The map from container ids to those of the user's namespace; None maps every id to itself.
    pub maps: Option<Maps>,
    /// The container whose user namespace is joined.
    pub joined: Option<ContainerId>,
    /// `--group-add`, as typed, but for `keep-groups`.
    pub groups: Vec<String>,
    /// `--group-add keep-groups`: the caller's supplementary groups stay.
    pub keep_groups: bool,
    /// Octal; None is 0022.
    pub umask: Option<u32>,
    pub domainname: String,
    /// The image's /etc/hostname stays.
    pub no_hostname: bool,
    /// What /etc/hosts begins with: a file of the host, `none`, or `image` for the image's own.
    pub hosts_file: Option<String>,
    /// Whether /etc/passwd and /etc/group gain an entry for the running user when they have none.
    pub passwd: bool,
    pub passwd_entry: Option<String>,
    pub group_entry: Option<String>,
    /// `--hostuser`: accounts of the host to be known inside.
    pub host_users: Vec<Account>,
    /// Who called, where that user has an id of its own inside (`keep-id`).
    pub caller: Option<Account>,
}

impl Identity {
    /// The map that layers must be shifted by, if they must.
    pub fn shift(&self) -> Option<&Maps> {
        self.maps.as_ref().filter(|maps| maps.is_shifted())
    }

    /// Whether its ids are leased to it alone.
    pub fn is_leased(&self) -> bool {
        self.userns == "auto" || self.userns.starts_with("auto:")
    }
}
