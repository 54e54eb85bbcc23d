//! Where to listen, as it is written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Somewhere to listen. Port 0 means any free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// This port on all interfaces, IPv4 and IPv6: `8082` or `*:8082`.
    Everywhere(u16),
    /// One TCP address: `127.0.0.1:8082` or `[::1]:8082`.
    Tcp(SocketAddr),
    /// A Unix socket at this path: `unix:/run/shaveet.sock`.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = AddressError;

    /// # Errors
    ///
    /// What is wrong and what to write in its place. Names such as `localhost` are not looked up: they can mean several
    /// addresses, and a server that starts before its resolver would listen on none.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(AddressError::NoPath),
                path => Ok(Address::Unix(path.into())),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Tcp(address));
        }
        let port = text.strip_prefix("*:").unwrap_or(text);
        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            return port.parse().map(Address::Everywhere).map_err(|_| AddressError::PortRange);
        }
        Err(AddressError::of(text))
    }
}

impl fmt::Display for Address {
    /// As it was written; [`FromStr`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Everywhere(port) => write!(f, "*:{port}"),
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text is no [`Address`]. Its `Display` says what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// `unix:` and nothing behind it.
    NoPath,
    /// The port is more than 65535.
    PortRange,
    /// An address without a port.
    NoPort(IpAddr),
    /// An IPv6 address and a port without brackets between them.
    NoBrackets,
    /// A path without `unix:` before it.
    BarePath,
    /// A host name in place of an address.
    Name,
    /// Anything else.
    Unknown,
}

impl AddressError {
    /// Finds the nearest thing that `text`, which is no address, was meant to be.
    fn of(text: &str) -> Self {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return AddressError::NoPort(address);
        }
        if text.starts_with(['/', '.']) {
            return AddressError::BarePath;
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
                    match port.parse::<u16>() {
                        Ok(_) => AddressError::NoBrackets,
                        Err(_) => AddressError::PortRange,
                    }
                } else if is_name(host) {
                    AddressError::Name
                } else {
                    AddressError::Unknown
                }
            }
            None if is_name(text) => AddressError::Name,
            _ => AddressError::Unknown,
        }
    }
}

fn is_name(host: &str) -> bool {
    let letters = host.bytes().any(|byte| byte.is_ascii_alphabetic());
    letters && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoPath => write!(f, "the path is missing, as in unix:/run/shaveet.sock"),
            AddressError::PortRange => write!(f, "a port is a number from 0 to 65535, 0 being any free port"),
            AddressError::NoPort(address) => {
                write!(f, "the port is missing, as in {}", SocketAddr::new(*address, DEFAULT_PORT))
            }
            AddressError::NoBrackets => {
                write!(f, "an IPv6 address stands in brackets, as in [::1]:8082")
            }
            AddressError::BarePath => write!(f, "a path needs unix: before it, as in unix:/run/shaveet.sock"),
            AddressError::Name => {
                write!(f, "names are not looked up, give an address")
            }
            AddressError::Unknown => {
                write!(f, "not an address")
            }
        }
    }
}

impl std::error::Error for AddressError {}

/// The original's port (WIRE H1), for examples.
const DEFAULT_PORT: u16 = 8082;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, address) in [
            ("8082", Address::Everywhere(8082)),
            ("*:0", Address::Everywhere(0)),
            ("127.0.0.1:8082", Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 8082)))),
            ("[::1]:0", Address::Tcp((Ipv6Addr::LOCALHOST, 0).into())),
            ("[::]:65535", Address::Tcp((Ipv6Addr::UNSPECIFIED, 65535).into())),
            ("unix:/run/a b:80.sock", Address::Unix("/run/a b:80.sock".into())),
            ("unix:relative", Address::Unix("relative".into())),
        ] {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_to_write() {
        for (text, error) in [
            ("unix:", AddressError::NoPath),
            ("65536", AddressError::PortRange),
            ("*:99999999999999999999", AddressError::PortRange),
            ("127.0.0.1:70000", AddressError::PortRange),
            ("[::1]:70000", AddressError::PortRange),
            ("127.0.0.1", AddressError::NoPort([127, 0, 0, 1].into())),
            ("::1", AddressError::NoPort(Ipv6Addr::LOCALHOST.into())),
            ("[::1]", AddressError::NoPort(Ipv6Addr::LOCALHOST.into())),
            ("fe80::1:2:3:4:5:6:8082", AddressError::NoBrackets),
            ("/run/shaveet.sock", AddressError::BarePath),
            ("./shaveet.sock", AddressError::BarePath),
            ("localhost:8082", AddressError::Name),
            ("localhost", AddressError::Name),
            ("push.example.org:80", AddressError::Name),
            ("", AddressError::Unknown),
            (":8082", AddressError::Unknown),
            ("*:", AddressError::Unknown),
            ("127.0.0.1:", AddressError::Unknown),
            ("127.0.0.1:+80", AddressError::Unknown),
            ("http://127.0.0.1:8082", AddressError::Unknown),
            ("256.0.0.1:80", AddressError::Unknown),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
        assert!("::1".parse::<Address>().unwrap_err().to_string().ends_with("[::1]:8082"));
    }
}
