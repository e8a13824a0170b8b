//! Who may ask: requests that name this server and come from its own page.
//!
//! A name that resolves to this machine is not enough (DNS rebinding): a page of another site can give itself one. So
//! the Host must be one that we know, and the Origin, which browsers send with every request that could do something,
//! must be that Host.

use super::error::Refusal;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use std::net::{IpAddr, SocketAddr};

/// The names under which a server may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    port: u16,
}

impl Hosts {
    pub(crate) fn new(address: SocketAddr, allowed: &[String]) -> Self {
        let mut names: Vec<String> = allowed.iter().map(|name| name.to_ascii_lowercase()).collect();
        let ip = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        if !address.ip().is_unspecified() {
            names.push(ip(address.ip()));
        }
        Hosts { names, port: address.port() }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let (name, port) = match host.rsplit_once(':') {
            // The colons of [::1] are not before a port.
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host.as_str(), "80"),
        };
        // As browsers write it: a number parser would take +7878 and 07878 too.
        port == self.port.to_string() && self.names.iter().any(|known| known == name)
    }

    /// Whether a request with these headers is from somebody who may ask.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(HeaderValue::to_str);
        let host = match text(header::HOST) {
            Some(Ok(host)) if self.knows(host) => host,
            Some(_) => {
                return Err(Refusal::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    "Host",
                    "is not a name of this server; 'retrograd serve --allow-host NAME' allows another",
                ));
            }
            None => return Err(Refusal::new(StatusCode::BAD_REQUEST, "Host", "is missing")),
        };
        let foreign = |what: &str| {
            Refusal::new(StatusCode::FORBIDDEN, what, "the request comes from another site than this server")
        };
        match text(header::ORIGIN) {
            None => {}
            Some(Ok(origin)) if origin.eq_ignore_ascii_case(&format!("http://{host}")) => {}
            Some(_) => return Err(foreign("Origin")),
        }
        match headers.get("sec-fetch-site").map(HeaderValue::to_str) {
            None | Some(Ok("same-origin" | "none")) => Ok(()),
            Some(_) => Err(foreign("Sec-Fetch-Site")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(pairs: &[(&'static str, &str)]) -> Option<u16> {
        let hosts = Hosts::new("127.0.0.1:7878".parse().unwrap(), &["My.Box".to_owned()]);
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        hosts.check(&headers).err().map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn only_this_servers_own_page_may_ask() {
        assert_eq!(asks(&[("host", "localhost:7878")]), None);
        assert_eq!(asks(&[("host", "LocalHost:7878")]), None);
        assert_eq!(asks(&[("host", "[::1]:7878"), ("origin", "http://[::1]:7878")]), None);
        assert_eq!(asks(&[("host", "my.box:7878")]), None);
        assert_eq!(asks(&[("host", "127.0.0.1:7878"), ("sec-fetch-site", "same-origin")]), None);
        for host in [
            "evil.example:7878",
            "localhost",
            "localhost:80",
            "localhost:07878",
            "127.0.0.1.evil.example:7878",
            "",
            "a:b:c",
        ] {
            assert_eq!(asks(&[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(asks(&[]), Some(400));
        let host = ("host", "127.0.0.1:7878");
        for origin in ["http://evil.example", "null", "https://127.0.0.1:7878", "http://localhost:7878"] {
            assert_eq!(asks(&[host, ("origin", origin)]), Some(403), "{origin}");
        }
        assert_eq!(asks(&[host, ("sec-fetch-site", "cross-site")]), Some(403));
        assert_eq!(asks(&[host, ("sec-fetch-site", "same-site")]), Some(403));
    }
}
