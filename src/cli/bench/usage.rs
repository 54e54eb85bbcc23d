//! What a server says at `/metrics` of what it takes, and of what it has room for.

use super::super::ask::api::Api;
use super::super::ask::failure::Failure;

/// Some of its numbers, at one moment. What it does not tell is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Bytes that the process has asked the allocator for.
    pub(super) used_bytes: f64,
    /// Bytes as the kernel counts them.
    pub(super) resident_bytes: f64,
    /// Processor time in seconds.
    pub(super) cpu_seconds: f64,
    /// For how many more there is room, and which limit says so.
    room: Vec<(f64, &'static str)>,
}

/// Descriptors that stay free for others.
const SPARE: f64 = 16.0;

impl Usage {
    pub(super) fn read(api: &mut Api<'_>) -> Result<Usage, Failure> {
        Ok(Usage::parse(&api.metrics()?))
    }

    fn parse(text: &str) -> Usage {
        let value = |name: &str| {
            let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse().ok();
            text.lines().find_map(of_line).unwrap_or(0.0)
        };
        let limit = |name: &str| value(&format!("shaveet_limit{{limit=\"{name}\"}}"));
        Usage {
            used_bytes: value("shaveet_memory_used_bytes"),
            resident_bytes: value("process_resident_memory_bytes"),
            cpu_seconds: value("process_cpu_seconds_total"),
            room: vec![
                (limit("max-connections") - value("shaveet_connections"), "--max-connections"),
                (limit("max-clients") - value("shaveet_clients") - value("shaveet_departed_clients"), "--max-clients"),
                (value("process_max_fds") - value("process_open_fds") - SPARE, "its limit of descriptors, ulimit -n"),
            ],
        }
    }

    /// Whether a crowd fits in beside those who are there.
    ///
    /// # Errors
    /// How many do.
    pub(super) fn has_room(&self, clients: usize) -> Result<(), Failure> {
        match self.room.iter().find(|(room, _)| *room < clients as f64) {
            None => Ok(()),
            Some((room, limit)) => Err(Failure::Other(format!(
                "the server has room for {:.0} more, not for --clients {clients}: {limit}",
                room.max(0.0)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_names() {
        let text = "# TYPE shaveet_connections gauge\nshaveet_connections 3\nshaveet_connections_x 9\n\
                    shaveet_limit{limit=\"max-connections\"} 103\nshaveet_limit{limit=\"max-clients\"} 1000\n\
                    process_max_fds 1000\nprocess_open_fds 10\nprocess_cpu_seconds_total 1.5\nshaveet_memory_used_bytes 7 123\n";
        let usage = Usage::parse(text);
        assert_eq!((usage.used_bytes, usage.cpu_seconds), (7.0, 1.5));
        assert!(usage.has_room(100).is_ok());
        let error = usage.has_room(101).unwrap_err().to_string();
        assert!(error.contains("room for 100 more") && error.contains("--max-connections"), "{error}");
    }
}
