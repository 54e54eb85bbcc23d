//! A hub for one question: what the broker says of a channel, and of a client, so that what is known of them is found out by
//! the same code as where a hub stands alone.

use super::Cluster;
use super::facts::{ClientFacts, Filled};
use crate::broker::Value;
use crate::clock::Ms;
use crate::hub::Hub;

impl Cluster {
    /// The channel of that name as the broker describes it, and a client if it is given. `None` if it is no description.
    #[must_use]
    pub fn picture(&self, now: Ms, client: Option<(&str, &Value)>, channel: &Value, name: &str) -> Option<Hub> {
        let filled = Filled::read(channel, now)?;
        let mut hub = Hub::following(now, self.hub_limits.clone());
        hub.advance(filled.seq);
        hub.fill_channel(now, name, &filled.facts, filled.messages);
        if let Some((id, client)) = client {
            let facts = ClientFacts::read(client, now)?;
            let key = hub.adopt(&facts.adoption(id, now));
            for link in facts.subscriptions.iter().filter(|link| link.channel == name) {
                match link.end {
                    None => hub.link_at(key, name, link.made, link.begin),
                    Some(end) => hub.link_ended(key, name, link.made, link.begin, end),
                }
            }
        }
        Some(hub)
    }
}
