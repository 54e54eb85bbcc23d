//! What the server counts, and what it knows beside that when somebody asks for `/metrics` or looks at the dashboard.

use crate::api::{Attempts, BrokerEdge, Edge, Format};
use crate::http::{Error, Exchange};

use super::Server;
use super::peer::{Peer, Wait};
use super::visitors::Excess;

/// Counts since the start, but for `buffer_bytes`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    /// What all peers' buffers take now.
    pub(super) buffer_bytes: usize,
    pub(super) refused: Refused,
    pub(super) reloads: Attempts,
}

impl Counts {
    /// Bytes that have come and gone.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.received_bytes + self.sent_bytes
    }
}

/// How often something was refused, by the knob that is the limit.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) connections: u64,
    of_address: u64,
    new_of_address: u64,
    pub(super) descriptors: u64,
    head: u64,
    body: u64,
    head_time: u64,
    body_time: u64,
    write_time: u64,
    pub(super) memory: u64,
    /// What can be read in two ways, or not at all: no limit, but refused.
    malformed: u64,
}

impl Refused {
    /// A connection is one too many.
    pub(super) fn note_excess(&mut self, excess: Excess) {
        match excess {
            Excess::Open => self.of_address += 1,
            Excess::New => self.new_of_address += 1,
        }
    }

    /// What came is no request.
    pub(super) fn note_error(&mut self, error: Error) {
        match error {
            Error::BodyTooLarge => self.body += 1,
            Error::HeadTooLarge | Error::TargetTooLong => self.head += 1,
            Error::Malformed(_) | Error::NotImplemented(_) | Error::UnknownExpectation | Error::UnknownVersion => {
                self.malformed += 1;
            }
        }
    }

    /// A peer has taken too long.
    pub(super) fn note_late(&mut self, late: Wait) {
        match late {
            Wait::Head => self.head_time += 1,
            Wait::Body => self.body_time += 1,
            Wait::Write => self.write_time += 1,
            Wait::Idle | Wait::Drain | Wait::Beat | Wait::Hold | Wait::Canary | Wait::Nothing => {}
        }
    }
}

impl Server {
    /// Writes the metrics as the answer to whoever has asked.
    pub(super) fn write_metrics(&mut self, format: Format, exchange: Exchange) {
        let edge = self.edge();
        self.api.write_metrics(&edge, format, self.clock.date(), exchange, &mut self.output);
    }

    /// Publishes the dashboard's figures, if it is time.
    pub(super) fn tell_figures(&mut self) {
        if self.stopping.is_none() && self.api.figures_due().is_some_and(|due| due <= self.now) {
            let edge = self.edge();
            self.api.publish_figures(self.now, &edge);
        }
    }

    fn edge(&self) -> Edge {
        let Counts { accepted, received_bytes, sent_bytes, buffer_bytes, refused, reloads } = &self.counts;
        let Refused { connections, of_address, new_of_address, descriptors, .. } = refused;
        let (turns, connections_now) = (self.clock.turns(), self.peers.len());
        let (memory_used, memory_max) = self.memory.used_and_max();
        Edge {
            connections: connections_now,
            connection_bytes: connections_now * size_of::<Peer>(),
            buffer_bytes: *buffer_bytes,
            accepted: *accepted,
            received_bytes: *received_bytes,
            sent_bytes: *sent_bytes,
            turns: turns.by_length,
            turn_time: turns.total,
            refused: [
                ("max-connections", *connections),
                ("max-connections-per-address", *of_address),
                ("max-new-per-address", *new_of_address),
                ("descriptors", *descriptors),
                ("max-head", refused.head),
                ("max-body", refused.body),
                ("head-timeout", refused.head_time),
                ("body-timeout", refused.body_time),
                ("write-timeout", refused.write_time),
            ],
            refused_for_memory: refused.memory,
            malformed: refused.malformed,
            limits: [
                ("max-clients", self.config.max_clients),
                ("max-channels", self.config.max_channels),
                ("max-connections", self.config.max_connections),
            ],
            reloads: reloads.clone(),
            state_writes: self.storage.as_ref().map(|storage| storage.attempts().clone()).unwrap_or_default(),
            history_max: self.config.history_total,
            memory_used,
            memory_max,
            descriptors: (self.own_descriptors + connections_now as u64, self.door.descriptors()),
            cpu_time: super::clock::process_time(),
            started: self.clock.started_at(),
            resident_bytes: resident_bytes(),
            broker: self.api.cluster.as_ref().map(|cluster| {
                let link = &cluster.link;
                BrokerEdge {
                    is_up: link.is_live(),
                    pending: link.pending(),
                    junk: cluster.junk(),
                    steps_most: cluster.steps_most(),
                    lookups: cluster.lookups(),
                    counts: link.counts().clone(),
                }
            }),
        }
    }
}

/// Descriptors that are open now. To be asked for before there are peers: they are counted by walking.
pub(super) fn open_descriptors() -> u64 {
    // The directory itself is one of them while it is read.
    let walk = std::fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
    walk.map_or(super::accept::DESCRIPTORS_OF_OUR_OWN, |count| count as u64)
}

/// `VmRSS:     3456 kB`, where kB are KiB (proc_pid_status(5)).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_is_resident_and_open() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        let before = open_descriptors();
        let one = std::fs::File::open("/proc/self/status").unwrap();
        assert!(open_descriptors() > before.saturating_sub(20) && before >= 3);
        drop(one);
    }
}
