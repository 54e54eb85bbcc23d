//! A call under way: its arguments, and how results are written.

use std::borrow::Cow;

use crate::broker::{Failure, Ticket, Value};
use crate::clock::Ms;
use crate::cluster::Cluster;
use crate::hub::{Hub, Owner};
use crate::json;

use super::fault::Fault;
use super::job::Job;
use super::remote::fault;
use super::value::{Json, Kind, Members, Walk};
use super::work::Work;
use crate::api::{Epoch, Token};

/// What a call works with.
#[derive(Debug)]
pub(in crate::api) struct Service<'a> {
    pub(in crate::api) hub: &'a mut Hub,
    pub(in crate::api) now: Ms,
    pub(in crate::api) epoch: Epoch,
    /// Bytes of an id or a name.
    pub(in crate::api) name_bytes_max: usize,
    /// How many were longer.
    pub(in crate::api) long_names: &'a mut u64,
    /// Which methods there are for the caller.
    pub(in crate::api) scope: Scope,
    /// If several nodes share one model.
    pub(in crate::api) cluster: Option<&'a mut Cluster>,
    /// Whose call it is.
    pub(in crate::api) owner: Owner,
}

/// What a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Scope {
    /// All methods.
    All,
    /// What the dashboard's page needs: nothing that gives a key away or speaks in somebody's name.
    Dashboard,
}

/// What the dashboard has.
const DASHBOARD: [&str; 9] = [
    "channel_info",
    "client_info",
    "get_channel_clients",
    "get_client_channels",
    "history",
    "kill_client",
    "list_channels",
    "list_clients",
    "why",
];

impl Scope {
    pub(super) fn has(self, method: &str) -> bool {
        self == Scope::All || DASHBOARD.contains(&method)
    }
}

/// A call under way.
pub(super) struct Call<'a, 'b, 's> {
    pub(super) service: &'b mut Service<'s>,
    /// One for each parameter of the method.
    pub(super) arguments: Vec<Json<'a>>,
    pub(super) out: &'b mut Vec<u8>,
    /// What is still to be done when the method returns, and writes the result then.
    pub(super) rest: Option<Work>,
}

impl Service<'_> {
    /// The name, if it is not too long.
    pub(super) fn limited<'n>(&mut self, name: Cow<'n, str>) -> Result<Cow<'n, str>, Fault> {
        let (bytes, most) = (name.len(), self.name_bytes_max);
        if bytes > most {
            *self.long_names += 1;
            return Err(Fault::Limit(format!("an id or a name has {bytes} bytes; --max-name is {most}")));
        }
        Ok(name)
    }

    pub(super) fn write_position(&self, seq: u64, out: &mut Vec<u8>) {
        json::write_str(out, &self.epoch.token(seq).to_string());
    }

    /// Whether several nodes share one model: then calls are done by the broker.
    pub(super) fn is_shared(&self) -> bool {
        self.cluster.is_some()
    }

    /// Calls a function of the broker's.
    pub(super) fn ask(&mut self, function: &str, arguments: &[&[u8]]) -> Result<Ticket, Fault> {
        let cluster = self.cluster.as_mut().expect("only a node that shares a model asks");
        cluster.ask(self.now, self.owner, function, arguments).map_err(|failure| fault(failure, ""))
    }

    /// How far a client has come is to be known before it is subscribed to something.
    pub(super) fn tell_position(&mut self, client: &str) {
        if let Some(cluster) = &mut self.cluster {
            cluster.tell_position(self.now, self.hub, client);
        }
    }

    /// What came of it, when it has come.
    pub(super) fn take_answer(&mut self, ticket: Ticket) -> Option<Result<Value, Failure>> {
        self.cluster.as_mut()?.take_answer(ticket)
    }

    /// Whether a job has to wait for a reply.
    pub(super) fn makes_wait(&self, job: &Job<'_>) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| job.waits(cluster))
    }

    /// A hub that knows of one channel, and of one client if it is given: what the broker says of them. `None` if it says
    /// something else.
    pub(super) fn picture(&self, client: Option<(&str, &Value)>, channel: &Value, name: &str) -> Option<Hub> {
        self.cluster.as_ref()?.picture(self.now, client, channel, name)
    }
}

impl<'a> Call<'a, '_, '_> {
    /// The `at`-th argument as an id or a name. Numbers are the same as their digits (WIRE M14, M15).
    pub(super) fn name(&mut self, at: usize) -> Result<Cow<'a, str>, Fault> {
        self.service.limited(name(self.arguments[at])?)
    }

    /// The argument of that place, if it is there.
    pub(super) fn optional(&self, at: usize) -> Option<Json<'a>> {
        Some(self.arguments[at]).filter(|value| value.kind() != Kind::Null)
    }

    /// A whole number that may be left out.
    pub(super) fn number(&self, at: usize, default: usize) -> Result<usize, Fault> {
        self.optional(at).map_or(Ok(default), number)
    }

    /// A position that may be left out.
    pub(super) fn position(&self, value: Option<Json<'_>>) -> Result<Option<u64>, Fault> {
        let Some(value) = value else { return Ok(None) };
        let token = (value.kind() == Kind::String).then(|| Token::parse(&value.unquote())).flatten();
        let token = token.ok_or_else(|| Fault::Arguments("since is no position that this server gave".to_owned()))?;
        // Of another epoch: nothing is known of what came before.
        let seq = self.service.epoch.seq(token).unwrap_or(0);
        // Other nodes may be ahead of this one.
        Ok(Some(if self.service.is_shared() { seq } else { seq.min(self.service.hub.position()) }))
    }

    /// `1`, as the original's single calls return.
    pub(super) fn one(&mut self) {
        self.out.push(b'1');
    }

    /// `200`, as the original's calls that return nothing do (WIRE M4).
    pub(super) fn nothing(&mut self) {
        self.out.extend_from_slice(b"200");
    }
}

pub(super) fn write_member(out: &mut Vec<u8>, open: &str, name: &str, value: u64) {
    out.extend_from_slice(format!("{open}\"{name}\":{value}").as_bytes());
}

/// The members of an object that may be left out.
pub(super) fn options<'a>(call: &Call<'a, '_, '_>, at: usize) -> Result<Members<'a>, Fault> {
    match call.optional(at) {
        None => Ok(Members::default()),
        Some(value) if value.kind() == Kind::Object => members(value),
        Some(_) => Err(Fault::Arguments("options is not an object".to_owned())),
    }
}

/// The members of an object.
pub(super) fn members(object: Json<'_>) -> Result<Members<'_>, Fault> {
    object.members().ok_or_else(|| Fault::Arguments("an object has too many members".to_owned()))
}

pub(super) fn none_left(options: &Members<'_>) -> Result<(), Fault> {
    match options.first_name() {
        Some(name) => Err(Fault::Arguments(format!("there is no option '{name}'"))),
        None => Ok(()),
    }
}

pub(super) fn number(value: Json<'_>) -> Result<usize, Fault> {
    value.as_str().parse().map_err(|_| Fault::Arguments("a number is no whole number of 0 or more".to_owned()))
}

pub(super) fn name(value: Json<'_>) -> Result<Cow<'_, str>, Fault> {
    match value.kind() {
        Kind::String => Ok(value.unquote()),
        Kind::Number => Ok(Cow::Borrowed(value.as_str())),
        Kind::Null => Err(Fault::Arguments("an id or a name is null; it must be a string or a number".to_owned())),
        Kind::Bool | Kind::Array | Kind::Object => {
            Err(Fault::Arguments("an id or a name is neither a string nor a number".to_owned()))
        }
    }
}

/// A walk through a list.
pub(super) fn list(value: Json<'_>) -> Result<Walk, Fault> {
    match value.kind() {
        Kind::Array => Ok(value.walk()),
        _ => Err(Fault::Arguments("clients or channels are wanted as a list, such as [\"a\", \"b\"]".to_owned())),
    }
}

pub(super) fn write_names<'a>(out: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) {
    out.push(b'[');
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::write_str(out, name);
    }
    out.push(b']');
}
