//! Percent-encoding and form-encoding, as browsers send them in a URL (WIRE H2, P4).

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The parameters of a query. Mostly nothing of it is encoded, and it is read where it stands; if anything is, all of it is
/// decoded first.
#[derive(Debug)]
pub struct Parameters<'a> {
    plain: &'a [u8],
    decoded: Vec<Pair<'a>>,
}

/// Name and value.
type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Parameter<'a> {
    /// As it stands in the query: `name=value`, or the name alone.
    Plain(&'a [u8]),
    /// Name and value.
    Decoded(&'a [u8], &'a [u8]),
}

impl<'a> Parameters<'a> {
    /// Those of this query.
    #[must_use]
    pub fn of(query: &'a [u8]) -> Parameters<'a> {
        if is_encoded(query) {
            Parameters { plain: b"", decoded: parts(query).map(parameter).collect() }
        } else {
            Parameters { plain: query, decoded: Vec::new() }
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Parameter<'_>> {
        let decoded = self.decoded.iter().map(|(name, value)| Parameter::Decoded(name, value));
        parts(self.plain).map(Parameter::Plain).chain(decoded)
    }
}

impl<'a> Parameter<'a> {
    /// Its value, if this is its name; empty if it has none.
    #[must_use]
    pub fn value_of(self, name: &[u8]) -> Option<&'a [u8]> {
        match self {
            Parameter::Plain(part) => match part.strip_prefix(name)? {
                [] => Some(b""),
                [b'=', value @ ..] => Some(value),
                _ => None,
            },
            Parameter::Decoded(found, value) => (found == name).then_some(value),
        }
    }
}

/// The parts of a query between its `&`s, as they were sent, in order.
pub fn parts(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = query;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr(b'&', rest).unwrap_or(rest.len());
            let part = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            if !part.is_empty() {
                return Some(part);
            }
        }
        None
    })
}

/// Name and value of a part, decoded.
#[must_use]
pub fn parameter(part: &[u8]) -> Pair<'_> {
    let name_end = memchr(b'=', part).unwrap_or(part.len());
    (form_decode(&part[..name_end]), form_decode(part.get(name_end + 1..).unwrap_or_default()))
}

/// Whether [`form_decode`] has anything to do.
#[must_use]
pub fn is_encoded(text: &[u8]) -> bool {
    memchr2(b'%', b'+', text).is_some()
}

/// `%XX` is a byte and `+` a space. A `%` without two digits behind it stands for itself.
#[must_use]
pub fn form_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if is_encoded(text) { decode(text, b' ').into() } else { text.into() }
}

/// `%XX` is a byte; a `+` is a `+`.
#[must_use]
pub fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'%', text).is_some() { decode(text, b'+').into() } else { text.into() }
}

fn decode(text: &[u8], plus: u8) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, after),
                _ => (b'%', tail),
            },
            (b'+', _) => (plus, tail),
            (&other, _) => (other, tail),
        };
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        parts(query.as_bytes()).map(parameter).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn parameters_are_split_and_decoded() {
        let expected = [("a", "1 2"), ("b", ""), ("c", "x=y"), ("d e", "+"), ("", "v")];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(pairs("a=1+2&b&&c=x=y&d%20e=%2b&=v&"), expected);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn a_value_is_found_by_its_name_encoded_or_not() {
        let values = |query: &str, name: &str| {
            let parameters = Parameters::of(query.as_bytes());
            let values = parameters.iter().filter_map(|parameter| parameter.value_of(name.as_bytes()));
            values.map(|value| String::from_utf8(value.to_owned()).unwrap()).collect::<Vec<_>>()
        };
        for (plain, encoded, found) in [
            ("client_id=a=b", "client%5fid=a%3db", &["a=b"][..]),
            ("client_id", "client%5Fid", &[""]),
            ("client_id=1&since=2&&client_id=", "client_id=%31&since=2&client_id=", &["1", ""]),
            ("client_ids=a&xclient_id=a&=client_id&CLIENT_ID=a", "client_id%=a&client_id%3Da", &[]),
            ("", "%", &[]),
        ] {
            assert!(!is_encoded(plain.as_bytes()) && is_encoded(encoded.as_bytes()));
            assert_eq!(values(plain, "client_id"), found, "{plain}");
            assert_eq!(values(encoded, "client_id"), found, "{encoded}");
        }
        assert_eq!(values("a=1&b=+&a=2", "b"), [" "]);
    }

    #[test]
    fn each_byte_has_its_escape_in_either_case() {
        for byte in 0..=u8::MAX {
            for escape in [format!("%{byte:02x}"), format!("%{byte:02X}")] {
                assert_eq!(*form_decode(escape.as_bytes()), [byte]);
            }
        }
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        assert_eq!(*form_decode(b"%zz%4"), *b"%zz%4");
        assert_eq!(*form_decode(b"100%"), *b"100%");
        assert_eq!(*form_decode(b"%%41"), *b"%A");
        assert_eq!(*form_decode("%C3%A9é".as_bytes()), *"éé".as_bytes());
        assert_eq!(*percent_decode(b"/a+b%2Fc"), *b"/a+b/c");
        assert!(matches!(form_decode(b"plain"), Cow::Borrowed(_)));
    }

    /// Form-encoding, as `URLSearchParams` has it, but for bytes that `escapes` wants escaped besides.
    fn encoded(bytes: &[u8], escapes: &[bool]) -> String {
        let encode = |(at, &byte): (usize, &u8)| match byte {
            b' ' if !escapes[at] => "+".to_owned(),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' if !escapes[at] => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        bytes.iter().enumerate().map(encode).collect()
    }

    /// What stands for itself and for something else, among other bytes.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![prop::sample::select(&b" +%&=a4\0\xc3"[..]), any::<u8>()], 0..20)
    }

    proptest! {
        #[test]
        fn what_a_browser_encodes_comes_out_as_it_was(
            pairs in prop::collection::vec((text(), text()), 0..6),
            escapes in prop::collection::vec(any::<bool>(), 20),
        ) {
            let pair = |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", encoded(name, &escapes), encoded(value, &escapes));
            let query = pairs.iter().map(pair).collect::<Vec<_>>().join("&");
            let found: Vec<_> = parts(query.as_bytes()).map(parameter).map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(&found, &pairs);
            let parameters = Parameters::of(query.as_bytes());
            prop_assert_eq!(parameters.iter().count(), pairs.len());
            for (parameter, (name, value)) in parameters.iter().zip(&pairs) {
                prop_assert_eq!(parameter.value_of(name), Some(&value[..]));
            }
        }

        #[test]
        fn any_bytes_are_a_query(query in text()) {
            // A naive twin: split, and no escape is ever split.
            let twin: Vec<&[u8]> = query.split(|&byte| byte == b'&').filter(|part| !part.is_empty()).collect();
            prop_assert_eq!(parts(&query).collect::<Vec<_>>(), twin.clone());
            let parameters = Parameters::of(&query);
            prop_assert_eq!(parameters.iter().count(), twin.len());
            for (found, part) in parameters.iter().zip(twin) {
                let at = part.iter().position(|&byte| byte == b'=');
                let (name, value) = at.map_or((part, &b""[..]), |at| (&part[..at], &part[at + 1..]));
                prop_assert_eq!(found.value_of(&form_decode(name)), Some(&*form_decode(value)));
            }
        }
    }
}
