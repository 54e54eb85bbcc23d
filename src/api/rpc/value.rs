//! JSON values, looked at no further than needed.
//!
//! A body is read once, to see that it is well-formed. After that a value is its text: a number or a nested object goes
//! through with the digits and the spelling with which it came, and nothing is built that nobody asks for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::json;

/// The members of an object, each as its JSON text. Of several of one name the last counts (WIRE J13).
///
/// Nothing is taken apart further than a method needs it: a number or a nested object goes through with the digits
/// and the spelling with which it came.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// What a JSON text is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Null,
    Bool,
}

impl Kind {
    pub(super) fn of(value: &RawValue) -> Kind {
        match value.get().as_bytes()[0] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            _ => Kind::Number,
        }
    }
}

/// The members of an object.
///
/// # Panics
/// If it is none: the caller has looked.
pub(super) fn members(object: &RawValue) -> Members<'_> {
    serde_json::from_str(object.get()).expect(READ_ONCE)
}

/// The elements of a list.
///
/// # Panics
/// If it is none: the caller has looked.
pub(super) fn elements(list: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(list.get()).expect(READ_ONCE)
}

/// Why taking a value apart cannot fail.
const READ_ONCE: &str = "a text that has been read once is well-formed";

/// The text of a JSON string; most have no escapes and are taken as they stand.
pub(super) fn unquote(string: &RawValue) -> Cow<'_, str> {
    let inside = &string.get()[1..string.get().len() - 1];
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    Cow::Owned(serde_json::from_str(string.get()).expect(READ_ONCE))
}

/// A string as it is; what is not a string as its JSON text (WIRE M8).
pub(super) fn text_of(value: &RawValue) -> Cow<'_, str> {
    if Kind::of(value) == Kind::String {
        return unquote(value);
    }
    let mut text = Vec::new();
    json::write_text(&mut text, value.get());
    Cow::Owned(String::from_utf8(text).expect("JSON is written in ASCII"))
}
