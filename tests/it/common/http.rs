//! Small HTTP servers of the tests' own, which write down what they are told: a registry that says
//! what a test wants, and a token server that signs what docker-registry believes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// A request: its first line, headers and body as they came.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
}

impl Request {
    /// Method and path.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A running server; its thread ends with the test program.
pub struct Server {
    port: u16,
    log: Arc<Mutex<Vec<Request>>>,
}

/// Status, further header lines, body.
pub type Answer = (u16, String, String);

impl Server {
    /// Answers each request as `answer` says.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (answer, shared) = (Arc::new(answer), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { port, log }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Request> {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Everything that came, as text.
    pub fn traffic(&self) -> String {
        self.seen().iter().map(|request| format!("{}\n{}\n", request.head, request.body)).collect()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Answer) {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut request = Request { head, body: String::new() };
    let length: u64 = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let _ = reader.take(length).read_to_string(&mut request.body);
    log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(request.clone());
    let (status, headers, body) = answer(&request);
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} Test\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
}

/// What signs tokens: a key and a certificate made by openssl.
#[derive(Clone)]
pub struct Signer {
    directory: PathBuf,
}

impl Signer {
    /// Makes both in `directory`.
    pub fn new(directory: &Path) -> Self {
        let signer = Self { directory: directory.to_owned() };
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=token server"])
            .arg("-keyout")
            .arg(directory.join("token.key"))
            .arg("-out")
            .arg(signer.certificate())
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl").success());
        signer
    }

    /// What docker-registry is to believe.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("token.crt")
    }

    /// A token that gives all that `scope` (`repository:NAME:ACTIONS`) asks for, and that the registry
    /// takes for so many seconds. It allows for clocks that differ by a minute, so it is born old.
    pub fn token(&self, scope: Option<&str>, seconds: u64) -> String {
        const LEEWAY: u64 = 60;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let pem = super::read(self.certificate());
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let header = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{der}"]}}"#);
        let access = match scope.map(|scope| scope.split(':').collect::<Vec<_>>()) {
            Some(parts) if parts.len() == 3 => {
                let actions = parts[2].replace(',', "\",\"");
                format!(r#"{{"type":"{}","name":"{}","actions":["{actions}"]}}"#, parts[0], parts[1])
            }
            _ => String::new(),
        };
        let claims = format!(
            r#"{{"iss":"issuer","sub":"me","aud":"tests","exp":{},"nbf":{},"iat":{},"jti":"x","access":[{access}]}}"#,
            now + seconds - LEEWAY,
            now - 200,
            now - 200
        );
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        format!("{signed}.{}", base64url(&self.sign(signed.as_bytes())))
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-sign"]).arg(self.directory.join("token.key"));
        let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("openssl");
        openssl.stdin.take().expect("a pipe").write_all(text).expect("openssl reads");
        openssl.wait_with_output().expect("openssl").stdout
    }
}

/// Base64 for addresses, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for index in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    text
}
