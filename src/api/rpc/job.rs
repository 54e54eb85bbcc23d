//! One body of a request, on its way from bytes to an answer.
//!
//! ```text
//!   body --Reading--> a text that is JSON --Calls--> answer
//! ```
//!
//! Each step takes some us. A job that is done within the steps it is given at once never copies its body; one that is not
//! is kept, and goes on in later turns.

use std::borrow::Cow;

use crate::cluster::Cluster;
use crate::json;

use super::Outcome;
use super::answer::Answer;
use super::call::Service;
use super::calls::Calls;
use super::fault::Refusal;
use super::syntax::{Checker, Malformed};
use super::value::Text;

/// A body on its way to its answer.
#[derive(Debug)]
pub(in crate::api) struct Job<'a> {
    reading: Reading<'a>,
    calls: Option<Calls>,
    answer: Answer,
    outcome: Option<Outcome>,
}

/// A body of which is found out whether it is JSON.
#[derive(Debug)]
struct Reading<'a> {
    /// The body, and what stood before it when it was taken over with that.
    bytes: Cow<'a, [u8]>,
    /// Where the body begins.
    begin: usize,
    /// So many bytes are still to be taken over.
    missing: Option<usize>,
    /// So much of it is free of lone halves of surrogate pairs (WIRE J14).
    mended: usize,
    checker: Checker,
    /// Where its long values are, once all of it is read.
    long: Vec<(usize, usize)>,
}

/// A body of that size is read in one step, in some 10 us, and copied only if its call takes longer.
const BODY_AT_ONCE: usize = 4 << 10;

/// A body of that size is copied in some 10 us. A larger one is taken over.
const COPIED_MAX: usize = 64 << 10;

/// What is read of a larger one in one step.
const READ_BYTES: usize = 512;

impl<'a> Job<'a> {
    /// A job for a body. Its answer is written into `out`, which is empty.
    pub(in crate::api) fn new(body: &'a [u8], out: Vec<u8>) -> Job<'a> {
        Job { reading: Reading::new(body), calls: None, answer: Answer::new(out), outcome: None }
    }

    /// The same job, to be kept for later turns.
    pub(in crate::api) fn into_owned(self) -> Job<'static> {
        let Job { reading, calls, answer, outcome } = self;
        let bytes = Cow::Owned(reading.bytes.into_owned());
        Job { reading: Reading { bytes, ..reading }, calls, answer, outcome }
    }

    /// How long the body is, if it has to be taken over because it is too large to be copied.
    pub(in crate::api) fn wants_body(&self) -> Option<usize> {
        self.reading.missing
    }

    /// Takes over the body, which begins at that place.
    pub(in crate::api) fn take_body(&mut self, bytes: Vec<u8>, begin: usize) {
        let checker = Checker::at_place(begin);
        self.reading =
            Reading { bytes: Cow::Owned(bytes), begin, missing: None, mended: begin, checker, long: Vec::new() };
    }

    /// Whether it waits for a reply that has not come.
    pub(in crate::api) fn waits(&self, cluster: &Cluster) -> bool {
        let ticket = self.calls.as_ref().and_then(Calls::waits_for);
        ticket.is_some_and(|ticket| !cluster.has_answer(ticket))
    }

    /// Goes on, and takes one off `budget` for each step. `None` if it is not done when that is used up.
    pub(in crate::api) fn go_on(&mut self, service: &mut Service<'_>, budget: &mut u32) -> Option<Outcome> {
        while self.outcome.is_none() && *budget > 0 && self.wants_body().is_none() && !service.makes_wait(self) {
            self.outcome = match &mut self.calls {
                Some(calls) => calls.go_on(self.reading.text(), service, &mut self.answer, budget),
                None => {
                    *budget -= 1;
                    self.read()
                }
            };
            if self.outcome.is_some_and(|outcome| outcome != Outcome::Silent) {
                self.answer.out().push(b'\n');
            }
        }
        self.outcome
    }

    /// What is written of the answer so far.
    pub(in crate::api) fn answer(&mut self) -> &mut Answer {
        &mut self.answer
    }

    /// Reads some more of the body. Its calls begin when all of it is read.
    fn read(&mut self) -> Option<Outcome> {
        let refusal = match self.reading.read()? {
            Ok(()) => match Calls::of(self.reading.text(), self.reading.checker.commas()) {
                Ok(calls) => {
                    self.calls = Some(calls);
                    return None;
                }
                Err(refusal) => refusal,
            },
            Err(Malformed { at, what }) => Refusal::syntax(at - self.reading.begin, what),
        };
        Some(refusal.write(self.answer.out()))
    }
}

impl<'a> Reading<'a> {
    fn new(body: &'a [u8]) -> Reading<'a> {
        let missing = (body.len() > COPIED_MAX).then_some(body.len());
        let (bytes, mended) = if body.len() <= BODY_AT_ONCE {
            (json::mend_surrogates(body), body.len())
        } else if missing.is_none() {
            (Cow::Owned(body.to_vec()), 0)
        } else {
            (Cow::Borrowed(&body[..0]), 0)
        };
        Reading { bytes, begin: 0, missing, mended, checker: Checker::default(), long: Vec::new() }
    }

    /// One step. `None` if there is more to read.
    fn read(&mut self) -> Option<Result<(), Malformed>> {
        let step = if self.bytes.len() <= BODY_AT_ONCE { BODY_AT_ONCE } else { READ_BYTES };
        let end = self.bytes.len().min(self.checker.at() + step);
        if self.mended < end {
            self.mended = json::mend_surrogates_until(self.bytes.to_mut(), self.mended, end);
        }
        if let Err(malformed) = self.checker.read(&self.bytes, end) {
            return Some(Err(malformed));
        }
        (end == self.bytes.len()).then(|| self.checker.finish().map(|long| self.long = long))
    }

    fn text(&self) -> Text<'_> {
        Text { bytes: &self.bytes, begin: self.begin, long: &self.long }
    }
}
