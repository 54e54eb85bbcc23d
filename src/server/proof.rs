//! What is done with a peer that has asked whether the server is ready: it waits for a canary to come out of the hub, but not
//! for long, and by the peer's own deadline: the hub's would come out by the same door.

use crate::api::{Proof, Readiness};
use crate::clock::Ms;
use crate::hub::Ending;
use crate::slots::Key;

use super::Server;
use super::peer::{Peer, Phase};

/// The canary comes out in the turn in which it was published, or in one of the next if there is a crowd to be answered. Who
/// asks gives up after some seconds.
pub(super) const CANARY: Ms = Ms::from_secs(2);

impl Server {
    /// A peer waits for its canary.
    pub(super) fn await_canary(&mut self, key: Key<Peer>, proof: Proof) {
        if self.stopping.is_some() {
            self.api.hub.end_waiting(proof.waiter, Ending::Stopping);
        }
        self.peers[key].phase = Phase::Proving(proof);
    }

    /// A peer's canary has come out, or will not.
    pub(super) fn prove(&mut self, key: Key<Peer>, readiness: Readiness) {
        let peer = &mut self.peers[key];
        let Phase::Proving(Proof { waiter, mut exchange }) = peer.phase else { panic!("it has no canary") };
        exchange.keep_alive &= self.stopping.is_none();
        self.output.clear();
        self.api.write_readiness(readiness, self.clock.date(), exchange, &mut self.output);
        peer.phase = Phase::Answering { waiter, keep_alive: exchange.keep_alive };
        if readiness == Readiness::Late {
            // It was not answered: nobody is to hear that it has left.
            self.api.hub.cancel(self.now, waiter);
            peer.phase = if exchange.keep_alive { Phase::Serving } else { Phase::Closing { drain: peer.readable } };
        }
        let sent = peer.send(&self.output);
        self.settle(key, sent);
        self.look_again(key);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::config::{Address, Config};
    use crate::server::BoundAddress;

    #[test]
    fn what_does_not_come_out_of_the_hub_is_told_by_the_peers_own_deadline() {
        let listen = vec![Address::Tcp("127.0.0.1:0".parse().unwrap())];
        let mut server = Server::bind(Config { listen, ..Config::default() }, || 0).unwrap();
        let [(BoundAddress::Tcp(address), _)] = &server.addresses()[..] else { panic!("it listens at one") };
        let mut balancer = TcpStream::connect(address).unwrap();
        balancer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        balancer.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        // Turns in which nothing is delivered.
        while !server.peers.iter().any(|(_, peer)| matches!(peer.phase, Phase::Proving(_))) {
            server.wait().unwrap();
            server.now = server.clock.begin_turn();
            server.note_events();
            server.accept();
            server.serve_lines();
        }
        assert!(server.api.hub.has_answers());
        server.now += CANARY - Ms(1);
        server.expire();
        assert!(server.peers.iter().any(|(_, peer)| matches!(peer.phase, Phase::Proving(_))), "there is time left");
        // Reminders may come a little late.
        server.now += Ms::from_secs(1);
        server.expire();
        let mut answer = [0; 1000];
        let count = balancer.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("did not come out in time"), "{answer}");
        // Nothing is left, and the connection can be used again.
        server.api.hub.check();
        assert!(server.peers.iter().all(|(_, peer)| matches!(peer.phase, Phase::Serving)));
        assert!(server.api.hub.next_answer(server.now, &mut u32::MAX.clone()).is_none());
    }
}
