//! What a channel keeps and says, by the beginning of its name.

use std::sync::Arc;

use crate::clock::Ms;

/// How much of its past a channel keeps, and whether it tells of comings and goings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Messages of the web application that are kept, at least 1.
    pub history: usize,
    /// Messages of the server itself (joins, leaves, new channels) that are kept.
    pub history_system: SystemShare,
    /// Bytes of rendered messages that are kept of either kind; the newest message stays however large it is.
    pub history_bytes: usize,
    /// How long a message is kept; the newest stays.
    pub history_age: Ms,
    /// Whether joins and leaves are published at all: in a room of n each costs n deliveries.
    pub presence: bool,
}

/// How the server's own messages share a channel's ring with the web application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemShare {
    /// They have a ring of their own of so many, at least 1, and push nobody else's out.
    Own(usize),
    /// They count like any other: the original's way (WIRE C4).
    Shared,
}

/// The policies of all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// For names that no prefix fits.
    pub default: Arc<Policy>,
    /// Prefixes and their policies. Of several that fit the longest counts.
    pub by_prefix: Vec<(String, Arc<Policy>)>,
}

impl Policies {
    /// One policy for all.
    #[must_use]
    pub fn uniform(default: Policy) -> Policies {
        Policies { default: Arc::new(default), by_prefix: Vec::new() }
    }

    /// The policy of the channel of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> &Arc<Policy> {
        let fitting = self.by_prefix.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(&self.default, |(_, policy)| policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let policy = |history| Policy {
            history,
            history_system: SystemShare::Shared,
            history_bytes: 1,
            history_age: Ms(1),
            presence: true,
        };
        let mut policies = Policies::uniform(policy(1));
        let by_prefix = [("chat-", 2), ("chat-big-", 3), ("c", 4)];
        policies.by_prefix = by_prefix.map(|(prefix, history)| (prefix.into(), Arc::new(policy(history)))).into();
        let kept = ["x", "chat-", "chat-big-1", "cha", ""].map(|name| policies.of(name).history);
        assert_eq!(kept, [1, 2, 3, 4, 1]);
    }
}
