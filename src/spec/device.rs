//! `--device` and `--gpus`: paths of the host, and names of devices that the Container Device
//! Interface describes (see [`super::cdi`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::printable;

/// Devices of a container, looked up anew at each start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    pub paths: Vec<DevicePath>,
    pub cdi: Vec<CdiName>,
    pub gpus: Vec<GpuRequest>,
    /// Where CDI specifications were looked for when the container was created.
    pub cdi_spec_dirs: Vec<PathBuf>,
}

/// A device of the host, or a directory of them, and where it appears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePath {
    pub host: PathBuf,
    /// Absolute.
    pub container: String,
    /// As typed, `rwm` by default; all that can be given is to read and write.
    pub permissions: String,
}

/// A qualified CDI name: `vendor/class=name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CdiName {
    /// `vendor/class`.
    pub kind: String,
    pub device: String,
}

/// A `--gpus` value, in the words of docker's API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRequest {
    pub driver: String,
    /// -1 is all.
    pub count: i64,
    pub device_ids: Vec<String>,
    pub capabilities: Vec<String>,
    pub options: BTreeMap<String, String>,
}

/// A `--device` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceFlag {
    Path(DevicePath),
    Cdi(CdiName),
}

/// Why a device can't be given as asked. docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidDevice {
    #[error("bad format for path: {0}")]
    Format(String),
    #[error("{0} is not an absolute path")]
    Relative(String),
    #[error("bad mode specified: {0}")]
    Mode(String),
    #[error(
        "--device {device}: the permissions {permissions:?} can't be enforced: only root can program the kernel's device \
         control, and without it a device is there to read and to write or not at all: use rw or rwm"
    )]
    Permissions { device: String, permissions: String },
    #[error("invalid CDI device name {0:?}: expected VENDOR/CLASS=NAME")]
    Cdi(String),
    #[error("invalid argument {0:?} for \"--gpus\" flag: {1}")]
    Gpus(String, String),
}

/// Parses a `--device` value: `HOST[:CONTAINER][:PERMISSIONS]` or a CDI name.
pub fn parse_device(text: &str) -> Result<DeviceFlag, InvalidDevice> {
    if !text.starts_with('/') && text.contains('/') && text.contains('=') {
        return text.parse().map(DeviceFlag::Cdi);
    }
    let fields: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match fields[..] {
        [host] => (host, host, "rwm"),
        [host, letters] if is_permissions(letters) => (host, host, letters),
        [host, container] => (host, container, "rwm"),
        [host, container, letters] if is_permissions(letters) => (host, container, letters),
        [_, _, letters] => return Err(InvalidDevice::Mode(printable(letters))),
        _ => return Err(InvalidDevice::Format(printable(text))),
    };
    if host.is_empty() || text.contains('\0') {
        return Err(InvalidDevice::Format(printable(text)));
    }
    for path in [host, container] {
        if !path.starts_with('/') {
            return Err(InvalidDevice::Relative(printable(path)));
        }
    }
    if container.split('/').any(|part| part == "..") || container.trim_matches('/').is_empty() {
        return Err(InvalidDevice::Format(printable(text)));
    }
    check_permissions(text, permissions)?;
    let (host, container) = (PathBuf::from(host), container.to_owned());
    Ok(DeviceFlag::Path(DevicePath { host, container, permissions: permissions.to_owned() }))
}

/// Each of the letters once at most.
fn is_permissions(text: &str) -> bool {
    let once = |letter: char| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter) && once(letter))
}

/// Refuses what would narrow the access, which a bind mount cannot.
pub fn check_permissions(device: &str, permissions: &str) -> Result<(), InvalidDevice> {
    if permissions.contains('r') && permissions.contains('w') {
        return Ok(());
    }
    Err(InvalidDevice::Permissions { device: printable(device), permissions: printable(permissions) })
}

impl CdiName {
    /// A device of this kind.
    pub fn new(kind: &str, device: &str) -> Self {
        Self { kind: kind.to_owned(), device: device.to_owned() }
    }
}

impl FromStr for CdiName {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || InvalidDevice::Cdi(printable(text));
        let (kind, device) = text.split_once('=').ok_or_else(refused)?;
        if is_kind(kind) && is_device(device) { Ok(Self::new(kind, device)) } else { Err(refused()) }
    }
}

impl TryFrom<String> for CdiName {
    type Error = InvalidDevice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CdiName> for String {
    fn from(name: CdiName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for CdiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// Whether a text is `vendor/class` (CDI specification, "Kind").
pub fn is_kind(text: &str) -> bool {
    let word = |text: &str, others: &[u8]| {
        let ends = |byte: Option<&u8>, first: fn(&u8) -> bool| byte.is_some_and(first);
        ends(text.as_bytes().first(), u8::is_ascii_alphabetic)
            && ends(text.as_bytes().last(), u8::is_ascii_alphanumeric)
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    text.split_once('/').is_some_and(|(vendor, class)| word(vendor, b"_-.") && word(class, b"_-"))
}

/// Whether a text may name a CDI device.
pub fn is_device(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(text.as_bytes().first())
        && ends(text.as_bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
}

/// Parses a `--gpus` value: fields separated by commas, where one in double quotes may hold commas.
pub fn parse_gpus(text: &str) -> Result<GpuRequest, InvalidDevice> {
    let refuse = |reason: String| InvalidDevice::Gpus(printable(text), reason);
    let mut request = GpuRequest { capabilities: vec!["gpu".to_owned()], ..GpuRequest::default() };
    let (mut seen, mut count) = (Vec::new(), None);
    let fields = csv(text).ok_or_else(|| refuse("a double quote is not closed".to_owned()))?;
    for field in &fields {
        let (key, value) = field.split_once('=').unwrap_or(("count", field));
        if seen.contains(&key) {
            return Err(refuse(format!("gpu request key '{}' can be specified only once", printable(key))));
        }
        seen.push(key);
        let list = || value.split(',').filter(|part| !part.is_empty()).map(str::to_owned);
        match key {
            "count" => count = Some(parse_count(value).map_err(refuse)?),
            "device" => request.device_ids = list().collect(),
            "driver" => request.driver = value.to_owned(),
            "capabilities" => request.capabilities = list().chain(["gpu".to_owned()]).collect(),
            "options" => {
                let pair = |part: String| part.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
                request.options = list().filter_map(pair).collect();
            }
            _ => return Err(refuse(format!("unexpected key '{}' in '{}'", printable(key), printable(field)))),
        }
    }
    if count.is_some() && !request.device_ids.is_empty() {
        return Err(refuse("cannot set both Count and DeviceIDs on device request".to_owned()));
    }
    request.count = count.unwrap_or(if request.device_ids.is_empty() { 1 } else { 0 });
    Ok(request)
}

fn parse_count(text: &str) -> Result<i64, String> {
    match text {
        "all" => Ok(-1),
        number => match number.parse::<u16>() {
            Ok(count) => Ok(count.into()),
            Err(_) => Err(format!("invalid count ({}): value must be either \"all\" or an integer", printable(number))),
        },
    }
}

/// Fields between commas, those in double quotes whole; None without a closing quote.
fn csv(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    (!quoted).then_some(fields)
}

impl GpuRequest {
    /// The CDI devices of this kind that it means; a count takes the first ones.
    pub fn names(&self, kind: &str) -> Vec<CdiName> {
        match self.count {
            -1 => vec![CdiName::new(kind, "all")],
            count if self.device_ids.is_empty() => {
                (0..count).map(|index| CdiName::new(kind, &index.to_string())).collect()
            }
            _ => self.device_ids.iter().map(|id| CdiName::new(kind, id)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(host: &str, container: &str, permissions: &str) -> DeviceFlag {
        DeviceFlag::Path(DevicePath { host: host.into(), container: container.into(), permissions: permissions.into() })
    }

    #[test]
    fn devices() {
        for (text, expected) in [
            ("/dev/fuse", path("/dev/fuse", "/dev/fuse", "rwm")),
            ("/dev/fuse:rw", path("/dev/fuse", "/dev/fuse", "rw")),
            ("/dev/fuse:/dev/x", path("/dev/fuse", "/dev/x", "rwm")),
            ("/dev/video0:/dev/video0:wr", path("/dev/video0", "/dev/video0", "wr")),
            ("vendor.com/class=name", DeviceFlag::Cdi(CdiName::new("vendor.com/class", "name"))),
            ("nvidia.com/gpu=GPU-1:2", DeviceFlag::Cdi(CdiName::new("nvidia.com/gpu", "GPU-1:2"))),
        ] {
            assert_eq!(parse_device(text), Ok(expected), "{text}");
        }
        for (text, reason) in [
            ("", "bad format for path: "),
            (":/x", "bad format for path: :/x"),
            ("/a:/b:rw:x", "bad format for path: /a:/b:rw:x"),
            ("/dev/fuse:foo", "foo is not an absolute path"),
            ("tmp", "tmp is not an absolute path"),
            ("/dev:/dev:ro", "bad mode specified: ro"),
            ("/dev:/dev:rr", "bad mode specified: rr"),
            ("/dev/fuse:/a/../b", "bad format for path: /dev/fuse:/a/../b"),
            ("vendor/class=", "invalid CDI device name \"vendor/class=\": expected VENDOR/CLASS=NAME"),
            ("1vendor/class=x", "invalid CDI device name \"1vendor/class=x\": expected VENDOR/CLASS=NAME"),
            ("vendor/cla.ss=x", "invalid CDI device name \"vendor/cla.ss=x\": expected VENDOR/CLASS=NAME"),
        ] {
            assert_eq!(parse_device(text).unwrap_err().to_string(), reason, "{text}");
        }
        for text in ["/dev/fuse:r", "/dev/fuse:/x:rm", "/dev/fuse:/x:w", "/dev/fuse:m"] {
            let error = parse_device(text).unwrap_err().to_string();
            assert!(error.contains("can't be enforced") && error.contains("use rw or rwm"), "{error}");
        }
    }

    #[test]
    fn gpus() {
        let names = |text: &str| -> Vec<String> {
            parse_gpus(text).unwrap().names("nvidia.com/gpu").iter().map(CdiName::to_string).collect()
        };
        assert_eq!(names("all"), ["nvidia.com/gpu=all"]);
        assert_eq!(names("2"), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
        assert_eq!(names("driver=nvidia"), ["nvidia.com/gpu=0"]);
        assert_eq!(names("\"device=0,2\""), ["nvidia.com/gpu=0", "nvidia.com/gpu=2"]);
        assert_eq!(names("device=GPU-abc,\"capabilities=utility,compute\""), ["nvidia.com/gpu=GPU-abc"]);
        assert_eq!(parse_gpus("all,\"capabilities=utility\"").unwrap().capabilities, ["utility", "gpu"]);
        for (text, reason) in [
            ("x", "invalid count (x): value must be either \"all\" or an integer"),
            ("-2", "invalid count (-2): value must be either \"all\" or an integer"),
            ("bogus=1", "unexpected key 'bogus' in 'bogus=1'"),
            ("1,count=2", "gpu request key 'count' can be specified only once"),
            ("all,device=0", "cannot set both Count and DeviceIDs on device request"),
        ] {
            let error = parse_gpus(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid argument {text:?} for \"--gpus\" flag: {reason}"));
        }
    }
}
