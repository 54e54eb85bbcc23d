//! A position as a page sends it: what is read is written as it was.

use shaveet::api::Token;

pub(crate) fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(token) = Token::parse(text) {
        assert_eq!(Token::parse(&token.to_string()), Some(token));
    }
}
