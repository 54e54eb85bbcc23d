//! What `/metrics` says, and what has changed in it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};

use super::{Connection, PATIENCE, Response, Server, request, until};

/// A reader with a connection of its own, so that reading opens and closes none.
pub(crate) struct Scraper {
    connection: Connection,
}

/// Samples by their names, `shaveet_` and quotes left out: `parked{transport=poll}`.
pub(crate) type Samples = BTreeMap<String, f64>;

/// What time and the reading itself move.
const ALWAYS: [&str; 9] = [
    "turn_duration_seconds",
    "process_",
    "memory_",
    "requests_total",
    "connections",
    "accepted_connections_total",
    "received_bytes_total",
    "sent_bytes_total",
    "published_bytes_total",
];

impl Scraper {
    /// By the listener for calls, if there is one.
    pub(crate) fn new(server: &Server) -> Scraper {
        Scraper { connection: Connection::open(server.for_calls.first().unwrap_or(server.address()), None) }
    }

    pub(crate) fn ask(&mut self) -> Response {
        let response = self.connection.ask(request("GET", "/metrics", &[], ""));
        assert_eq!(response.status, 200, "{response:?}");
        response
    }

    pub(crate) fn read(&mut self) -> Samples {
        samples(self.ask().text())
    }

    pub(crate) fn get(&mut self, name: &str) -> f64 {
        *self.read().get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Reads until it is so.
    pub(crate) fn until(&mut self, name: &str, is_so: impl Fn(f64) -> bool) {
        until(name, || is_so(self.get(name)));
    }

    /// What the deed moves and by how much: `clients +1`. Times are left out but for how many there were, and so is what moves
    /// [`ALWAYS`].
    pub(crate) fn moved(&mut self, deed: impl FnOnce()) -> Vec<String> {
        let before = self.read();
        deed();
        self.since(&before)
    }

    pub(crate) fn since(&mut self, before: &Samples) -> Vec<String> {
        let is_told = |name: &str| {
            !ALWAYS.iter().any(|always| name.starts_with(always))
                && !name.contains("_bucket")
                && !name.ends_with("_sum")
        };
        let after = self.read();
        let changes = after.iter().filter(|(name, _)| is_told(name)).map(|(name, value)| (name, value - before[name]));
        changes.filter(|(_, change)| *change != 0.0).map(|(name, change)| format!("{name} {change:+}")).collect()
    }
}

/// Reads what does not begin with `#`.
pub(crate) fn samples(text: &str) -> Samples {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
        let name = name.strip_prefix("shaveet_").unwrap_or(name).replace('"', "");
        (name, value.parse().unwrap_or_else(|_| panic!("no number: {line:?}")))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// The names of the families, as their TYPE lines have them.
pub(crate) fn families(text: &str) -> Vec<String> {
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    named.map(str::to_owned).collect()
}

/// Asks by a socket of its own; returns how many bytes went and came.
pub(crate) fn exchange(socket: &mut std::net::TcpStream, request: &str) -> (usize, String) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    socket.write_all(request.as_bytes()).expect("the server takes it");
    let (mut bytes, mut chunk) = (Vec::new(), [0; 64 << 10]);
    loop {
        let count = match socket.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.expect("an answer"),
        };
        assert!(count > 0, "closed in the middle of an answer");
        bytes.extend_from_slice(&chunk[..count]);
        if let Some((_, end)) = Response::parse(&bytes, false) {
            assert_eq!(end, bytes.len(), "nothing comes behind it");
            return (end, String::from_utf8(bytes).expect("text"));
        }
    }
}
