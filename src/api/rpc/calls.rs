//! The calls of a body: one, or those of a batch, each after the other.

use super::answer::{ANSWER_BYTES_MAX, Answer, Mark};
use super::call::{Call, Service};
use super::fault::{Fault, Refusal, write_error};
use super::methods::{METHODS, bind};
use super::value::{Json, Kind, Members, Text, Walk};
use super::work::Work;
use super::{Dialect, Outcome, remote};
use crate::broker::Ticket;
use crate::json;

/// The calls of one body.
#[derive(Debug)]
pub(super) struct Calls {
    stage: Stage,
    /// The call that is under way.
    running: Option<Running>,
}

#[derive(Debug)]
enum Stage {
    /// One call is still to be done.
    One,
    /// It is done, or under way.
    Last,
    /// The calls of a batch behind this place are still to be done.
    Batch(Batch),
}

#[derive(Debug)]
struct Batch {
    walk: Walk,
    /// What stands before the next answer: a bracket if there is none yet, a comma otherwise.
    open: u8,
    /// There was a request of JSON-RPC 2.0: it is a batch.
    has_two: bool,
}

/// A call under way.
#[derive(Debug)]
struct Running {
    dialect: Dialect,
    /// Where its id begins, if it has one.
    id: Option<usize>,
    /// What stands before its answer; `None` if it is alone.
    open: Option<u8>,
    is_notification: bool,
    /// Where its answer begins.
    mark: Mark,
    /// What is left to do.
    work: Work,
}

/// Calls in one batch.
pub(super) const BATCH_MAX: usize = 1000;

impl Calls {
    /// Those of a text with so many commas on the outermost level.
    pub(super) fn of(text: Text<'_>, commas: usize) -> Result<Calls, Refusal> {
        let value = text.root();
        let stage = match value.kind() {
            Kind::Object => Stage::One,
            Kind::Array if commas >= BATCH_MAX => {
                let text = format!("a batch of {} calls; {BATCH_MAX} is the most", commas + 1);
                return Err(Refusal::request(text));
            }
            Kind::Array => Stage::Batch(Batch { walk: value.walk(), open: b'[', has_two: false }),
            Kind::String | Kind::Number | Kind::Null | Kind::Bool => {
                return Err(Refusal::request("the body is neither an object nor a batch of JSON-RPC 2.0"));
            }
        };
        Ok(Calls { stage, running: None })
    }

    /// The reply that the call under way waits for, if it does.
    pub(super) fn waits_for(&self) -> Option<Ticket> {
        self.running.as_ref()?.work.waits_for()
    }

    /// One call, or part of one.
    pub(super) fn go_on(
        &mut self,
        text: Text<'_>,
        service: &mut Service<'_>,
        answer: &mut Answer,
        budget: &mut u32,
    ) -> Option<Outcome> {
        if let Some(running) = &mut self.running {
            let done = running.work.go_on(text, service, answer.out(), budget);
            let done = match done {
                Ok(_) if !answer.turn() => {
                    Err(Fault::Limit(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")))
                }
                done => done,
            };
            match done {
                Ok(true) => self.finish(text, answer, Ok(())),
                Ok(false) => {}
                Err(fault) => self.finish(text, answer, Err(fault)),
            }
            return None;
        }
        *budget -= 1;
        match &mut self.stage {
            Stage::One => {
                self.stage = Stage::Last;
                self.begin_one(text, service, answer)
            }
            Stage::Last => Some(Outcome::Answered),
            Stage::Batch(batch) => match batch.walk.next_element(text) {
                Some(request) => {
                    self.begin_next(text, request, service, answer);
                    None
                }
                None => Some(batch.end(answer)),
            },
        }
    }

    fn begin_one(&mut self, text: Text<'_>, service: &mut Service<'_>, answer: &mut Answer) -> Option<Outcome> {
        let Some(request) = text.root().members() else {
            return Some(Refusal::request("the request has too many members").write(answer.out()));
        };
        let two = says_two(&request) && request.get("id").is_some();
        if !two && !names_method(&request) {
            return Some(Refusal::request("the member method is missing or no string").write(answer.out()));
        }
        let dialect = if two { Dialect::Two } else { Dialect::Original };
        let running = Running::of(&request, dialect, None, false, answer);
        self.perform(running, request, text, service, answer);
        None
    }

    fn begin_next(&mut self, text: Text<'_>, request: Json<'_>, service: &mut Service<'_>, answer: &mut Answer) {
        let Stage::Batch(batch) = &mut self.stage else { unreachable!("only a batch has a next call") };
        let two = if request.kind() == Kind::Object { request.members().filter(says_two) } else { None };
        if let Some(request) = two {
            batch.has_two = true;
            let is_notification = request.get("id").is_none() && names_method(&request);
            let running = Running::of(&request, Dialect::Two, Some(batch.open), is_notification, answer);
            self.perform(running, request, text, service, answer);
        } else {
            answer.out().push(batch.open);
            batch.open = b',';
            write_error(answer.out(), Dialect::Two, &Fault::Request("not a request of JSON-RPC 2.0"), Json::NULL);
        }
    }

    /// Begins a call. Most are done by that.
    fn perform(
        &mut self,
        running: Running,
        request: Members<'_>,
        text: Text<'_>,
        service: &mut Service<'_>,
        answer: &mut Answer,
    ) {
        let out = answer.out();
        out.extend(running.open);
        out.extend_from_slice(match running.dialect {
            Dialect::Original => br#"{"result":"#,
            Dialect::Two => br#"{"jsonrpc":"2.0","result":"#,
        });
        let dialect = running.dialect;
        let running = self.running.insert(running);
        match dispatch(service, &request, dialect, out) {
            Ok(Some(work)) => running.work = work,
            Ok(None) => self.finish(text, answer, Ok(())),
            Err(fault) => self.finish(text, answer, Err(fault)),
        }
    }

    /// The call under way is done.
    fn finish(&mut self, text: Text<'_>, answer: &mut Answer, result: Result<(), Fault>) {
        let running = self.running.take().expect("the caller has seen it");
        if running.is_notification {
            return answer.truncate(running.mark);
        }
        let id = running.id.map_or(Json::NULL, |at| text.value_at(at));
        match result {
            Ok(()) => {
                write_id(answer.out(), running.dialect, id);
                answer.out().push(b'}');
            }
            Err(fault) => {
                answer.truncate(running.mark);
                answer.out().extend(running.open);
                write_error(answer.out(), running.dialect, &fault, id);
            }
        }
        if let Stage::Batch(batch) = &mut self.stage {
            batch.open = b',';
        }
    }
}

impl Batch {
    /// All of it is done.
    fn end(&self, answer: &mut Answer) -> Outcome {
        if !self.has_two {
            answer.out().clear();
            return Refusal::request("the list is no batch of JSON-RPC 2.0").write(answer.out());
        }
        if self.open == b'[' {
            return Outcome::Silent;
        }
        answer.out().push(b']');
        Outcome::Answered
    }
}

impl Running {
    fn of(
        request: &Members<'_>,
        dialect: Dialect,
        open: Option<u8>,
        is_notification: bool,
        answer: &mut Answer,
    ) -> Running {
        let id = request.get("id").map(|id| id.start());
        Running { dialect, id, open, is_notification, mark: answer.mark(), work: Work::Nothing }
    }
}

fn says_two(request: &Members<'_>) -> bool {
    request.get("jsonrpc").is_some_and(|version| version.is_string("2.0"))
}

fn names_method(request: &Members<'_>) -> bool {
    request.get("method").is_some_and(|method| method.kind() == Kind::String)
}

/// The id as it came; the original leaves out one that is null (WIRE J3).
pub(super) fn write_id(out: &mut Vec<u8>, dialect: Dialect, id: Json<'_>) {
    if dialect == Dialect::Two || id.kind() != Kind::Null {
        out.extend_from_slice(br#","id":"#);
        json::write_text(out, id.as_str());
    }
}

/// Calls a method. What it does not do at once comes back.
fn dispatch(
    service: &mut Service<'_>,
    request: &Members<'_>,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> Result<Option<Work>, Fault> {
    let Some(name) = request.get("method").filter(|method| method.kind() == Kind::String) else {
        return Err(Fault::Request("the member method is missing or no string"));
    };
    let name = name.unquote();
    let found = METHODS.binary_search_by_key(&&*name, |method| method.name).ok();
    let Some(method) = found.map(|at| &METHODS[at]).filter(|method| service.scope.has(method.name)) else {
        return Err(Fault::UnknownMethod(name.into_owned()));
    };
    let arguments = bind(method, dialect, request.get("params").unwrap_or(Json::NULL))?;
    let remote = if service.is_shared() { remote::method(method.name) } else { None };
    let mut call = Call { service, arguments, out, rest: None };
    remote.unwrap_or(method.call)(&mut call)?;
    Ok(call.rest)
}
