//! A server without sockets: one client that is subscribed to one channel, and requests as bytes.

use shaveet::api::{Api, Entrance, Habit, Outcome, Press, Progress, Visit};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::http::{Decoder, Exchange, Limits, Step};
use shaveet::hub::{Hub, Owner};

const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

pub(crate) struct World {
    pub(crate) api: Api,
    press: Press,
}

impl World {
    pub(crate) fn new() -> World {
        let config = Config::default();
        let api = Api::new(&config, Hub::new(Ms::ZERO, config.hub_limits()), DATE, 7, 7);
        World { api, press: Press::default() }
    }

    /// The answer to a request of the web application, or of a page; `None` if it is no whole request.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let limits = Limits { head_bytes: 64 << 10, body_bytes: 64 << 10 };
        let (mut out, mut habit) = (Vec::new(), Habit::default());
        let visit = Visit { now: Ms(1), date: DATE, owner: Owner(1), address: None, entrance: Entrance::Shared };
        let Ok(Step::Request { request, .. }) = Decoder::new().next(&limits, request) else { return None };
        let exchange = Exchange { head_only: false, keep_alive: true };
        match self.api.handle(visit, &request, exchange, &mut habit, &mut out) {
            Outcome::Answered | Outcome::Ended | Outcome::Streaming(_) | Outcome::Later(_) | Outcome::Metrics(_) => {}
            Outcome::Proving(proof) => {
                let answer = self.api.hub.next_answer(Ms(1), &mut u32::MAX.clone());
                assert!(answer.is_some_and(|answer| answer.waiter() == proof.waiter && answer.brings_canary()));
                self.api.hub.delivered(Ms(1), proof.waiter);
            }
            Outcome::Working(mut working) => {
                if working.wants_body().is_some() {
                    working.take_body(request.body.to_vec(), 0);
                }
                while self.api.work(&mut working, Ms(1), DATE, 64, &mut out) != Progress::Said {}
            }
            Outcome::Parked(parked) => {
                self.api.hub.handle_timeout(Ms::from_secs(60), &mut u32::MAX.clone());
                while out.is_empty() && self.api.hub.has_answers() {
                    if let Some(answer) = self.api.hub.next_answer(Ms::from_secs(60), &mut u32::MAX.clone()) {
                        out.extend_from_slice(self.press.print(&parked, &habit, &answer, self.api.epoch, DATE));
                    }
                }
                self.api.hub.delivered(Ms::from_secs(60), parked.waiter);
            }
        }
        self.api.hub.check();
        Some(out)
    }

    /// The answer to a call.
    pub(crate) fn call(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        self.ask(&[head.as_bytes(), body].concat())
    }
}

/// The body of an answer.
pub(crate) fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    &answer[end + 4..]
}
