//! What is done with one peer: its requests are read and answered until it has no more, or one of them parks.

use std::borrow::Cow;

use log::debug;

use crate::api::{self, Epoch, Outcome, Press, Progress, Proof, Visit};
use crate::http::{Exchange, Limits, Method, Step, write_continue};
use crate::hub::{Answer, Ending, Owner};
use crate::slots::Key;

use super::Server;
use super::memory::INBOX_BYTES_WHEN_FULL;
use super::peer::{Peer, Phase, Sent};
use crate::buffer::Buffer;

/// What a peer may send behind a parked poll and has kept for it. More stays in the kernel, and the sender waits.
const PIPELINE_BYTES_MAX: usize = 64 << 10;

/// Steps of a large call that are done before another has its turn: some 50 us.
const STEPS_AT_ONCE: u32 = 16;

/// When the answers to pipelined requests have come to this, they are sent before the next request is looked at.
const OUTPUT_BYTES: usize = 64 << 10;

impl Server {
    /// Looks at a peer of which something has been heard, or that was left with something to do.
    pub(super) fn serve(&mut self, key: Key<Peer>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        self.counts.buffer_bytes -= peer.buffered();
        peer.queued = false;
        if !peer.has_taken_all() {
            let sent = peer.flush();
            self.settle(key, sent);
        }
        let (mut reads, is_settling) = (1, self.is_settling());
        while let Some(peer) = self.peers.get_mut(key) {
            match peer.phase {
                // What comes now is for the program to come.
                Phase::Serving if is_settling => break,
                Phase::Serving if peer.has_taken_all() && peer.unread && self.clock.has_time() => {
                    self.answer_inbox(key);
                }
                // A poll whose page has gone takes nothing (WIRE P18), nor does anybody wait for it.
                Phase::Parked(_) | Phase::Streaming { .. } | Phase::Held { .. } | Phase::Proving(_)
                    if peer.has_left() =>
                {
                    self.bury(key);
                }
                Phase::Streaming { .. } if peer.listens() && peer.unread => self.hear_inbox(key),
                Phase::Streaming { .. } if peer.listens() && peer.readable && reads > 0 => {
                    reads -= 1;
                    self.listen(key);
                }
                Phase::Serving if peer.has_taken_all() && !peer.unread && peer.readable && reads > 0 => {
                    reads -= 1;
                    self.read(key);
                }
                Phase::Parked(_)
                | Phase::Held { .. }
                | Phase::Draining
                | Phase::Streaming { .. }
                | Phase::Proving(_)
                    if peer.readable && reads > 0 && !peer.is_socket() =>
                {
                    reads -= 1;
                    self.overhear(key);
                }
                _ => break,
            }
        }
        self.look_again(key);
    }

    /// Puts a peer with something left to do back in line, and sees to its deadline. Whoever does something with a peer takes
    /// its buffers off the count first; here they come back to it.
    pub(super) fn look_again(&mut self, key: Key<Peer>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        self.counts.buffer_bytes += peer.buffered();
        peer.set_deadline(self.now, &self.config);
        let has_taken_all = peer.has_taken_all();
        let left = match peer.phase {
            Phase::Serving => has_taken_all && (peer.unread || peer.readable),
            Phase::Streaming { .. } if peer.is_socket() => has_taken_all && (peer.unread || peer.readable),
            Phase::Parked(_) | Phase::Held { .. } | Phase::Streaming { .. } | Phase::Proving(_) => {
                peer.hung_up || peer.readable && peer.inbox.bytes().len() < PIPELINE_BYTES_MAX
            }
            Phase::Draining => peer.readable,
            Phase::Working { ref mut is_in_line, .. } => {
                // The next piece of its answer is made when the last one has left.
                if has_taken_all && !std::mem::replace(is_in_line, true) {
                    self.jobs.push_back(key);
                }
                false
            }
            Phase::Answering { .. } | Phase::Closing { .. } => false,
        };
        if left {
            self.lines.put(key, peer);
        }
        if let Some(at) = peer.owed_reminder() {
            self.reminders.remind(at, key);
        }
    }

    /// Has the peer looked at by its deadline.
    pub(super) fn remind(&mut self, key: Key<Peer>) {
        if let Some(at) = self.peers.get_mut(key).and_then(Peer::owed_reminder) {
            self.reminders.remind(at, key);
        }
    }

    /// Reads once and answers what has come. Mostly that is one whole request and nothing else, which is taken straight
    /// from the shared buffer.
    fn read(&mut self, key: Key<Peer>) {
        let mut input = std::mem::take(&mut self.input);
        if let Some(count) = self.fill(key, &mut input) {
            self.take_in(key, &input[..count]);
        }
        self.input = input;
    }

    /// Answers what has come, unless something waits in the inbox before it. What cannot be answered yet waits there.
    fn take_in(&mut self, key: Key<Peer>, input: &[u8]) {
        let peer = &mut self.peers[key];
        if !peer.inbox.is_empty() {
            peer.inbox.push(input);
            peer.unread = true;
            return;
        }
        let used = self.answer_requests(key, input);
        if used < input.len()
            && let Some(peer) = self.peers.get_mut(key)
        {
            peer.inbox.push(&input[used..]);
        }
    }

    /// Answers what waits in the inbox.
    fn answer_inbox(&mut self, key: Key<Peer>) {
        let mut inbox = std::mem::take(&mut self.peers[key].inbox);
        let used = self.answer_requests(key, inbox.bytes());
        let Some(peer) = self.peers.get_mut(key) else { return };
        if let Phase::Working { call, .. } = &mut peer.phase
            && let Some(body_bytes) = call.wants_body()
        {
            // It is the last that was used of the inbox, and by far the most of it.
            let bytes = inbox.take(used);
            let begin = bytes.len() - body_bytes;
            call.take_body(bytes, begin);
        } else {
            inbox.consume(used);
        }
        peer.inbox = inbox;
    }

    /// Reads what a peer sends that is not to be answered yet, or not at all.
    fn overhear(&mut self, key: Key<Peer>) {
        let peer = &self.peers[key];
        let throw_away = matches!(peer.phase, Phase::Draining);
        let room =
            if throw_away { self.input.len() } else { PIPELINE_BYTES_MAX.saturating_sub(peer.inbox.bytes().len()) };
        if room == 0 {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let end = room.min(input.len());
        let count = self.fill(key, &mut input[..end]);
        if let (Some(count), Some(peer)) = (count, self.peers.get_mut(key))
            && !throw_away
        {
            peer.inbox.push(&input[..count]);
            peer.unread = true;
        }
        self.input = input;
    }

    /// Reads once. `None` if nothing came; a peer that has closed or broken off is buried.
    pub(super) fn fill(&mut self, key: Key<Peer>, buffer: &mut [u8]) -> Option<usize> {
        let peer = &mut self.peers[key];
        match peer.stream.read(buffer) {
            Ok(0) => {
                debug!("peer {key:?}: has closed");
                self.bury(key);
                None
            }
            Ok(count) => {
                // A short read has emptied the socket: what comes later makes an event. Only the end of the stream
                // does not, if its event has been here already.
                peer.readable = count == buffer.len() || peer.hung_up;
                self.counts.received_bytes += count as u64;
                Some(count)
            }
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock => {
                    peer.readable = false;
                    None
                }
                std::io::ErrorKind::Interrupted => None,
                _ => {
                    debug!("peer {key:?}: {error}");
                    self.bury(key);
                    None
                }
            },
        }
    }

    /// Answers the requests that `input` begins with, as far as they are whole and none parks. Returns how many bytes
    /// they were.
    fn answer_requests(&mut self, key: Key<Peer>, input: &[u8]) -> usize {
        let limits = self.config.http_limits();
        self.output.clear();
        let mut used = 0;
        loop {
            match self.answer_request(key, &limits, &input[used..]) {
                Next::Request(count) => used += count,
                Next::Stop(count) => {
                    used += count;
                    break;
                }
            }
            if self.output.len() >= OUTPUT_BYTES || !self.clock.has_time() {
                self.peers[key].unread = used < input.len();
                break;
            }
        }
        if used < input.len() {
            let peer = &mut self.peers[key];
            peer.unread |= !matches!(peer.phase, Phase::Serving | Phase::Closing { .. });
        }
        if !self.output.is_empty() {
            let sent = self.peers[key].send(&self.output);
            self.settle(key, sent);
        }
        used
    }

    fn answer_request(&mut self, key: Key<Peer>, limits: &Limits, input: &[u8]) -> Next {
        let peer = &mut self.peers[key];
        peer.unread = false;
        match peer.decoder.next(limits, input) {
            Ok(Step::More) if self.memory.is_full && input.len() > INBOX_BYTES_WHEN_FULL => {
                debug!("peer {key:?}: refused with 503, memory is full");
                self.counts.refused.memory += 1;
                api::refuse_for_memory(self.clock.date(), &mut self.output);
                peer.phase = Phase::Closing { drain: true };
                Next::Stop(input.len())
            }
            Ok(Step::More) => Next::Stop(0),
            Ok(Step::Continue) => {
                write_continue(&mut self.output);
                Next::Request(0)
            }
            Ok(Step::Request { request, used }) => {
                peer.begin_next_wait();
                let keep_alive = request.keep_alive && self.stopping.is_none();
                let exchange = Exchange { head_only: request.method == Method::Head, keep_alive };
                let (now, date, owner) = (self.now, self.clock.date(), Owner(key.pack()));
                let visit = Visit { now, date, owner, address: peer.address, entrance: peer.entrance };
                let outcome = self.api.handle(visit, &request, exchange, &mut peer.habit, &mut self.output);
                peer.is_page = matches!(outcome, Outcome::Parked(_));
                match outcome {
                    Outcome::Answered if keep_alive => return Next::Request(used),
                    Outcome::Answered => peer.phase = Phase::Closing { drain: used < input.len() || peer.readable },
                    Outcome::Metrics(format) => {
                        self.write_metrics(format, exchange);
                        if keep_alive {
                            return Next::Request(used);
                        }
                        let peer = &mut self.peers[key];
                        peer.phase = Phase::Closing { drain: used < input.len() || peer.readable };
                    }
                    // What it finds to do comes in turns with that of others.
                    Outcome::Working(mut working) => {
                        // What came in chunks has been put together already. Whatever else is large stands in the inbox.
                        if working.wants_body().is_some()
                            && let Cow::Owned(body) = request.body
                        {
                            working.take_body(body, 0);
                        }
                        if !self.api.waits(&working) {
                            self.jobs.push_back(key);
                        }
                        peer.phase = Phase::Working { call: Box::new(working), is_in_line: true };
                    }
                    Outcome::Parked(parked) => {
                        if self.stopping.is_some() {
                            self.api.hub.end_waiting(parked.waiter, Ending::Stopping);
                        }
                        peer.phase = Phase::Parked(parked);
                    }
                    Outcome::Later(until) => {
                        peer.phase = Phase::Held { until };
                        return Next::Stop(0);
                    }
                    Outcome::Streaming(streaming) => self.begin_stream(key, streaming),
                    Outcome::Proving(proof) => self.await_canary(key, proof),
                    Outcome::Ended => peer.phase = Phase::Closing { drain: true },
                }
                Next::Stop(used)
            }
            Err(error) => {
                debug!("peer {key:?}: refused with {}: {error:?}", error.status().code());
                self.counts.refused.note_error(error);
                api::refuse(error, self.clock.date(), &mut self.output);
                peer.phase = Phase::Closing { drain: true };
                Next::Stop(input.len())
            }
        }
    }

    /// Refuses a request that does not come to its end.
    pub(super) fn refuse_late(&mut self, key: Key<Peer>) {
        debug!("peer {key:?}: refused with 408");
        self.output.clear();
        api::refuse_late(self.clock.date(), &mut self.output);
        let peer = &mut self.peers[key];
        peer.phase = Phase::Closing { drain: true };
        let sent = peer.send(&self.output);
        self.settle(key, sent);
        self.look_again(key);
    }

    /// The time has come for a request that came too early.
    pub(super) fn release(&mut self, key: Key<Peer>) {
        let peer = &mut self.peers[key];
        peer.phase = Phase::Serving;
        self.lines.put(key, peer);
    }

    /// Draws the conclusions from a write.
    pub(super) fn settle(&mut self, key: Key<Peer>, sent: Sent) {
        let peer = &mut self.peers[key];
        if let Sent::Whole(bytes) | Sent::Partly(bytes) = sent {
            self.counts.sent_bytes += bytes as u64;
        }
        match (sent, &peer.phase) {
            // Who does not take its answer at once gets it another time: it has moved nobody's position.
            (Sent::Partly(_), Phase::Answering { .. } | Phase::Streaming { .. }) if self.memory.is_full => {
                self.counts.refused.memory += 1;
                debug!("peer {key:?}: closed, memory is full and it reads slowly");
                self.bury(key);
            }
            (Sent::Partly(_), _) => {}
            (Sent::Broken, _) => {
                debug!("peer {key:?}: has broken off");
                self.bury(key);
            }
            (Sent::Whole(_), &Phase::Answering { waiter, keep_alive }) => {
                self.api.hub.delivered(self.now, waiter);
                peer.phase = Phase::Serving;
                if !keep_alive {
                    let drain = peer.unread || peer.readable;
                    self.close(key, drain);
                }
            }
            (Sent::Whole(_), Phase::Streaming { .. }) => self.go_on_streaming(key),
            (Sent::Whole(_), &Phase::Closing { drain }) => self.close(key, drain),
            (
                Sent::Whole(_),
                Phase::Serving
                | Phase::Working { .. }
                | Phase::Parked(_)
                | Phase::Held { .. }
                | Phase::Proving(_)
                | Phase::Draining,
            ) => {}
        }
    }

    /// Goes on with a call that takes several turns.
    pub(super) fn work_on(&mut self, key: Key<Peer>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        self.counts.buffer_bytes -= peer.buffered();
        let Phase::Working { call, is_in_line } = &mut peer.phase else {
            unreachable!("only a call that is done takes its peer to another phase");
        };
        *is_in_line = false;
        call.exchange.keep_alive &= self.stopping.is_none();
        let keep_alive = call.exchange.keep_alive;
        self.output.clear();
        let progress = self.api.work(call, self.now, self.clock.date(), STEPS_AT_ONCE, &mut self.output);
        if progress == Progress::Waiting {
            // It comes into line when the broker has answered.
            let Phase::Working { is_in_line, .. } = &mut peer.phase else { unreachable!("it is what it was") };
            *is_in_line = true;
        }
        if progress == Progress::Said {
            let drain = peer.unread || peer.readable;
            peer.phase = if keep_alive { Phase::Serving } else { Phase::Closing { drain } };
        }
        if !matches!(progress, Progress::Working | Progress::Waiting) {
            let sent = peer.send(&self.output);
            self.settle(key, sent);
        }
        self.look_again(key);
    }

    /// Ends a connection to which everything is said. If it may have sent more, closing at once would reset it and take
    /// the last answer away: then it is listened to for a while (RFC 9112 section 9.6).
    fn close(&mut self, key: Key<Peer>, drain: bool) {
        let peer = &mut self.peers[key];
        if !drain || peer.stream.finish().is_err() {
            return self.bury(key);
        }
        peer.phase = Phase::Draining;
        peer.inbox = Buffer::default();
        peer.unread = false;
    }

    /// Frees a peer, whose buffers are off the count. Its poll, if it has one, takes nothing.
    pub(super) fn bury(&mut self, key: Key<Peer>) {
        let Some(peer) = self.peers.remove(key) else { return };
        self.visitors.leave(peer.address);
        if let (Phase::Held { .. }, Some(cluster)) = (&peer.phase, &mut self.api.cluster) {
            cluster.forget_visitor(Owner(key.pack()));
        }
        if let Phase::Proving(Proof { waiter, .. }) = peer.phase {
            self.api.hub.cancel(self.now, waiter);
        } else if let Some(waiter) = peer.waiter() {
            self.api.abandon(self.now, waiter, &peer.habit);
        }
    }
}

/// What follows a step of the decoder.
enum Next {
    /// This many bytes are done with; there may be another request behind them.
    Request(usize),
    /// This many bytes are done with, and that is all for now.
    Stop(usize),
}

impl Peer {
    /// Answers the poll that it has parked, or its stream.
    ///
    /// # Panics
    /// If it has neither: the hub owes nothing to anybody else.
    pub(super) fn answer(
        &mut self,
        answer: &Answer<'_>,
        press: &mut Press,
        epoch: Epoch,
        is_last: bool,
        date: &str,
    ) -> Sent {
        if matches!(self.phase, Phase::Streaming { .. }) {
            return self.answer_stream(answer, press, epoch, is_last);
        }
        let Phase::Parked(parked) = &mut self.phase else { panic!("the hub answers a poll that is not parked") };
        assert_eq!(parked.waiter, answer.waiter(), "the hub answers another poll than the one that is parked");
        parked.exchange.keep_alive &= !is_last;
        let bytes = press.print(parked, &self.habit, answer, epoch, date);
        self.phase = Phase::Answering { waiter: parked.waiter, keep_alive: parked.exchange.keep_alive };
        self.send(bytes)
    }
}
