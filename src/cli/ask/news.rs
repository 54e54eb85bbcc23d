//! What a poll of the resume protocol is answered with.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::Failure;

/// An answer. Its messages and gaps are as the server has written them.
#[derive(Deserialize)]
pub(in crate::cli) struct News<'a> {
    /// The position behind it, which the next poll says.
    pub(in crate::cli) since: String,
    #[serde(borrow)]
    pub(in crate::cli) messages: Vec<&'a RawValue>,
    #[serde(borrow)]
    pub(in crate::cli) gaps: Vec<&'a RawValue>,
    /// Before this time has gone by the next poll is not to come.
    pub(in crate::cli) retry_ms: u64,
}

impl News<'_> {
    /// # Errors
    /// It is none.
    pub(in crate::cli) fn read(body: &[u8]) -> Result<News<'_>, Failure> {
        serde_json::from_slice(body).map_err(|error| Failure::Other(format!("a poll's answer is none: {error}")))
    }
}
