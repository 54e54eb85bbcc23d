//! What is refused, and how that is said.

use super::response::Status;

/// How much of a request is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of request line and headers together: beyond, 414 or 431.
    pub head_bytes: usize,
    /// Bytes of a body after decoding: beyond, 413.
    pub body_bytes: usize,
}

/// Why a request is refused. The connection is closed after each: what follows cannot be trusted to be a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// 400: not HTTP, or HTTP that can be read in two ways. Says what is wrong.
    Malformed(&'static str),
    /// 413: the body is larger than [`Limits::body_bytes`].
    BodyTooLarge,
    /// 414: the request line alone is larger than [`Limits::head_bytes`].
    TargetTooLong,
    /// 417: an expectation other than `100-continue`.
    UnknownExpectation,
    /// 431: request line and headers are larger than [`Limits::head_bytes`], or more than 100 lines.
    HeadTooLarge,
    /// 501: a method or a transfer coding that this server does not know.
    NotImplemented(&'static str),
    /// 505: a version of HTTP other than 1.0 and 1.1.
    UnknownVersion,
}

impl Error {
    /// The status that tells the sender.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Error::Malformed(_) => Status::BAD_REQUEST,
            Error::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Error::TargetTooLong => Status::URI_TOO_LONG,
            Error::UnknownExpectation => Status::EXPECTATION_FAILED,
            Error::HeadTooLarge => Status::HEADERS_TOO_LARGE,
            Error::NotImplemented(_) => Status::NOT_IMPLEMENTED,
            Error::UnknownVersion => Status::VERSION_NOT_SUPPORTED,
        }
    }
}
