//! A query: it never gets longer by being decoded, what is plain stays as it is, and each value is found by its name.

use shaveet::http::query::{Parameters, form_decode, is_encoded, parameter, parts, percent_decode};

pub(crate) fn check(query: &[u8]) {
    for part in parts(query) {
        assert!(!part.is_empty() && !part.contains(&b'&'));
        let (name, value) = parameter(part);
        assert!(name.len() + value.len() <= part.len());
        assert!(is_encoded(part) || part.starts_with(&name));
    }
    let parameters = Parameters::of(query);
    assert_eq!(parameters.iter().count(), parts(query).count());
    for (found, part) in parameters.iter().zip(parts(query)) {
        let (name, value) = parameter(part);
        assert_eq!(found.value_of(&name), Some(&*value));
    }
    assert!(form_decode(query).len() <= query.len() && percent_decode(query).len() <= query.len());
}
