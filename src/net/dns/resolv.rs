//! The host's resolvers as resolv.conf(5) names them at this moment.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// How often the file's stamp is compared at most.
const EVERY: Duration = Duration::from_secs(1);
/// The part of the file that is read, in bytes.
const READ_LIMIT: u64 = 64 << 10;
/// The C library asks three; a few more do no harm.
const SERVERS: usize = 6;
/// Where servers listen.
const PORT: u16 = 53;

/// What of resolv.conf concerns a forwarder. The search list and `ndots` are the asking resolver's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Never empty.
    pub servers: Rc<[SocketAddr]>,
    /// `timeout:N`, if given.
    pub timeout: Option<Duration>,
    /// How often each server is asked.
    pub attempts: u32,
    /// Whether queries are spread over the servers.
    pub rotate: bool,
    /// Whether servers are asked by TCP only.
    pub use_vc: bool,
}

/// What tells one state of a file from another.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

/// A resolv.conf that is followed.
pub struct ResolvConf {
    path: PathBuf,
    stamp: Option<Stamp>,
    checked: Option<Instant>,
    settings: Settings,
}

impl ResolvConf {
    pub fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, checked: None, settings: parse("").0 }
    }

    /// What the file says now, or said a second ago at most. While it is not there or not readable, what it
    /// said last counts: editors and network managers replace it.
    pub fn current(&mut self, now: Instant) -> &Settings {
        if self.checked.is_none_or(|checked| now.saturating_duration_since(checked) >= EVERY) {
            self.checked = Some(now);
            self.refresh();
        }
        &self.settings
    }

    fn refresh(&mut self) {
        let Ok(metadata) = std::fs::metadata(&self.path) else { return };
        let stamp = Stamp::of(&metadata);
        if self.stamp.as_ref() == Some(&stamp) {
            return;
        }
        let Ok(text) = read(&self.path) else { return };
        let (settings, complete) = parse(&text);
        self.settings = settings;
        // A server behind an interface that is not there yet: look again.
        self.stamp = complete.then_some(stamp);
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.len(),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    // Without O_NONBLOCK a FIFO in its place would stop everything.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(READ_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a resolv.conf; false if a server's interface does not exist.
fn parse(text: &str) -> (Settings, bool) {
    let mut servers = Vec::new();
    let mut settings = Settings { servers: Rc::new([]), timeout: None, attempts: 2, rotate: false, use_vc: false };
    let mut complete = true;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") if servers.len() < SERVERS => match words.next().map(server) {
                Some(Some(server)) if !servers.contains(&server) => servers.push(server),
                Some(None) => complete = false,
                _ => {}
            },
            Some("options") => words.for_each(|option| settings.option(option)),
            _ => {}
        }
    }
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    settings.servers = servers.into();
    (settings, complete)
}

impl Settings {
    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match (name, value.parse::<u32>()) {
            ("timeout", Ok(seconds)) => self.timeout = Some(Duration::from_secs(seconds.clamp(1, 30).into())),
            ("attempts", Ok(attempts)) => self.attempts = attempts.clamp(1, 5),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.use_vc = true,
            _ => {}
        }
    }
}

/// The server that `word` names, with `%interface` behind a link-local address.
fn server(word: &str) -> Option<SocketAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some((address, PORT).into());
    }
    let (address, scope) = word.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = scope.parse().ok().or_else(|| interface(scope))?;
    Some(SocketAddrV6::new(address, PORT, 0, scope).into())
}

fn interface(name: &str) -> Option<u32> {
    let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    netdevice::name_to_index(socket, name).ok()
}

/// The servers a container asked for itself.
pub fn servers(addresses: &[IpAddr]) -> Option<Rc<[SocketAddr]>> {
    let usable = |address: &&IpAddr| !address.is_unspecified() && !address.is_multicast();
    let servers: Rc<[SocketAddr]> =
        addresses.iter().filter(usable).take(SERVERS).map(|address| SocketAddr::from((*address, PORT))).collect();
    (!servers.is_empty()).then_some(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        parse(text).0.servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_and_options_are_found() {
        let text = "# a comment\nsearch example.com\nnameserver 127.0.0.53\nnameserver\t2001:db8::1 # two\n\
                    nameserver fe80::1%lo\nnameserver nonsense\nnameserver 127.0.0.53\n\
                    options timeout:3 attempts:9 rotate\noptions use-vc ndots:2 trust-ad edns0\n";
        let (settings, complete) = parse(text);
        assert_eq!(addresses(text), ["127.0.0.53:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]);
        assert_eq!((settings.timeout, settings.attempts), (Some(Duration::from_secs(3)), 5));
        assert!(settings.rotate && settings.use_vc && !complete);
    }

    #[test]
    fn without_servers_the_local_one_is_asked() {
        assert_eq!(addresses("search example.com\n;nameserver 10.0.0.1\n"), ["127.0.0.1:53"]);
    }

    #[test]
    fn the_file_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let start = Instant::now();
        let mut followed = ResolvConf::new(path.clone());
        let at = |followed: &mut ResolvConf, seconds| {
            followed.current(start + Duration::from_secs(seconds)).servers[0].ip().to_string()
        };
        assert_eq!(at(&mut followed, 0), "127.0.0.1");
        std::fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(at(&mut followed, 0), "127.0.0.1", "looked at within this second");
        assert_eq!(at(&mut followed, 1), "10.0.0.1");
        std::fs::write(directory.path().join("new"), "nameserver 10.0.0.2\n").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(at(&mut followed, 2), "10.0.0.2");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(at(&mut followed, 3), "10.0.0.2");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(at(&mut followed, 4), "10.0.0.2");
    }
}
