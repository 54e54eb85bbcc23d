//! A call under way: its arguments, and how results are written.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::clock::Ms;
use crate::hub::Hub;
use crate::json;

use super::fault::Fault;
use super::value::{Kind, Members, elements, members, unquote};
use crate::api::{Epoch, Token};

/// What a call works with.
#[derive(Debug)]
pub(in crate::api) struct Service<'a> {
    pub(in crate::api) hub: &'a mut Hub,
    pub(in crate::api) now: Ms,
    pub(in crate::api) epoch: Epoch,
    /// Bytes of an id or a name.
    pub(in crate::api) name_bytes_max: usize,
}

/// A call under way.
pub(super) struct Call<'a, 'b, 's> {
    pub(super) service: &'b mut Service<'s>,
    /// One for each parameter of the method.
    pub(super) arguments: Vec<&'a RawValue>,
    pub(super) out: &'b mut Vec<u8>,
}

impl<'a> Call<'a, '_, '_> {
    /// The `at`-th argument as an id or a name. Numbers are the same as their digits (WIRE M14, M15).
    pub(super) fn name(&self, at: usize) -> Result<Cow<'a, str>, Fault> {
        self.limited(name(self.arguments[at])?)
    }

    pub(super) fn limited(&self, name: Cow<'a, str>) -> Result<Cow<'a, str>, Fault> {
        let (bytes, most) = (name.len(), self.service.name_bytes_max);
        if bytes > most {
            return Err(Fault::Limit(format!("an id or a name has {bytes} bytes; --max-name is {most}")));
        }
        Ok(name)
    }

    /// The argument of that place, if it is there.
    pub(super) fn optional(&self, at: usize) -> Option<&'a RawValue> {
        Some(self.arguments[at]).filter(|value| Kind::of(value) != Kind::Null)
    }

    /// A whole number that may be left out.
    pub(super) fn number(&self, at: usize, default: usize) -> Result<usize, Fault> {
        self.optional(at).map_or(Ok(default), number)
    }

    /// A position that may be left out.
    pub(super) fn position(&self, value: Option<&RawValue>) -> Result<Option<u64>, Fault> {
        let Some(value) = value else { return Ok(None) };
        let token = (Kind::of(value) == Kind::String).then(|| Token::parse(&unquote(value))).flatten();
        let token = token.ok_or_else(|| Fault::Arguments("since is no position that this server gave".to_owned()))?;
        // Of another epoch: nothing is known of what came before.
        Ok(Some(self.service.epoch.seq(token).unwrap_or(0).min(self.service.hub.position())))
    }

    pub(super) fn write_position(&mut self, seq: u64) {
        let token = self.service.epoch.token(seq).to_string();
        json::write_str(self.out, &token);
    }

    pub(super) fn write_member(&mut self, open: &str, name: &str, value: u64) {
        self.out.extend_from_slice(format!("{open}\"{name}\":{value}").as_bytes());
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

/// The members of an object that may be left out.
pub(super) fn options<'a>(call: &Call<'a, '_, '_>, at: usize) -> Result<Members<'a>, Fault> {
    match call.optional(at) {
        None => Ok(Members::new()),
        Some(value) if Kind::of(value) == Kind::Object => Ok(members(value)),
        Some(_) => Err(Fault::Arguments("options is not an object".to_owned())),
    }
}

pub(super) fn none_left(options: &Members<'_>) -> Result<(), Fault> {
    match options.keys().next() {
        Some(name) => Err(Fault::Arguments(format!("there is no option '{name}'"))),
        None => Ok(()),
    }
}

pub(super) fn number(value: &RawValue) -> Result<usize, Fault> {
    value.get().parse().map_err(|_| Fault::Arguments("a number is no whole number of 0 or more".to_owned()))
}

pub(super) fn name(value: &RawValue) -> Result<Cow<'_, str>, Fault> {
    match Kind::of(value) {
        Kind::String => Ok(unquote(value)),
        Kind::Number => Ok(Cow::Borrowed(value.get())),
        Kind::Null => Err(Fault::Arguments("an id or a name is null; it must be a string or a number".to_owned())),
        Kind::Bool | Kind::Array | Kind::Object => {
            Err(Fault::Arguments("an id or a name is neither a string nor a number".to_owned()))
        }
    }
}

pub(super) fn list(value: &RawValue) -> Result<Vec<&RawValue>, Fault> {
    match Kind::of(value) {
        Kind::Array => Ok(elements(value)),
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
