//! What a server says at `/metrics` of what it takes, and of what it has room for.

use super::super::ask::api::Api;
use super::super::ask::failure::Failure;
use super::Options;

/// Some of its numbers, at one moment. What it does not tell is 0, and a limit that it does not tell is none.
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
    /// Bytes that channels may keep besides what they have, until others have to give up theirs.
    history_room: f64,
}

/// Descriptors that stay free for others.
const SPARE: f64 = 16.0;

/// What a channel keeps until it is forgotten: so many messages (`--history`), each with this beside its text, and as many joins.
const KEPT: f64 = 100.0;
const BESIDE: f64 = 100.0;

/// Memory of a client with all that it has.
const CLIENT: f64 = 1024.0;

impl Usage {
    pub(super) fn read(api: &mut Api<'_>) -> Result<Usage, Failure> {
        Ok(Usage::parse(&api.metrics()?))
    }

    fn parse(text: &str) -> Usage {
        let told = |name: &str| {
            let of_line =
                |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok();
            text.lines().find_map(of_line)
        };
        let value = |name: &str| told(name).unwrap_or(0.0);
        let most = |name: &str| told(name).unwrap_or(f64::INFINITY);
        let limit = |name: &str| most(&format!("shaveet_limit{{limit=\"{name}\"}}"));
        Usage {
            used_bytes: value("shaveet_memory_used_bytes"),
            resident_bytes: value("process_resident_memory_bytes"),
            cpu_seconds: value("process_cpu_seconds_total"),
            history_room: (most("shaveet_history_limit_bytes") - value("shaveet_memory_bytes{kind=\"history\"}"))
                .min(most("shaveet_memory_limit_bytes") * 7.0 / 8.0 - value("shaveet_memory_used_bytes")),
            room: vec![
                (limit("max-connections") - value("shaveet_connections"), "--max-connections"),
                (limit("max-clients") - value("shaveet_clients") - value("shaveet_departed_clients"), "--max-clients"),
                (most("process_max_fds") - value("process_open_fds") - SPARE, "its limit of descriptors, ulimit -n"),
            ],
        }
    }

    /// Whether a crowd, and what is said to it, fits in beside those who are there.
    ///
    /// # Errors
    /// How much does.
    pub(super) fn has_room(&self, options: &Options) -> Result<(), Failure> {
        let Options { clients, channels, bytes, .. } = options;
        if let Some((room, limit)) = self.room.iter().find(|(room, _)| *room < *clients as f64) {
            return Err(Failure::Other(format!(
                "the server has room for {:.0} more, not for --clients {clients}: {limit}",
                room.max(0.0)
            )));
        }
        let kept = *channels as f64 * KEPT * (*bytes as f64 + 2.0 * BESIDE) + *clients as f64 * CLIENT;
        if kept > self.history_room {
            return Err(Failure::Other(format!(
                "{channels} channels with messages of {bytes} bytes would keep some {:.0} MB, and the server has room for {:.0}: other \
                 channels would have to give up their history (--history-total, --memory-max)",
                kept / 1e6,
                self.history_room.max(0.0) / 1e6
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_names() {
        let text = "# TYPE shaveet_connections gauge\nshaveet_connections 3\nshaveet_connections_x 9\n\
                    shaveet_limit{limit=\"max-connections\"} 103\nshaveet_limit{limit=\"max-clients\"} 1000\n\
                    process_max_fds 1000\nprocess_open_fds 10\nprocess_cpu_seconds_total 1.5\nshaveet_memory_used_bytes 7 123\n";
        let text = text.to_owned()
            + "shaveet_history_limit_bytes 3000000\nshaveet_memory_bytes{kind=\"history\"} 1000000\nshaveet_memory_limit_bytes 8e6\n";
        let usage = Usage::parse(&text);
        assert_eq!((usage.used_bytes, usage.cpu_seconds), (7.0, 1.5));
        let refused = |clients, channels| {
            let options = Options { clients, channels, bytes: 100, duration: Duration::ZERO, as_json: false };
            usage.has_room(&options).err().map(|failure| failure.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(100, 60), "");
        let few = refused(101, 60);
        assert!(few.contains("room for 100 more") && few.contains("--max-connections"), "{few}");
        let full = refused(100, 70);
        assert!(full.contains("room for 2:") && full.contains("--history-total"), "{full}");
        // A limit that is not told is none.
        let options = Options { clients: 100, channels: 60, bytes: 100, duration: Duration::ZERO, as_json: false };
        for told in ["shaveet_memory_limit_bytes", "shaveet_history_limit_bytes", "process_max_fds", "shaveet_limit"] {
            let text: Vec<&str> = text.lines().filter(|line| !line.starts_with(told)).collect();
            assert!(Usage::parse(&text.join("\n")).has_room(&options).is_ok(), "{told}");
        }
    }
}
