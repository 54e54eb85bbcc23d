//! A position as a page sends it: what is read is written as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shaveet::api::Token;

fuzz_target!(|text: &str| {
    if let Some(token) = Token::parse(text) {
        assert_eq!(Token::parse(&token.to_string()), Some(token));
    }
});
