//! What a decoder makes of bytes, so that two ways of showing them can be compared.

use shaveet::http::{Decoder, Error, Limits, Step};

pub(crate) const LIMITS: Limits = Limits { head_bytes: 4096, body_bytes: 4096 };

/// A request: what it asks, its body, and whether the connection stays.
type Asked = (Vec<u8>, Vec<u8>, bool);

/// The requests in `input` when it is shown in pieces of these lengths (the last one again and again), and how it ended.
pub(crate) fn read(input: &[u8], pieces: &[usize]) -> (Vec<Asked>, Option<Error>) {
    let (mut decoder, mut requests, mut start, mut shown) = (Decoder::new(), Vec::new(), 0, 0);
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(pieces.last().copied().unwrap_or(usize::MAX)));
    while shown < input.len() {
        shown = shown.saturating_add(pieces.next().unwrap_or(1).max(1)).min(input.len());
        loop {
            match decoder.next(&LIMITS, &input[start..shown]) {
                Ok(Step::More) => break,
                Ok(Step::Continue) => {}
                Ok(Step::Request { request, used }) => {
                    assert!(used > 0 && used <= shown - start);
                    assert!(request.body.len() <= LIMITS.body_bytes);
                    let what = [request.method.name().as_bytes(), &request.path(), b"?", request.query()].concat();
                    requests.push((what, request.body.to_vec(), request.keep_alive));
                    start += used;
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}
