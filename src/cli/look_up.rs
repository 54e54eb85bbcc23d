//! `shaveet look-up HOST`: what the server runs beside itself, as the resolver may keep it waiting. It is in no help.

use std::fmt::Write;
use std::net::ToSocketAddrs;

/// Addresses that are told: a server with many that cannot be reached tries some of them each time.
const ADDRESSES_MAX: usize = 16;

/// The addresses of a host, a line for each, in the order in which they are to be tried.
///
/// # Errors
/// What the resolver says, in a line.
pub(super) fn addresses(host: &str) -> Result<String, String> {
    let found = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut text = String::new();
    for address in found.take(ADDRESSES_MAX) {
        let _ = writeln!(text, "{}", address.ip());
    }
    Ok(text)
}
