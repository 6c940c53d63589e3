//! Options about ids, users and groups.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

use crate::cmd::Context;
use crate::explain;
use crate::sandbox::userns;
use crate::spec::config::ContainerId;
use crate::spec::create::CreateRequest;
use crate::spec::identity::{
    self, Account, Identity, InvalidAccount, InvalidUserns, MapFlags, Maps, Userns, check_entry, parse_umask,
    parse_userns,
};
use crate::spec::names;
use crate::spec::text::printable;
use crate::sys::accounts;

/// In `--group-add`: the caller's supplementary groups.
const KEEP_GROUPS: &str = "keep-groups";

/// Options of `run` and `create` about identity, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct IdentityOptions {
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Map groups ([+ug]CONTAINER:[@]FROM[:COUNT]); alone, users too
    #[arg(long, value_name = "MAP")]
    pub gidmap: Vec<String>,
    /// Add a supplementary group; keep-groups keeps the caller's
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Line that /etc/group gains when the group is missing
    #[arg(long, value_name = "ENTRY")]
    pub group_entry: Option<String>,
    /// File that /etc/hosts begins with; none, or image for the image's own
    #[arg(long, value_name = "FILE", conflicts_with = "no_hosts")]
    pub hosts_file: Option<String>,
    /// Add an account of the host to /etc/passwd
    #[arg(long, value_name = "NAME")]
    pub hostuser: Vec<String>,
    /// Keep the image's /etc/hostname
    #[arg(long)]
    pub no_hostname: bool,
    /// Add the user to /etc/passwd and /etc/group when missing, as --userns keep-id does by default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cmd::go_bool)]
    pub passwd: Option<bool>,
    /// Line that /etc/passwd gains when the user is missing
    #[arg(long, value_name = "ENTRY")]
    pub passwd_entry: Option<String>,
    /// Map the ids that /etc/subgid grants this name
    #[arg(long, value_name = "NAME")]
    pub subgidname: Option<String>,
    /// Map the ids that /etc/subuid grants this name
    #[arg(long, value_name = "NAME")]
    pub subuidname: Option<String>,
    /// Map users ([+ug]CONTAINER:[@]FROM[:COUNT]); alone, groups too
    #[arg(long, value_name = "MAP")]
    pub uidmap: Vec<String>,
    /// File mode mask of the process, 0022 by default
    #[arg(long, value_name = "MASK")]
    pub umask: Option<String>,
    /// User and group to run as
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub user: Option<String>,
    /// User namespace to use (host, keep-id, auto, nomap, container:NAME)
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
}

impl IdentityOptions {
    /// Says in `request` who the processes are.
    pub fn fill(
        &self,
        request: &mut CreateRequest,
        context: &Context,
        find: &mut dyn FnMut(&str) -> Result<ContainerId, String>,
    ) -> Result<()> {
        let typed = self.userns.as_deref().unwrap_or_default();
        request.user = self.user.clone();
        request.identity = Identity {
            userns: typed.to_owned(),
            keep_groups: self.keep_groups()?,
            groups: self.group_add.iter().filter(|group| *group != KEEP_GROUPS).cloned().collect(),
            umask: self.umask.as_deref().map(parse_umask).transpose()?,
            domainname: self.domain()?,
            no_hostname: self.no_hostname,
            hosts_file: self.hosts_file.as_deref().map(hosts_file).transpose()?,
            passwd: self.passwd.unwrap_or_else(|| self.wants_accounts()),
            passwd_entry: checked("--passwd-entry", self.passwd_entry.as_ref())?,
            group_entry: checked("--group-entry", self.group_entry.as_ref())?,
            host_users: self.hostuser.iter().map(|name| host_user(name)).collect::<Result<_, _>>()?,
            ..Identity::default()
        };
        let userns = parse_userns(typed, find)?;
        let flags = self.map_flags()?;
        if flags.any() {
            if self.userns.is_some() {
                return Err(InvalidUserns::Conflict.into());
            }
            request.identity.maps = Some(map(context, |outer| identity::explicit_maps(&flags, outer))?);
        }
        fill_map(request, context, userns)
    }

    /// docker leaves an image's account files alone. The caller's own id comes with a name, as podman's does.
    fn wants_accounts(&self) -> bool {
        let entries = self.passwd_entry.is_some() || self.group_entry.is_some() || !self.hostuser.is_empty();
        entries || self.userns.as_deref().is_some_and(|mode| mode == "keep-id" || mode.starts_with("keep-id:"))
    }

    fn keep_groups(&self) -> Result<bool, InvalidAccount> {
        let keep = self.group_add.iter().any(|group| group == KEEP_GROUPS);
        if keep && self.group_add.len() > 1 { Err(InvalidAccount::KeepGroups) } else { Ok(keep) }
    }

    fn domain(&self) -> Result<String, InvalidAccount> {
        let name = self.domainname.clone().unwrap_or_default();
        // The kernel takes 64 bytes.
        match name.is_empty() || name.len() <= 64 && names::host_name(&name).is_ok() {
            true => Ok(name),
            false => Err(InvalidAccount::Domain(printable(&name))),
        }
    }

    fn map_flags(&self) -> Result<MapFlags> {
        Ok(MapFlags {
            uids: self.uidmap.clone(),
            gids: self.gidmap.clone(),
            subuids: self.subuidname.as_deref().map(|name| ranges("/etc/subuid", name)).transpose()?,
            subgids: self.subgidname.as_deref().map(|name| ranges("/etc/subgid", name)).transpose()?,
        })
    }
}

/// A file of the host is read at each start, from wherever that is.
fn hosts_file(text: &str) -> Result<String> {
    if matches!(text, "none" | "image") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text)?;
    std::fs::metadata(&path).with_context(|| format!("use the hosts file {}", printable(text)))?;
    path.into_os_string().into_string().map_err(|_| anyhow!("the hosts file's name is not text"))
}

/// The ids that a file grants to a name: (first, count).
fn ranges(file: &str, name: &str) -> Result<Vec<(u32, u32)>> {
    let pair = |grant: accounts::Grant| Some((u32::try_from(grant.start).ok()?, u32::try_from(grant.count).ok()?));
    let grants = accounts::grants(Path::new(file)).into_iter();
    let ranges: Vec<_> = grants.filter(|grant| grant.owner == name).filter_map(pair).collect();
    if ranges.is_empty() {
        return Err(anyhow!("no ranges of {:?} are in {file}", printable(name)));
    }
    Ok(ranges)
}

fn checked(flag: &'static str, entry: Option<&String>) -> Result<Option<String>, InvalidAccount> {
    entry.map(|entry| check_entry(flag, entry).map(|()| entry.clone())).transpose()
}

/// The map of a mode; that of `auto` is leased when everything else is known.
fn fill_map(request: &mut CreateRequest, context: &Context, userns: Userns) -> Result<()> {
    match userns {
        Userns::Private => {}
        Userns::Host => request.userns_host = true,
        Userns::Auto(options) => request.auto = Some(options),
        Userns::NoMap => request.identity.maps = Some(map(context, identity::no_map)?),
        Userns::KeepId(options) => {
            let caller = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            let mut own = (0, 0);
            let maps = map(context, |outer| {
                let (maps, inside) = identity::keep_id(options, caller, outer)?;
                own = inside;
                Ok(maps)
            })?;
            request.identity.caller = Some(Account { uid: own.0, gid: own.1, ..caller_account(caller) });
            request.identity.maps = Some(maps);
        }
        Userns::Container(id) => {
            let donor = context.store()?.containers().get(&id)?;
            request.userns_host = donor.config.userns_host;
            request.identity.maps = donor.config.identity.maps.clone();
            request.identity.userns = format!("container:{id}");
            request.identity.joined = Some(id).filter(|_| !request.userns_host);
        }
    }
    Ok(())
}

/// A map below that of the user's namespace.
fn map(context: &Context, make: impl FnOnce(&Maps) -> Result<Maps, InvalidUserns>) -> Result<Maps> {
    make(&userns::maps(context.store()?)?).map_err(explained)
}

/// Says how to get more ids, where they are what is missing.
pub fn explained(error: InvalidUserns) -> anyhow::Error {
    let cause = error.lacks_ids().then(explain::subordinate::more);
    anyhow!(explain::with_cause(error, cause))
}

fn host_user(text: &str) -> Result<Account, InvalidAccount> {
    accounts::find(text).map(account).ok_or_else(|| InvalidAccount::HostUser(printable(text)))
}

fn account(found: accounts::Entry) -> Account {
    let group = group_name(found.gid);
    Account { name: found.name, uid: found.uid, gid: found.gid, comment: found.comment, home: found.home, group }
}

fn group_name(gid: u32) -> String {
    accounts::group_name(gid).unwrap_or_else(|| gid.to_string())
}

/// Somebody who is in no file of this machine is known by number.
fn caller_account((uid, gid): (u32, u32)) -> Account {
    let unknown = || accounts::Entry { name: uid.to_string(), uid, gid, comment: String::new(), home: String::new() };
    Account { group: group_name(gid), ..account(accounts::find(&uid.to_string()).unwrap_or_else(unknown)) }
}
