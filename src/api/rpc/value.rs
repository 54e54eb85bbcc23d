//! JSON values, looked at no further than needed.
//!
//! A body is read once, to see that it is well-formed. After that a value is a place in its text: a number or a nested
//! object goes through with the digits and the spelling with which it came, and nothing is built that nobody asks for.
//! Lists and objects are walked element by element; a walk is one number, so it can pause between two turns.

use std::borrow::Cow;

use crate::json;
use crate::run::{below, is, short_run};

/// A text that has been read, and where its long values begin and end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it begins; what is before is none of it.
    pub(super) begin: usize,
    pub(super) long: &'a [(usize, usize)],
}

/// One value of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'a> {
    text: Text<'a>,
    start: usize,
    end: usize,
}

/// A walk through a list or an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Behind the last element seen, or behind the opening bracket.
    at: usize,
}

/// The members of an object, sorted by name. Of several of one name the last counts (WIRE J13).
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, [u8]>, Json<'a>)>);

/// Members of an object that is taken in at once, such as a request: the longest of ours has a dozen.
const MEMBERS_MAX: usize = 256;

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

impl<'a> Text<'a> {
    /// All of it.
    pub(super) fn root(self) -> Json<'a> {
        Json { text: self, start: self.skip_space(self.begin), end: self.bytes.trim_ascii_end().len() }
    }

    /// The value that begins behind white space at `at`.
    pub(super) fn value_at(self, at: usize) -> Json<'a> {
        let start = self.skip_space(at);
        Json { text: self, start, end: self.end_of(start) }
    }

    fn skip_space(self, at: usize) -> usize {
        let space = self.bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        at + space.count()
    }

    /// Where the value ends that begins at `start`.
    fn end_of(self, start: usize) -> usize {
        let first = self.bytes[start];
        if matches!(first, b'"' | b'[' | b'{')
            && let Ok(found) = self.long.binary_search_by_key(&start, |&(start, _)| start)
        {
            return self.long[found].1;
        }
        match first {
            b'"' => self.end_of_string(start),
            b'[' | b'{' => {
                let (mut at, mut depth) = (start + 1, 1);
                while depth > 0 {
                    match self.bytes[at] {
                        b'"' => at = self.end_of_string(at) - 1,
                        b'[' | b'{' => depth += 1,
                        b']' | b'}' => depth -= 1,
                        _ => {}
                    }
                    at += 1;
                }
                at
            }
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                let rest = &self.bytes[start..];
                start + rest.iter().position(is_end).unwrap_or(rest.len())
            }
        }
    }

    fn end_of_string(self, start: usize) -> usize {
        let mut at = start + 1;
        loop {
            at += short_run(&self.bytes[at..], |word| is(word, b'"') | is(word, b'\\') | below(word, b' '));
            if self.bytes[at] == b'"' {
                return at + 1;
            }
            at += 2;
        }
    }
}

/// Why taking a value apart cannot fail.
const READ_ONCE: &str = "a text that has been read once is well-formed";

impl<'a> Json<'a> {
    /// `null`, for what is not there.
    pub(super) const NULL: Json<'static> =
        Json { text: Text { bytes: b"null", begin: 0, long: &[] }, start: 0, end: 4 };

    pub(super) fn kind(self) -> Kind {
        match self.text.bytes[self.start] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            _ => Kind::Number,
        }
    }

    /// As it came.
    pub(super) fn as_str(self) -> &'a str {
        std::str::from_utf8(&self.text.bytes[self.start..self.end]).expect(READ_ONCE)
    }

    /// Where it begins in its text.
    pub(super) fn start(self) -> usize {
        self.start
    }

    /// The members of an object, or `None` if they are more than anybody means.
    ///
    /// # Panics
    /// If it is none: the caller has looked.
    pub(super) fn members(self) -> Option<Members<'a>> {
        let (mut walk, mut members) = (self.walk(), Members::default());
        while let Some((name, value)) = walk.next_member(self.text) {
            members.insert(name.bytes(), value);
            if members.0.len() > MEMBERS_MAX {
                return None;
            }
        }
        Some(members)
    }

    /// The elements of a list.
    ///
    /// # Panics
    /// If it is none: the caller has looked.
    pub(super) fn elements(self) -> impl Iterator<Item = Json<'a>> {
        let mut walk = self.walk();
        std::iter::from_fn(move || walk.next_element(self.text))
    }

    /// The beginning of a walk through a list or an object.
    pub(super) fn walk(self) -> Walk {
        assert!(matches!(self.kind(), Kind::Array | Kind::Object), "only lists and objects have anything inside");
        Walk { at: self.start + 1 }
    }

    /// The text of a JSON string; most have no escapes and are taken as they stand.
    pub(super) fn unquote(self) -> Cow<'a, str> {
        let quoted = self.as_str();
        let inside = &quoted[1..quoted.len() - 1];
        if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
            return Cow::Borrowed(inside);
        }
        Cow::Owned(serde_json::from_str(quoted).expect(READ_ONCE))
    }

    /// The same as bytes.
    fn bytes(self) -> Cow<'a, [u8]> {
        let inside = &self.text.bytes[self.start + 1..self.end - 1];
        if inside.contains(&b'\\') {
            Cow::Owned(self.unquote().into_owned().into_bytes())
        } else {
            Cow::Borrowed(inside)
        }
    }

    /// Whether it is a string of this text.
    pub(super) fn is_string(self, text: &str) -> bool {
        self.kind() == Kind::String && *self.bytes() == *text.as_bytes()
    }

    /// A string as it is; what is not a string as its JSON text (WIRE M8).
    pub(super) fn text(self) -> Cow<'a, str> {
        if self.kind() == Kind::String {
            return self.unquote();
        }
        let mut text = Vec::new();
        json::write_text(&mut text, self.as_str());
        Cow::Owned(String::from_utf8(text).expect("JSON is written in ASCII"))
    }
}

impl<'a> Members<'a> {
    fn insert(&mut self, name: Cow<'a, [u8]>, value: Json<'a>) {
        match self.place(&name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<Json<'a>> {
        self.place(name.as_bytes()).ok().map(|at| self.0[at].1)
    }

    /// Takes a name away, and gives its value.
    pub(super) fn remove(&mut self, name: &str) -> Option<Json<'a>> {
        self.place(name.as_bytes()).ok().map(|at| self.0.remove(at).1)
    }

    /// The first name.
    pub(super) fn first_name(&self) -> Option<Cow<'_, str>> {
        self.0.first().map(|(name, _)| String::from_utf8_lossy(name))
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

impl Walk {
    /// The next element of a list.
    pub(super) fn next_element<'a>(&mut self, text: Text<'a>) -> Option<Json<'a>> {
        let at = text.skip_space(self.at);
        let at = match text.bytes[at] {
            b']' | b'}' => return None,
            b',' => at + 1,
            _ => at,
        };
        let value = text.value_at(at);
        self.at = value.end;
        Some(value)
    }

    /// The next member of an object: its name, still quoted, and its value.
    pub(super) fn next_member<'a>(&mut self, text: Text<'a>) -> Option<(Json<'a>, Json<'a>)> {
        let name = self.next_element(text)?;
        let colon = text.skip_space(name.end);
        let value = text.value_at(colon + 1);
        self.at = value.end;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::syntax::Checker;
    use super::*;

    /// The value again, put together from what the walks find.
    fn rebuilt(json: Json<'_>) -> Value {
        match json.kind() {
            Kind::Object => {
                let members = json.members().unwrap().0.into_iter();
                Value::Object(
                    members
                        .map(|(name, value)| (String::from_utf8(name.into_owned()).unwrap(), rebuilt(value)))
                        .collect(),
                )
            }
            Kind::Array => json.elements().map(rebuilt).collect(),
            Kind::String => Value::from(json.unquote()),
            Kind::Number | Kind::Null | Kind::Bool => serde_json::from_str(json.as_str()).unwrap(),
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            // Long ones.
            (500_usize..700).prop_map(|count| Value::from("[\"".repeat(count))),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn walks_find_everything(value in any_value(), is_pretty in any::<bool>()) {
            let written = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let bytes = written.unwrap().into_bytes();
            let mut checker = Checker::default();
            checker.read(&bytes, bytes.len()).unwrap();
            let long = checker.finish().unwrap();
            // With the places of long values and without them.
            prop_assert_eq!(rebuilt(Text { bytes: &bytes, begin: 0, long: &long }.root()), value.clone());
            prop_assert_eq!(rebuilt(Text { bytes: &bytes, begin: 0, long: &[] }.root()), value);
        }
    }

    #[test]
    fn of_several_members_of_one_name_the_last_counts_and_there_are_not_too_many() {
        let bytes = br#" {"a": 1, "\u0061": [2], "b": "x"} "#;
        let mut members = Text { bytes, begin: 0, long: &[] }.root().members().unwrap();
        let text = |value: Option<Json<'static>>| value.map(Json::as_str);
        assert_eq!((text(members.get("a")), text(members.get("c"))), (Some("[2]"), None));
        assert_eq!(text(members.remove("a")), Some("[2]"));
        assert_eq!((text(members.get("a")), members.first_name().as_deref()), (None, Some("b")));
        assert_eq!(text(members.remove("b")), Some(r#""x""#));
        assert!(members.first_name().is_none());
        let again = format!("{{{}}}", vec![r#""a":1"#; MEMBERS_MAX + 1].join(","));
        assert!(Text { bytes: again.as_bytes(), begin: 0, long: &[] }.root().members().is_some());
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|at| format!("\"{at}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert!(Text { bytes: many.as_bytes(), begin: 0, long: &[] }.root().members().is_none());
    }
}
