//! Just enough of D-Bus to ask systemd for something: one connection, one call at a time, blocking for no
//! longer than a while. (D-Bus specification: authentication protocol, message format.)

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{BE, LE, to_bytes};
use zbus::{DynamicType, Variant};

use crate::sandbox::idmap::IdMaps;

/// How long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages longer than this are nobody's answer to us.
const LENGTH_MAX: usize = 1 << 20;
/// The bytes that say how long a message is.
const FIXED: usize = 16;
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
/// Header fields.
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const SIGNATURE: u8 = 8;

/// Where a bus, or a service itself, listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    socket: Socket,
    /// No bus lies between: nobody is to be greeted there.
    direct: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Socket {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("not D-Bus: {0}")]
    Message(String),
    /// An answer that is an error, by its name.
    #[error("{text} ({name})")]
    Answer { name: String, text: String },
}

impl Address {
    /// Where this user's systemd may be asked, the best first.
    pub fn candidates() -> Vec<Self> {
        let direct = |path: PathBuf| Self { socket: Socket::Path(path), direct: true };
        if rustix::process::getuid().is_root() && rustix::process::geteuid().is_root() && is_initial_user() {
            let system = Self { socket: Socket::Path("/run/dbus/system_bus_socket".into()), direct: false };
            return vec![direct("/run/systemd/private".into()), system];
        }
        let given = std::env::var_os("DBUS_SESSION_BUS_ADDRESS");
        let mut all = given.map_or_else(Vec::new, |text| Self::parse(&text));
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|runtime| !runtime.is_empty());
        // As in a service or after su.
        let usual = || PathBuf::from(format!("/run/user/{}", outer_uid()));
        let runtime = runtime.map_or_else(usual, PathBuf::from);
        all.push(direct(runtime.join("systemd/private")));
        all.push(Self { socket: Socket::Path(runtime.join("bus")), direct: false });
        all
    }

    /// `unix:path=...` and `unix:abstract=...`, of a list with semicolons.
    fn parse(text: &OsStr) -> Vec<Self> {
        let transports = text.as_bytes().split(|&byte| byte == b';');
        let unix = transports.filter_map(|one| one.strip_prefix(b"unix:"));
        let socket = unix.filter_map(|options| {
            options.split(|&byte| byte == b',').find_map(|option| {
                if let Some(path) = option.strip_prefix(b"path=") {
                    return Some(Socket::Path(OsStr::from_bytes(&unescape(path)).into()));
                }
                option.strip_prefix(b"abstract=").map(|name| Socket::Abstract(unescape(name)))
            })
        });
        socket.map(|socket| Self { socket, direct: false }).collect()
    }

    /// Whether somebody listens there.
    pub fn answers(&self) -> bool {
        self.connect().is_ok()
    }

    fn connect(&self) -> io::Result<UnixStream> {
        match &self.socket {
            Socket::Path(path) => UnixStream::connect(path),
            Socket::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        }
    }
}

/// This user outside of the user namespace we may be in.
fn outer_uid() -> u32 {
    let uid = rustix::process::getuid().as_raw();
    IdMaps::of_self().ok().and_then(|maps| maps.outer_uid(uid)).unwrap_or(uid)
}

/// Whether user 0 here is the machine's.
fn is_initial_user() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_ascii_whitespace().nth(1) == Some("0"))
}

/// `%XX` in addresses.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%').then(|| tail.get(..2)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    bytes
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    socket: UnixStream,
    serial: u32,
}

impl Bus {
    /// Connects and says who we are, which the kernel vouches for.
    pub fn connect(address: &Address) -> Result<Self, BusError> {
        let socket = address.connect()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { socket, serial: 0 };
        // No name is claimed: in a user namespace ours is another than outside.
        bus.socket.write_all(b"\0AUTH EXTERNAL\r\n")?;
        loop {
            match bus.line()?.split(' ').next() {
                Some("DATA") => bus.socket.write_all(b"DATA\r\n")?,
                Some("OK") => break,
                _ => return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the bus does not accept us").into()),
            }
        }
        bus.socket.write_all(b"BEGIN\r\n")?;
        if !address.direct {
            bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", &())?;
        }
        Ok(bus)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.socket.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 4096 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method and waits for its end.
    pub fn call<B: Serialize + DynamicType>(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<(), BusError> {
        self.serial += 1;
        let fields = [(1, b'o', path), (2, b's', interface), (3, b's', method), (6, b's', destination)];
        self.socket.write_all(&encode(METHOD_CALL, self.serial, &fields, body)?)?;
        loop {
            let heard = self.receive()?;
            if heard.reply_to != Some(self.serial) {
                continue;
            }
            return match heard.kind {
                METHOD_RETURN => Ok(()),
                _ => Err(BusError::Answer { name: heard.error.unwrap_or_default(), text: heard.text }),
            };
        }
    }

    fn receive(&mut self) -> Result<Heard, BusError> {
        let mut bytes = vec![0; FIXED];
        self.socket.read_exact(&mut bytes)?;
        let rest = length(&bytes)?;
        bytes.resize(FIXED + rest, 0);
        self.socket.read_exact(&mut bytes[FIXED..])?;
        Heard::parse(bytes)
    }
}

/// A message: its kind, header fields (code, type, text), and body.
fn encode<B: Serialize + DynamicType>(
    kind: u8,
    serial: u32,
    fields: &[(u8, u8, &str)],
    body: &B,
) -> Result<Vec<u8>, BusError> {
    let wrong = |error: zbus::Error| BusError::Message(error.to_string());
    let signature = body.signature().to_string_no_parens();
    let body = to_bytes(Context::new(LE, 0), body).map_err(wrong)?;
    let mut header = Vec::new();
    let signed = [(SIGNATURE, b'g', signature.as_str())];
    let signed = signed.iter().filter(|(_, _, signature)| !signature.is_empty());
    for (code, of, text) in fields.iter().chain(signed) {
        header.resize(header.len().next_multiple_of(8), 0);
        header.extend_from_slice(&[*code, 1, *of, 0]);
        match of {
            b'g' => header.push(text.len() as u8),
            // The type before it makes it aligned.
            _ => header.extend_from_slice(&(text.len() as u32).to_le_bytes()),
        }
        header.extend_from_slice(text.as_bytes());
        header.push(0);
    }
    let mut message = vec![b'l', kind, 0, 1];
    for number in [body.bytes().len() as u32, serial, header.len() as u32] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.extend_from_slice(&header);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend_from_slice(body.bytes());
    Ok(message)
}

/// What is to be known of a message that came.
#[derive(Debug, Default)]
struct Heard {
    kind: u8,
    reply_to: Option<u32>,
    error: Option<String>,
    /// What an error says.
    text: String,
}

/// A number at a place of the fixed part.
fn number(bytes: &[u8], at: usize) -> Result<usize, BusError> {
    let four: [u8; 4] = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    let number = match bytes.first() {
        Some(b'l') => u32::from_le_bytes(four),
        Some(b'B') => u32::from_be_bytes(four),
        _ => return Err(BusError::Message("unknown byte order".to_owned())),
    };
    Ok(number as usize)
}

/// How many bytes follow the fixed part.
fn length(fixed: &[u8]) -> Result<usize, BusError> {
    let (body, fields) = (number(fixed, 4)?, number(fixed, 12)?);
    if body > LENGTH_MAX || fields > LENGTH_MAX {
        return Err(BusError::Message("too long".to_owned()));
    }
    Ok(fields.next_multiple_of(8) + body)
}

impl Heard {
    fn parse(bytes: Vec<u8>) -> Result<Self, BusError> {
        type Header<'a> = (u8, u8, u8, u8, u32, u32, Vec<(u8, Variant<'a>)>);
        let wrong = |error: zbus::Error| BusError::Message(error.to_string());
        let context = |at| if bytes[0] == b'B' { Context::new(BE, at) } else { Context::new(LE, at) };
        let fields = number(&bytes, 12)?;
        let head = Data::new(&bytes[..FIXED + fields], context(0));
        let (header, _): (Header<'_>, usize) = head.deserialize().map_err(wrong)?;
        let mut heard = Self { kind: header.1, ..Self::default() };
        for (field, value) in header.6 {
            match (field, value) {
                (REPLY_SERIAL, Variant::U32(serial)) => heard.reply_to = Some(serial),
                (ERROR_NAME, Variant::Str(name)) => heard.error = Some(name.to_string()),
                _ => {}
            }
        }
        let body = FIXED + fields.next_multiple_of(8);
        if heard.kind == ERROR && bytes.len() > body {
            let said = Data::new(&bytes[body..], context(body));
            heard.text = said.deserialize::<&str>().map(|(text, _)| text.to_owned()).unwrap_or_default();
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buses() {
        let parse = |text: &str| Address::parse(OsStr::new(text)).into_iter().map(|one| one.socket).collect::<Vec<_>>();
        assert_eq!(parse("unix:path=/run/user/1000/bus"), [Socket::Path("/run/user/1000/bus".into())]);
        assert_eq!(
            parse("tcp:host=x;unix:abstract=/tmp/a%20b,guid=1;unix:runtime=yes"),
            [Socket::Abstract(b"/tmp/a b".to_vec())]
        );
        assert_eq!(parse(""), []);
    }

    /// An answer of the other side, with one header field more.
    fn answer<B: Serialize + DynamicType>(kind: u8, fields: &[(u8, u8, &str)], body: &B) -> Vec<u8> {
        let mut message = encode(kind, 9, fields, body).unwrap();
        // The number that is answered goes before the other fields: eight bytes.
        let length = u32::from_le_bytes(message[12..16].try_into().unwrap()) + 8;
        message[12..16].copy_from_slice(&length.to_le_bytes());
        message.splice(16..16, [REPLY_SERIAL, 1, b'u', 0, 1, 0, 0, 0]);
        message
    }

    fn ask(answer: Vec<u8>) -> Result<(), BusError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&answer).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bus = Bus { socket: ours, serial: 0 };
        bus.call("a.b", "/a", "a.b", "B", &("x", vec![1u32]))
    }

    #[test]
    fn answers_are_told_apart() {
        let told = ask(answer(METHOD_RETURN, &[], &("/job",)));
        assert!(told.is_ok(), "{told:?}");
        let signal = encode(4, 3, &[(1, b'o', "/a"), (2, b's', "a.b"), (3, b's', "C")], &(7u32,)).unwrap();
        let error = answer(ERROR, &[(ERROR_NAME, b's', "a.b.No")], &("not so",));
        assert_eq!(ask([signal, error].concat()).unwrap_err().to_string(), "not so (a.b.No)");
        let bare = ask(answer(ERROR, &[(ERROR_NAME, b's', "a.b.No")], &()));
        assert_eq!(bare.unwrap_err().to_string(), " (a.b.No)");
        assert!(matches!(ask(b"HTTP/1.1 400 Bad Request".to_vec()), Err(BusError::Message(_))));
        let long = vec![b'l', 2, 0, 1, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(ask(long), Err(BusError::Message(_))));
        assert!(matches!(ask(Vec::new()), Err(BusError::Connection(_))));
    }

    #[test]
    fn a_call_is_encoded_as_the_specification_has_it() {
        let call = encode(METHOD_CALL, 2, &[(1, b'o', "/a")], &("xy", vec![("P", Variant::from(true))])).unwrap();
        let header = [b'l', 1, 0, 1, 32, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0];
        assert_eq!(call[..16], header);
        assert_eq!(&call[16..31], b"\x01\x01o\x00\x02\x00\x00\x00/a\x00\x00\x00\x00\x00");
        assert_eq!(&call[32..44], b"\x08\x01g\x00\x06sa(sv)\x00");
    }
}
