//! Networks, as they are written in lists of who may do something.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Reads a network, `10.0.0.0/8`, or a single address, `127.0.0.1`. Bits behind the prefix are cleared, and IPv4 in the
/// clothes of IPv6 (`::ffff:10.0.0.0/104`) becomes plain IPv4, as peers seen through a dual-stack socket do (WIRE J12).
///
/// # Errors
///
/// The text is neither.
pub fn network(text: &str) -> Result<IpNet, ipnet::AddrParseError> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse()?,
    };
    Ok(unmapped(net).trunc())
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let Some(prefix) = v6.prefix_len().checked_sub(MAPPED_PREFIX) else {
        return net;
    };
    match v6.addr().to_ipv4_mapped() {
        Some(address) => Ipv4Net::new_assert(address, prefix).into(),
        None => net,
    }
}

/// Bits of `::ffff:0:0/96`, in which IPv4 addresses are mapped (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// Every address there is, IPv4 and IPv6.
#[must_use]
pub fn any_network() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_canonical() {
        for (text, net) in [
            ("127.0.0.1", "127.0.0.1/32"),
            ("::1", "::1/128"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:127.0.0.1", "127.0.0.1/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), net, "{text}");
        }
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "127.0.0.1:80", "::/129"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
