//! Calls of the JSON-RPC API, in version 2.0, over a connection that is kept.

use std::io;

use serde_json::{Value, json};

use super::failure::Failure;
use super::http::{Answer, Connection, request};
use super::reach::Reach;

/// The API of a server.
pub(in crate::cli) struct Api<'r> {
    pub(in crate::cli) reach: &'r Reach,
    connection: Option<Connection>,
}

/// A call: its method and its parameters.
pub(in crate::cli) type Call<'c> = (&'c str, Value);

/// Bytes and calls of one batch, about: the server takes 4 MiB, and works on it bit by bit.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_CALLS: usize = 500;

impl<'r> Api<'r> {
    /// Nothing is sent yet.
    pub(in crate::cli) fn new(reach: &'r Reach) -> Api<'r> {
        Api { reach, connection: None }
    }

    /// Calls a method and gives its result.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::cli) fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        let call = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1});
        let answer = self.post(call.to_string().as_bytes())?;
        result(parsed(&answer)?)
    }

    /// Calls several, in as many requests as it takes, and gives to each its result or why it has none.
    ///
    /// # Errors
    /// Nothing could be called at all.
    pub(in crate::cli) fn calls<'c>(
        &mut self,
        calls: impl IntoIterator<Item = Call<'c>>,
    ) -> Result<Vec<Result<Value, Failure>>, Failure> {
        let mut results = Vec::new();
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let mut batch = String::from("[");
            let mut count = 0;
            while let Some((method, params)) = calls.next_if(|_| count < BATCH_CALLS && batch.len() < BATCH_BYTES) {
                let comma = if count > 0 { "," } else { "" };
                let call = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": count});
                batch += &format!("{comma}{call}");
                count += 1;
            }
            batch.push(']');
            let answers = parsed(&self.post(batch.as_bytes())?)?;
            let Value::Array(answers) = answers else {
                return Err(Failure::Other(format!("a list of {count} answers is wanted, not {answers}")));
            };
            if answers.len() != count {
                return Err(Failure::Other(format!("{count} answers are wanted, not {}", answers.len())));
            }
            let mut answers: Vec<(u64, Value)> =
                answers.into_iter().map(|answer| (answer["id"].as_u64().unwrap_or(u64::MAX), answer)).collect();
            answers.sort_by_key(|(id, _)| *id);
            results.extend(answers.into_iter().map(|(_, answer)| result(answer)));
        }
        Ok(results)
    }

    /// All pages of a list of names.
    ///
    /// # Errors
    /// Of the call, or of what is done with a page.
    pub(in crate::cli) fn each_page(
        &mut self,
        method: &str,
        member: &str,
        prefix: &str,
        mut deed: impl FnMut(&mut Api<'r>, Vec<String>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after = Value::Null;
        loop {
            let mut page = self.call(method, json!({"prefix": prefix, "after": after}))?;
            let names = serde_json::from_value(page[member].take())
                .map_err(|error| Failure::Other(format!("{method} gives no list of names: {error}")))?;
            deed(self, names)?;
            after = page["after"].take();
            if after.is_null() {
                return Ok(());
            }
        }
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// Why it says nothing.
    pub(in crate::cli) fn metrics(&mut self) -> Result<String, Failure> {
        let answer = self.ask("GET", "/metrics", b"")?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    fn post(&mut self, body: &[u8]) -> Result<Answer, Failure> {
        self.ask("POST", "/", body)
    }

    /// All that is asked may be asked twice. So a connection that the server has closed meanwhile is no failure.
    fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Result<Answer, Failure> {
        let calls = &self.reach.calls;
        let request = request(method, target, &calls.place.host(), &self.reach.lines(), body);
        let kept = self.connection.take();
        let was_kept = kept.is_some();
        let answer = match attempt(kept, calls, &request) {
            Err(error) if was_kept && error.kind() != io::ErrorKind::TimedOut => attempt(None, calls, &request),
            other => other,
        };
        let (answer, connection) = answer.map_err(|error| Failure::of(&error, calls))?;
        self.connection = (!answer.is_last).then_some(connection);
        match answer.status {
            200 => Ok(answer),
            404 => Err(self.reach.refused()),
            413 => Err(Failure::Other(format!("{} takes no call of {} bytes: --max-body", calls.place, body.len()))),
            status => {
                let text = String::from_utf8_lossy(&answer.body);
                Err(Failure::Other(format!("{} answers {status}: {}", calls.place, super::output::Plain(text.trim()))))
            }
        }
    }
}

fn attempt(
    kept: Option<Connection>,
    target: &super::reach::Target,
    request: &[u8],
) -> io::Result<(Answer, Connection)> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(&target.place)?,
    };
    // Who refuses a large request may answer before it has read it.
    let sent = connection.send(request);
    match connection.answer() {
        Ok(answer) => Ok((answer, connection)),
        Err(error) => Err(sent.err().unwrap_or(error)),
    }
}

fn parsed(answer: &Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| Failure::Other(format!("the answer is no JSON: {error}")))
}

/// The result in a response object.
fn result(mut answer: Value) -> Result<Value, Failure> {
    match answer.get("error") {
        None => Ok(answer["result"].take()),
        Some(error) => Err(Failure::Fault {
            code: error["code"].as_i64().unwrap_or(0),
            message: error["message"].as_str().unwrap_or("no reason").to_owned(),
        }),
    }
}
