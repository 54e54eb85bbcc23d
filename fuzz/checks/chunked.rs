//! A body in chunks, shown at once and byte by byte: both mean the same.

use super::read;

pub(crate) fn check(body: &[u8]) {
    let input = [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
    assert_eq!(read::read(&input, &[1]), read::read(&input, &[]));
}
