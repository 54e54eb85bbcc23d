//! Networks of their own: one for Redis, and one for each node, with a cable from it to Redis's that can be pulled. Nobody else is in
//! them, and no packet leaves them. A Unix socket is reached from all of them, so that pages still come to a node that is cut off.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// They go with the value.
pub(crate) struct Networks {
    prefix: String,
    nodes: usize,
}

/// Which packets of a cable are lost. Nobody is told: they go to a card that nobody has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// Whatever the node sends and whatever it should get.
    All,
    /// What it should get: what it asks is done, and it does not hear of it.
    ToNode,
    /// What it sends: it hears of what others do.
    FromNode,
}

/// How many there have been.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Nobody's.
const NOWHERE: &str = "02:00:00:00:00:fe";

impl Networks {
    /// For so many nodes. `None`, and a word, where this process may not make any.
    pub(crate) fn new(nodes: usize) -> Option<Networks> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let networks = Networks { prefix: format!("shaveet-{}-{number}", std::process::id()), nodes };
        if !ip(&format!("netns add {}", networks.of_redis())) {
            eprintln!("SKIPPED: networks are made with ip netns, which is not here or wants another user");
            return None;
        }
        assert!(ip(&format!("-n {} link set lo up", networks.of_redis())));
        for node in 0..nodes {
            networks.lay(node);
        }
        Some(networks)
    }

    pub(crate) fn of_redis(&self) -> String {
        format!("{}-redis", self.prefix)
    }

    pub(crate) fn of_node(&self, node: usize) -> String {
        format!("{}-{node}", self.prefix)
    }

    /// Where Redis is for this node.
    pub(crate) fn host_of_redis(node: usize) -> String {
        format!("10.99.{node}.1")
    }

    fn lay(&self, node: usize) {
        let (redis, own, host) = (self.of_redis(), self.of_node(node), Networks::host_of_redis(node));
        for command in [
            format!("netns add {own}"),
            format!(
                "link add cable{node} address {} netns {redis} type veth peer name cable address {} netns {own}",
                card(node, 1),
                card(node, 2)
            ),
            format!("-n {redis} address add {host}/30 dev cable{node}"),
            format!("-n {own} address add 10.99.{node}.2/30 dev cable"),
            format!("-n {redis} link set cable{node} up"),
            format!("-n {own} link set cable up"),
        ] {
            assert!(ip(&command), "ip {command}");
        }
        self.mend(node);
    }

    /// From now on these packets are lost.
    pub(crate) fn cut(&self, node: usize, loss: Loss) {
        let to_node = if loss == Loss::FromNode { card(node, 2) } else { NOWHERE.into() };
        let from_node = if loss == Loss::ToNode { card(node, 1) } else { NOWHERE.into() };
        self.address(node, &to_node, &from_node);
    }

    /// From now on none is.
    pub(crate) fn mend(&self, node: usize) {
        self.address(node, &card(node, 2), &card(node, 1));
    }

    fn address(&self, node: usize, to_node: &str, from_node: &str) {
        let (redis, own, host) = (self.of_redis(), self.of_node(node), Networks::host_of_redis(node));
        for command in [
            format!("-n {redis} neighbour replace 10.99.{node}.2 lladdr {to_node} nud permanent dev cable{node}"),
            format!("-n {own} neighbour replace {host} lladdr {from_node} nud permanent dev cable"),
        ] {
            assert!(ip(&command), "ip {command}");
        }
    }

    /// The cable is out, which its node's system sees.
    pub(crate) fn pull(&self, node: usize) {
        assert!(ip(&format!("-n {} link set cable{node} down", self.of_redis())));
    }

    /// It is in again.
    pub(crate) fn plug_in(&self, node: usize) {
        assert!(ip(&format!("-n {} link set cable{node} up", self.of_redis())));
        self.mend(node);
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        let nodes = (0..self.nodes).map(|node| self.of_node(node));
        for network in nodes.chain([self.of_redis()]) {
            ip(&format!("netns delete {network}"));
        }
    }
}

/// A program in a network, or in that of the test.
pub(crate) fn command(network: Option<&str>, program: &str) -> Command {
    let Some(network) = network else { return Command::new(program) };
    let mut command = Command::new("ip");
    // It becomes the program.
    command.args(["netns", "exec", network, program]);
    command
}

fn card(node: usize, end: usize) -> String {
    format!("02:00:00:00:{node:02x}:{end:02x}")
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}
