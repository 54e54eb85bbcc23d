//! What is done with a peer that streams: what its page says is heard, and it hears something every so often.
//!
//! A stream's answer leaves as any other. Until the socket has taken it whole the hub is not told, and so makes no
//! other: nothing piles up here for a reader that does not keep up. Nor is such a one listened to.

use log::debug;

use crate::api::{Epoch, Heard, Press, Streaming};
use crate::hub::{Answer, Ending};
use crate::slots::Key;

use super::Server;
use super::peer::{Peer, Phase, Sent};

impl Server {
    /// Begins a stream on a connection, behind its head.
    pub(super) fn begin_stream(&mut self, key: Key<Peer>, streaming: Box<Streaming>) {
        if self.stopping.is_some() {
            self.api.hub.end_waiting(streaming.waiter, Ending::Stopping);
        }
        let peer = &mut self.peers[key];
        // A page that is gone without a word is known by not acknowledging what it is sent every so often.
        if let Err(error) = peer.stream.set_user_timeout(self.config.write_timeout.as_duration()) {
            debug!("peer {key:?}: {error}");
        }
        peer.phase = Phase::Streaming { streaming, is_answered: false };
    }

    /// The socket has taken everything: if that was an answer the hub may make another.
    pub(super) fn go_on_streaming(&mut self, key: Key<Peer>) {
        if let Phase::Streaming { streaming, is_answered } = &mut self.peers[key].phase
            && std::mem::take(is_answered)
        {
            self.api.hub.delivered(self.now, streaming.waiter);
        }
    }

    /// Reads once, and takes what the page has said.
    pub(super) fn listen(&mut self, key: Key<Peer>) {
        let mut input = std::mem::take(&mut self.input);
        if let Some(count) = self.fill(key, &mut input) {
            self.hear(key, &input[..count]);
        }
        self.input = input;
    }

    /// Takes what came with the request that began the stream.
    pub(super) fn hear_inbox(&mut self, key: Key<Peer>) {
        let peer = &mut self.peers[key];
        peer.unread = false;
        let inbox = std::mem::take(&mut peer.inbox);
        self.hear(key, inbox.bytes());
    }

    fn hear(&mut self, key: Key<Peer>, input: &[u8]) {
        let peer = &mut self.peers[key];
        let Phase::Streaming { streaming, .. } = &mut peer.phase else { return };
        self.output.clear();
        if self.api.receive(self.now, streaming, input, &mut self.output) == Heard::End {
            self.api.hub.cancel(self.now, streaming.waiter);
            peer.phase = Phase::Closing { drain: true };
        }
        if !self.output.is_empty() {
            let sent = peer.send(&self.output);
            self.settle(key, sent);
        }
    }

    /// The page of a stream is to hear something, be it nothing.
    pub(super) fn beat(&mut self, key: Key<Peer>) {
        let peer = &mut self.peers[key];
        if let Phase::Streaming { streaming, .. } = &mut peer.phase {
            streaming.beat();
            self.api.hub.say_word(streaming.waiter);
            peer.begin_next_wait();
            peer.set_deadline(self.now, &self.config);
        }
        self.remind(key);
    }
}

impl Peer {
    /// Whether it is a WebSocket.
    pub(super) fn is_socket(&self) -> bool {
        matches!(&self.phase, Phase::Streaming { streaming, .. } if streaming.listens())
    }

    /// Whether its page may say something now.
    pub(super) fn listens(&self) -> bool {
        self.is_socket() && self.has_taken_all()
    }

    /// Writes what its stream is owed.
    pub(super) fn answer_stream(
        &mut self,
        answer: &Answer<'_>,
        press: &mut Press,
        epoch: Epoch,
        is_last: bool,
    ) -> Sent {
        let Phase::Streaming { streaming, is_answered } = &mut self.phase else { panic!("it has no stream") };
        assert_eq!(streaming.waiter, answer.waiter(), "the hub answers another stream");
        assert!(!std::mem::replace(is_answered, true), "the hub makes one answer after the other");
        let bytes = press.print_part(streaming, answer, epoch);
        if answer.ending().is_some() {
            let (waiter, keep_alive) = (streaming.waiter, streaming.keeps_alive() && !is_last);
            self.phase = Phase::Answering { waiter, keep_alive };
        }
        self.send(bytes)
    }
}
