//! How the link of a node to Redis stands, seen from outside.

use super::{Server, until};

fn is_ready(server: &Server) -> bool {
    server.get("/ready").status == 200
}

pub(crate) fn comes_up(server: &Server) {
    until("it is ready", || is_ready(server));
}

/// It is red, says so in no more words than everybody may read, and lives.
pub(crate) fn goes_down(server: &Server) {
    until("it is not ready", || !is_ready(server));
    let ready = server.get("/ready");
    assert_eq!((ready.status, ready.text()), (503, "not ready: the link to Redis is down; the log says why\n"));
    assert_eq!(server.get("/health").text(), "ok\n");
}

pub(crate) fn says(server: &Server, what: &str) {
    until(what, || server.log().contains(what));
}
