//! Whether the Sentinels have made another Redis the master.
//!
//! A Sentinel that fails over lets the old master go on for some ten seconds before it makes it a replica. Whoever stays there
//! publishes what is lost. So a node has a second line, to one of the Sentinels, which it asks once a second; when that names
//! another master, the node goes there at once.
//!
//! A Sentinel may be cut off from the others and not know. They count their failovers (the *configuration epoch*), so what is of an
//! older count than what is known is not believed, and the next Sentinel is asked.

use log::debug;

use super::{Link, Place};
use crate::clock::Ms;

/// A line to a Sentinel, beside the link.
#[derive(Debug)]
pub struct Watch {
    /// Driven as the other one.
    pub link: Link,
    /// The newest that was named: the link was sent there, or was there. It is not sent there twice, as two Sentinels may have two
    /// names for one Redis.
    known: Option<(u64, Place)>,
}

impl Watch {
    /// For this link, if its address names Sentinels. `seed` is for chance.
    #[must_use]
    pub fn beside(link: &Link, now: Ms, seed: u64) -> Option<Watch> {
        Some(Watch { link: Link::at_sentinel(link, now, seed)?, known: None })
    }

    /// Has the link leave for the master that has been named, if it is another one. To be called when something has come.
    pub fn hear(&mut self, now: Ms, link: &mut Link) {
        while let Some(event) = self.link.next_event() {
            debug!("broker: the watch at the Sentinels: {event:?}");
        }
        let Some((epoch, place)) = self.link.take_named() else { return };
        let newest = self.known.as_ref().map_or(0, |(epoch, _)| *epoch).max(link.master_epoch());
        if epoch < newest {
            return self.link.broken(now, "it does not know of the last failover");
        }
        let named = Some((epoch, place));
        if self.known == named || !link.is_live() {
            return;
        }
        self.known = named;
        if let Some((epoch, place)) = &self.known
            && link.line().is_some_and(|(_, dialled)| dialled != place)
        {
            link.leave_for(now, *epoch, place.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Event, Options, library};

    const SENTINEL: &str = "%2 +version +7.0.0 +mode +sentinel ";
    const ASKED: &str = "*3 $8 SENTINEL $6 MASTER $4 main *3 $8 SENTINEL $23 GET-MASTER-ADDR-BY-NAME $4 main ";

    fn said(link: &mut Link) -> String {
        let text = String::from_utf8(link.output().to_vec()).expect("text");
        link.sent(text.len());
        text.replace("\r\n", " ")
    }

    fn hear(link: &mut Link, now: u64, text: &str) -> Vec<Event> {
        link.receive(Ms(now), text.replace(' ', "\r\n").as_bytes());
        std::iter::from_fn(|| link.next_event()).collect()
    }

    fn place(link: &Link) -> String {
        link.line().expect("a line").1.to_string()
    }

    /// A Sentinel's answer.
    fn names(epoch: u64, host: &str) -> String {
        format!("%1 $12 config-epoch ${} {epoch} *2 ${} {host} $4 6379 ", epoch.to_string().len(), host.len())
    }

    /// The link, live at the master that its Sentinel has named, and a watch that has asked.
    fn both(epoch: u64) -> (Link, Watch) {
        let address = "redis+sentinel://s1,s2/main".parse().expect("an address");
        let (prefix, name, timeout) = ("shaveet".into(), "shaveet-1".into(), Ms(2000));
        let mut link = Link::new(Options { address, prefix, timeout, name }, Ms::ZERO, 1);
        link.handle_timeout(Ms(0));
        link.connected(Ms(0));
        hear(&mut link, 0, SENTINEL);
        hear(&mut link, 0, &names(epoch, "a"));
        link.connected(Ms(0));
        hear(&mut link, 0, "%3 +version $5 7.0.0 +mode +standalone +role +master ");
        assert_eq!(hear(&mut link, 0, &format!(":{} ", library::REVISION)), [Event::Up]);
        said(&mut link);
        let mut watch = Watch::beside(&link, Ms::ZERO, 1).expect("it names Sentinels");
        watch.link.handle_timeout(Ms(0));
        watch.link.connected(Ms(0));
        said(&mut watch.link);
        assert_eq!(hear(&mut watch.link, 0, SENTINEL), [Event::Up]);
        assert_eq!(said(&mut watch.link), ASKED);
        (link, watch)
    }

    fn is_told(watch: &mut Watch, link: &mut Link, now: u64, epoch: u64, host: &str) {
        watch.link.receive(Ms(now), names(epoch, host).replace(' ', "\r\n").as_bytes());
        watch.hear(Ms(now), link);
    }

    #[test]
    fn only_who_names_sentinels_has_a_watch() {
        let address = "redis://h".parse().expect("an address");
        let options = Options { address, prefix: "p".into(), timeout: Ms(2000), name: "n".into() };
        assert!(Watch::beside(&Link::new(options, Ms::ZERO, 1), Ms::ZERO, 1).is_none());
    }

    #[test]
    fn it_asks_once_a_second_and_the_link_leaves_for_another_master_at_once() {
        let (mut link, mut watch) = both(3);
        is_told(&mut watch, &mut link, 10, 3, "a");
        assert!(link.is_live());
        assert_eq!(watch.link.next_timeout(), Ms(1010));
        watch.link.handle_timeout(Ms(1010));
        assert_eq!(said(&mut watch.link), ASKED);
        is_told(&mut watch, &mut link, 1020, 4, "b");
        assert_eq!((link.is_live(), place(&link)), (false, "b:6379".into()));
        let told = "a:6379: the Sentinels have another master, b:6379";
        assert_eq!(link.next_event(), Some(Event::Down(told.into())));
        // Nobody listens there yet: the Sentinels are asked, as ever.
        link.broken(Ms(1030), "connection refused");
        assert_eq!(place(&link), "s2:26379");
    }

    #[test]
    fn a_sentinel_that_does_not_know_of_the_last_failover_is_not_believed() {
        let (mut link, mut watch) = both(3);
        is_told(&mut watch, &mut link, 10, 2, "old");
        assert!(link.is_live() && !watch.link.is_live());
        watch.link.handle_timeout(watch.link.next_timeout());
        assert_eq!(place(&watch.link), "s2:26379", "another one is asked");
    }

    #[test]
    fn two_names_of_one_redis_send_nobody_to_and_fro() {
        let (mut link, mut watch) = both(3);
        is_told(&mut watch, &mut link, 10, 3, "alias");
        assert_eq!(place(&link), "alias:6379");
        // The Sentinels that it asks then call it as before.
        link.broken(Ms(20), "connection refused");
        link.connected(Ms(100));
        hear(&mut link, 100, SENTINEL);
        hear(&mut link, 100, &names(3, "a"));
        link.connected(Ms(100));
        hear(&mut link, 100, "%3 +version $5 7.0.0 +mode +standalone +role +master ");
        hear(&mut link, 100, &format!(":{} ", library::REVISION));
        assert!(link.is_live());
        watch.link.handle_timeout(Ms(1100));
        is_told(&mut watch, &mut link, 1200, 3, "alias");
        assert!(link.is_live(), "it was there already");
        watch.link.handle_timeout(Ms(2300));
        is_told(&mut watch, &mut link, 2310, 4, "b");
        assert_eq!(place(&link), "b:6379");
    }
}
