//! A server of the command, and a client that says exactly what it is told to.

use super::harness::command;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

/// A server that ends with the test.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    pub fn start(model: &str) -> Server {
        let mut child = command(&["serve", "--model", model, "--port", "0", "--max-tokens", "32"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
        let port = port.and_then(|port| port.parse().ok());
        Server { port: port.unwrap_or_else(|| panic!("'{line}' has no port")), child }
    }

    /// Sends bytes, returns status and body.
    pub fn send(&self, request: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        // A server that refuses a body without reading it may reset the connection after its answer.
        let mut piece = [0; 65536];
        while let Ok(count) = stream.read(&mut piece) {
            if count == 0 {
                break;
            }
            answer.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: 127.0.0.1:{}\r\n", self.port)
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    pub fn run(&self, body: &str) -> (u16, String) {
        self.request("POST", "/api/run", "Content-Type: application/json\r\n", body.as_bytes())
    }

    /// Resident memory in KiB, where the system says.
    pub fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a chunked body that are events.
pub fn events(body: &str) -> Vec<serde_json::Value> {
    body.lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
