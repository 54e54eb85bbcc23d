//! The clients and channels of a measurement, in a server that may have others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::ask::api::Api;
use super::super::ask::failure::Failure;
use super::super::ask::random_name;
use super::super::ask::wait::Interrupts;
use super::Options;
use super::progress::Progress;

/// Who was made, and has to be removed.
pub(super) struct Guests {
    /// What all of their names have, and nobody else's.
    name: String,
    clients: usize,
    /// The clients' keys, of as many as have been made.
    keys: Vec<String>,
    channels: Vec<String>,
}

/// Clients that are made, subscribed or removed in one call: between two of them a Ctrl-C is heard.
const AT_ONCE: usize = 500;

impl Guests {
    pub(super) fn new(options: &Options) -> Result<Guests, Failure> {
        let name = format!("bench-{}", random_name()?);
        let channels = (0..options.channels).map(|number| format!("{name}-{number}")).collect();
        Ok(Guests { name, clients: options.clients, keys: Vec::new(), channels })
    }

    /// Makes them, and subscribes each to its channel.
    pub(super) fn enter(&mut self, api: &mut Api<'_>, interrupts: &Interrupts) -> Result<(), Failure> {
        let mut progress = Progress::new("making clients", self.clients as u64);
        while self.keys.len() < self.clients {
            let from = self.keys.len();
            let ids: Vec<String> = (from..self.clients.min(from + AT_ONCE)).map(|number| self.id(number)).collect();
            for key in api.calls(ids.iter().map(|id| ("create_client", json!([id]))))? {
                self.keys.push(key?.as_str().unwrap_or_default().to_owned());
            }
            let mut pairs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (number, id) in (from..).zip(&ids) {
                pairs.entry(self.channel(number)).or_default().push(id);
            }
            api.call("subscribe_many", json!([pairs]))?;
            progress.show(self.keys.len() as u64);
            if interrupts.came() {
                return Err(Failure::Interrupted);
            }
        }
        Ok(())
    }

    /// Removes those that have been made. The server forgets the channels when they are idle.
    pub(super) fn leave(&self, api: &mut Api<'_>) {
        let mut progress = Progress::new("removing clients", self.keys.len() as u64);
        for from in (0..self.keys.len()).step_by(AT_ONCE) {
            let to = self.keys.len().min(from + AT_ONCE);
            // A server that has gone has forgotten them, or will.
            if api.calls((from..to).map(|number| ("kill_client", json!([self.id(number)])))).is_err() {
                return;
            }
            progress.show(to as u64);
        }
    }

    /// Where they begin: what was before, such as each other's joining, is nothing to them.
    pub(super) fn position(&self, api: &mut Api<'_>) -> Result<String, Failure> {
        let info = api.call("channel_info", json!([self.channels[0]]))?;
        Ok(info["position"].as_str().unwrap_or_default().to_owned())
    }

    /// How many of them listen.
    pub(super) fn parked(&self, api: &mut Api<'_>) -> Result<usize, Failure> {
        let infos = api.calls(self.channels.iter().map(|channel| ("channel_info", json!([channel]))))?;
        let mut parked = 0;
        for info in infos {
            parked += info?["parked"].as_u64().unwrap_or(0);
        }
        Ok(usize::try_from(parked).unwrap_or(usize::MAX))
    }

    /// By what a page proves that it is a client's.
    pub(super) fn credentials(&self) -> impl Iterator<Item = String> {
        self.keys.iter().enumerate().map(|(number, key)| format!("{}_!!_{key}", self.id(number)))
    }

    /// The call that says something to all of them.
    pub(super) fn message(&self, text: &str) -> Value {
        json!({"jsonrpc": "2.0", "method": "broadcast", "params": [self.channels, text], "id": 1})
    }

    /// Ids with `admin` in them are not listed among those who are in a channel.
    fn id(&self, number: usize) -> String {
        format!("admin-{}-{number}", self.name)
    }

    fn channel(&self, number: usize) -> &str {
        &self.channels[number % self.channels.len()]
    }
}
