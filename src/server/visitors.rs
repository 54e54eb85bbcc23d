//! Who has how many connections: nobody from outside takes all of them.
//!
//! Counted by address, and of IPv6 by the network of 64 bits that one household or machine has. Trusted proxies may have
//! any number, and Unix sockets are not counted: behind them is everybody.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::clock::Ms;
use crate::config::Config;

/// The counts. Both tables are hashed with a random seed, and hold no more than there are connections, or came within a
/// second.
#[derive(Debug)]
pub(super) struct Visitors {
    unbounded: Vec<IpNet>,
    open_max: u32,
    new_max: u32,
    open: HashMap<IpAddr, u32>,
    /// Those that have come since this second began.
    new: HashMap<IpAddr, u32>,
    until: Ms,
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// The address has as many as it may have.
    Open,
    /// The address has made as many within this second as it may.
    New,
}

const SECOND: Ms = Ms::from_secs(1);

impl Visitors {
    pub(super) fn new(config: &Config) -> Visitors {
        let mut visitors = Visitors {
            unbounded: Vec::new(),
            open_max: 0,
            new_max: 0,
            open: HashMap::new(),
            new: HashMap::new(),
            until: Ms::ZERO,
        };
        visitors.change(config);
        visitors
    }

    /// From now on these limits hold, for those who come.
    pub(super) fn change(&mut self, config: &Config) {
        self.unbounded.clone_from(&config.trusted_proxy);
        self.open_max = config.max_connections_per_address;
        self.new_max = config.max_new_per_address;
    }

    /// One more connection from this address, if it may have it.
    pub(super) fn come(&mut self, now: Ms, address: Option<IpAddr>) -> Result<(), Excess> {
        let Some(visitor) = visitor(address) else { return Ok(()) };
        // They are counted all the same: a change may bound them.
        let is_bounded = !self.unbounded.iter().any(|net| address.is_some_and(|address| net.contains(&address)));
        if now >= self.until {
            // Not cleared: a table that a crowd has made large would stay so, and take as long to clear each second.
            self.new = HashMap::new();
            self.until = now + SECOND;
        }
        let new = self.new.entry(visitor).or_default();
        *new += 1;
        if is_bounded && *new > self.new_max {
            return Err(Excess::New);
        }
        let open = self.open.entry(visitor).or_default();
        if is_bounded && *open >= self.open_max {
            return Err(Excess::Open);
        }
        *open += 1;
        Ok(())
    }

    /// A connection that was counted by the one whose place this server takes.
    pub(super) fn was_here(&mut self, address: Option<IpAddr>) {
        if let Some(visitor) = visitor(address) {
            *self.open.entry(visitor).or_default() += 1;
        }
    }

    /// A connection that had come has gone.
    pub(super) fn leave(&mut self, address: Option<IpAddr>) {
        let Some(visitor) = visitor(address) else { return };
        if let Some(open) = self.open.get_mut(&visitor) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&visitor);
                shrink(&mut self.open);
            }
        }
    }
}

/// Gives memory back when a crowd has left: seldom, and when few are there to be moved.
fn shrink(open: &mut HashMap<IpAddr, u32>) {
    if open.capacity() > OPEN_KEPT && open.len() * 8 < open.capacity() {
        open.shrink_to(open.len() * 4);
    }
}

/// Room for so many addresses is kept.
const OPEN_KEPT: usize = 64;

/// As whom it is counted.
fn visitor(address: Option<IpAddr>) -> Option<IpAddr> {
    Some(match address? {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    })
}

/// The first half of an IPv6 address, which is somebody's network (RFC 4291 section 2.5.4).
const NETWORK: u128 = u128::MAX << 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors() -> Visitors {
        let config = Config { max_connections_per_address: 3, max_new_per_address: 5, ..Config::default() };
        Visitors::new(&config)
    }

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_have_theirs() {
        let mut visitors = visitors();
        for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            for _ in 0..3 {
                assert_eq!(visitors.come(Ms(1), from(address)), Ok(()));
            }
            assert_eq!(visitors.come(Ms(1), from(address)), Err(Excess::Open));
            visitors.leave(from(address));
            assert_eq!(visitors.come(Ms(1), from(address)), Ok(()));
        }
        assert_eq!(visitors.come(Ms(5000), from("2001:db8::ffff:1")), Err(Excess::Open), "it is of the same network");
        assert_eq!(visitors.come(Ms(5000), from("2001:db8:0:1::1")), Ok(()));
        for _ in 0..100 {
            assert_eq!((visitors.come(Ms(1), from("127.0.0.1")), visitors.come(Ms(1), None)), (Ok(()), Ok(())));
        }
    }

    #[test]
    fn an_address_makes_so_many_within_a_second_and_nothing_is_left_of_it() {
        let mut visitors = visitors();
        for second in 1..4 {
            for count in 0..10 {
                let came = visitors.come(Ms(second * 1000), from("192.0.2.1"));
                assert_eq!(came, if count < 5 { Ok(()) } else { Err(Excess::New) });
                if came.is_ok() {
                    visitors.leave(from("192.0.2.1"));
                }
            }
        }
        assert!(visitors.open.is_empty());
        assert_eq!(visitors.come(Ms(9000), from("192.0.2.2")), Ok(()));
        assert_eq!(visitors.new.len(), 1);
    }

    #[test]
    fn a_crowd_leaves_no_room_behind() {
        let mut visitors = visitors();
        let crowd = |from: u32| (from..10_000).map(|at| Some(IpAddr::V4(at.into())));
        crowd(0).for_each(|address| assert_eq!(visitors.come(Ms(1), address), Ok(())));
        crowd(3).for_each(|address| visitors.leave(address));
        assert!(visitors.open.capacity() <= 2 * OPEN_KEPT, "{}", visitors.open.capacity());
        assert_eq!(visitors.come(Ms(5000), from("192.0.2.1")), Ok(()));
        assert!(visitors.new.capacity() <= OPEN_KEPT, "{}", visitors.new.capacity());
        // Who is left is still counted.
        assert_eq!(visitors.open.len(), 4);
        (0..2).for_each(|_| assert_eq!(visitors.come(Ms(5000), from("0.0.0.2")), Ok(())));
        assert_eq!(visitors.come(Ms(5000), from("0.0.0.2")), Err(Excess::Open));
    }
}
