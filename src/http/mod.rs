//! HTTP/1.1 as values: bytes in, requests out; answers in, bytes out. No socket, no hub, no clock.
//!
//! [`Decoder`] turns what a connection has sent into [`Request`]s, however it was cut into packets; [`Response`]
//! writes an answer. What is ambiguous is refused with 400 and a close, so that no two parties can read one message in
//! two ways (RFC 9112 section 11.2). Where we differ from RFC 9112 on purpose: a missing `Host` is allowed, as the
//! original's callers send none (WIRE H5); a line that ends in LF alone is refused, which section 2.2 leaves open.

mod chunked;
mod decoder;
mod error;
mod fields;
mod plain;
pub mod query;
mod request;
mod response;
mod stream;

pub use decoder::{Decoder, Stage, Step};
pub use error::{Error, Limits};
pub use request::{Method, Request};
pub use response::{Exchange, Response, Status, write_continue};
pub use stream::{Framing, write_switch};
