//! Where a server is, as whoever wants to reach it writes it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::Address;

/// Somewhere to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    /// A name or an address, IPv6 without brackets, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// How a listener there is reached from this machine.
    ///
    /// # Errors
    /// The address is one that the server chooses when it starts.
    pub(in crate::cli) fn of(address: &Address) -> Result<Place, &'static str> {
        let (host, port) = match address {
            Address::Unix(path) => return Ok(Place::Unix(path.clone())),
            Address::Everywhere(port) => ("127.0.0.1".to_owned(), *port),
            // A wildcard is no place to connect to: this machine is.
            Address::Tcp(address) => match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => ("127.0.0.1".to_owned(), address.port()),
                IpAddr::V6(ip) if ip.is_unspecified() => ("::1".to_owned(), address.port()),
                ip => (ip.to_string(), address.port()),
            },
        };
        match port {
            0 => Err("port 0 is any free port: name the URL that the server printed when it started"),
            port => Ok(Place::Tcp(host, port)),
        }
    }

    /// What stands in the header Host.
    #[must_use]
    pub(in crate::cli) fn host(&self) -> String {
        match self {
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    /// Reads `http://host:port`, `host:port`, `unix:/path`, or what the server's listeners are written as.
    ///
    /// # Errors
    /// What is wrong with it.
    fn from_str(text: &str) -> Result<Place, String> {
        const ALLOWED: &str = "allowed: http://127.0.0.1:8082, http://push.internal:8082, unix:/run/shaveet.sock";
        if text.starts_with("https://") {
            return Err(format!("the API is spoken in plain, on the server's own address; {ALLOWED}"));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            if let Ok(address) = text.parse::<Address>() {
                return Place::of(&address).map_err(str::to_owned);
            }
            let named = text.rsplit_once(':').and_then(|(host, port)| named(host, port));
            return named.ok_or_else(|| format!("no place to connect to; {ALLOWED}"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let has_port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let (host, port) = has_port.unwrap_or((authority, "80"));
        named(host, port).ok_or_else(|| format!("no URL of a server, which is a host and a port; {ALLOWED}"))
    }
}

/// A host, IPv6 in brackets, and a port that can be connected to.
fn named(host: &str, port: &str) -> Option<Place> {
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match inside {
        Some(host) => host.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None => host.to_owned(),
    };
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (!host.is_empty() && (inside.is_some() || is_name)).then_some(Place::Tcp(host, port))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(..) => write!(f, "http://{}", self.host()),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for (text, shown) in [
            ("http://127.0.0.1:8082", "http://127.0.0.1:8082"),
            ("http://push.internal:8082/", "http://push.internal:8082"),
            ("http://push.internal", "http://push.internal:80"),
            ("http://[::1]:8082", "http://[::1]:8082"),
            ("http://[::1]", "http://[::1]:80"),
            ("localhost:8082", "http://localhost:8082"),
            ("[::1]:8082", "http://[::1]:8082"),
            ("8082", "http://127.0.0.1:8082"),
            ("0.0.0.0:8082", "http://127.0.0.1:8082"),
            ("[::]:8082", "http://[::1]:8082"),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
        ] {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_says_what_to_write() {
        for text in [
            "",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:x",
            "http://a:80/rpc",
            "http://a b",
            "http://a\r\nX: y",
            "http://u@a",
            "http://[::1",
            "https://push.example.org",
            "ftp://a",
            "/run/shaveet.sock",
            "localhost",
            "*:0",
            "unix:",
        ] {
            let error = text.parse::<Place>().expect_err(text);
            assert!(
                error.contains("http://127.0.0.1:8082") || error.contains("the URL that the server printed"),
                "{text}: {error}"
            );
        }
    }
}
