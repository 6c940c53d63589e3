//! A TCP proxy before the registry that slows the line, cuts it, and writes down what was asked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running proxy; its thread ends with the test program.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes a second towards the client, for each connection; 0 for no limit.
    rate: AtomicU64,
    /// Connections are closed without an answer.
    closed: AtomicBool,
    /// Bytes that went to clients.
    sent: AtomicU64,
    /// Bytes that came from clients.
    received: AtomicU64,
    /// The connection over which the clients' bytes reach this number is cut, once; 0 for never.
    cut_at: AtomicU64,
    requests: Mutex<Vec<String>>,
}

impl Proxy {
    /// Starts one before `port` of this machine.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let own = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(client, port, &shared));
            }
        });
        Self { port: own, shared }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Limits each connection to so many bytes a second; 0 lifts the limit.
    pub fn limit(&self, bytes_a_second: u64) {
        self.shared.rate.store(bytes_a_second, Ordering::Relaxed);
    }

    /// Refuses or accepts further connections.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::Relaxed);
    }

    /// Bytes sent to clients so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Bytes received from clients so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Cuts one connection when clients have sent so many bytes in all.
    pub fn cut_upstream_after(&self, bytes: u64) {
        self.shared.cut_at.store(bytes, Ordering::Relaxed);
    }

    /// Requests so far and forgets them: the request line, and the Range header if there was one.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().expect("no panic while held"))
    }
}

fn serve(client: TcpStream, port: u16, shared: &Arc<Shared>) {
    if shared.closed.load(Ordering::Relaxed) {
        let _ = client.shutdown(Shutdown::Both);
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let for_thread = Arc::clone(shared);
    std::thread::spawn(move || upstream(from_client, to_server, &for_thread));
    downstream(server, client, shared);
}

/// Every blank line ends a request; what is in bodies is written down as one now and then.
fn upstream(mut client: TcpStream, mut server: TcpStream, shared: &Shared) {
    let (mut buffer, mut text) = ([0; 16384], String::new());
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        while let Some(end) = text.find("\r\n\r\n") {
            let head: String = text.drain(..end + 4).collect();
            let range = head.lines().find(|line| line.to_ascii_lowercase().starts_with("range:"));
            let request = [head.lines().next().unwrap_or_default(), range.unwrap_or_default()].join(" ");
            shared.requests.lock().expect("no panic while held").push(request.trim().to_owned());
        }
        if text.len() > 64 << 10 {
            text.clear();
        }
        if server.write_all(&buffer[..count]).is_err() {
            break;
        }
        let received = shared.received.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        let cut_at = shared.cut_at.load(Ordering::Relaxed);
        if cut_at != 0 && received >= cut_at {
            shared.cut_at.store(0, Ordering::Relaxed);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

fn downstream(mut server: TcpStream, mut client: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16384];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let rate = shared.rate.load(Ordering::Relaxed);
        if let Some(pause) = (count as u64 * 1_000_000).checked_div(rate) {
            std::thread::sleep(Duration::from_micros(pause));
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
        shared.sent.fetch_add(count as u64, Ordering::Relaxed);
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
