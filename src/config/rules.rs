//! What holds for all channels, or for those whose names begin so: `VALUE` or `PREFIX=VALUE`.

use std::sync::Arc;

use crate::clock::Ms;
use crate::hub::{Policies, Policy, SystemShare};

/// A value for the channels whose names begin with `prefix`.
#[derive(Debug)]
struct Rule<T> {
    prefix: String,
    value: T,
}

/// The rules of one knob, the default first.
#[derive(Debug)]
pub(super) struct Rules<T>(Vec<Rule<T>>);

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Rules(Vec::new())
    }
}

impl<T: Copy> Rules<T> {
    /// One more of them, as it is written.
    pub(super) fn add(&mut self, text: &str, value: fn(&str) -> Result<T, String>) -> Result<(), String> {
        let (prefix, text) = text.rsplit_once('=').unwrap_or(("", text));
        self.0.push(Rule { prefix: prefix.to_owned(), value: value(text)? });
        Ok(())
    }

    /// Of those that fit channels of these names the longest counts, of equals the last.
    fn of(&self, prefix: &str) -> T {
        let fitting = self.0.iter().filter(|rule| prefix.starts_with(&rule.prefix));
        fitting.max_by_key(|rule| rule.prefix.len()).expect("the default fits all").value
    }

    fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|rule| rule.prefix.as_str()).filter(|prefix| !prefix.is_empty())
    }
}

/// The rules of all knobs that have any.
#[derive(Debug, Default)]
pub(super) struct ChannelRules {
    pub(super) history: Rules<usize>,
    pub(super) history_system: Rules<SystemShare>,
    pub(super) history_bytes: Rules<usize>,
    pub(super) history_age: Rules<Ms>,
    pub(super) presence: Rules<bool>,
}

impl ChannelRules {
    /// One policy for each prefix that any rule names.
    pub(super) fn policies(&self) -> Policies {
        let mut prefixes: Vec<&str> = self.history.prefixes().collect();
        prefixes.extend(self.history_system.prefixes());
        prefixes.extend(self.history_bytes.prefixes());
        prefixes.extend(self.history_age.prefixes());
        prefixes.extend(self.presence.prefixes());
        prefixes.sort_unstable();
        prefixes.dedup();
        let by_prefix = prefixes.into_iter().map(|prefix| (prefix.to_owned(), self.policy(prefix))).collect();
        Policies { default: self.policy(""), by_prefix }
    }

    fn policy(&self, prefix: &str) -> Arc<Policy> {
        Arc::new(Policy {
            history: self.history.of(prefix),
            history_system: self.history_system.of(prefix),
            history_bytes: self.history_bytes.of(prefix),
            history_age: self.history_age.of(prefix),
            presence: self.presence.of(prefix),
        })
    }
}
