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
