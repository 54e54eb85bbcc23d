//! A query: it never gets longer by being decoded, and what is plain stays as it is.

use shaveet::http::query::{form_decode, is_encoded, parameter, parts, percent_decode};

pub(crate) fn check(query: &[u8]) {
    for part in parts(query) {
        assert!(!part.is_empty() && !part.contains(&b'&'));
        let (name, value) = parameter(part);
        assert!(name.len() + value.len() <= part.len());
        assert!(is_encoded(part) || part.starts_with(&name));
    }
    assert!(form_decode(query).len() <= query.len() && percent_decode(query).len() <= query.len());
}
