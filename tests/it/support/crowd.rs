//! What tests with a thousand pages need: sockets for one loop, their answers, and a look at the server from outside.

use super::{Server, post};
use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use socket2::{SockAddr, SockRef};
use std::time::Duration;

/// Lets this process, and the servers that it starts, have as many descriptors as it may.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("up to the hard limit");
}

/// Connects at once: whoever comes by the thousand must wait for its turn, and not be turned away.
pub(crate) fn connect(to: &SockAddr) -> TcpStream {
    let socket = std::net::TcpStream::connect(to.as_socket().expect("a TCP listener")).expect("the server accepts");
    socket.set_nodelay(true).expect("TCP can");
    socket.set_nonblocking(true).expect("every socket can");
    TcpStream::from_std(socket)
}

/// Closes with a reset in place of a goodbye: what is on its way is lost.
pub(crate) fn reset(socket: TcpStream) {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("TCP can");
}

/// Takes the first whole answer out of an inbox: its status and its body.
pub(crate) fn take_answer(inbox: &mut Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(inbox).expect("an answer's head") else { return None };
    let status = head.code.expect("a status");
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let end = start + length.expect("a Content-Length");
    if end > inbox.len() {
        return None;
    }
    let body = inbox[start..end].to_vec();
    inbox.drain(..end);
    Some((status, body))
}

/// How much memory of its own a process has, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    memory_of(pid).expect("the server runs")
}

/// The same of one that may have ended.
pub(crate) fn memory_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().expect("a number of kB") << 10)
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs").count()
}

/// Makes clients and subscribes them to the channel `room`; their keys.
pub(crate) fn newcomers(server: &Server, ids: &[String]) -> Vec<String> {
    let mut keys = Vec::new();
    for ids in ids.chunks(500) {
        let calls = ids.iter().flat_map(|id| {
            let call =
                |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            [call("create_client", json!([id])), call("subscribe", json!([id, "room"]))]
        });
        let answers = server.ask(post(json!(calls.collect::<Vec<_>>()).to_string())).json();
        let results = answers.as_array().expect("a batch").iter().map(|answer| &answer["result"]);
        keys.extend(results.filter_map(Value::as_str).map(str::to_owned));
    }
    assert_eq!(keys.len(), ids.len());
    keys
}
