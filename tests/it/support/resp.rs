//! A client of Redis that speaks to it in bytes, in the older form of the protocol (RESP2).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// A connection.
pub(crate) struct Session {
    stream: BufReader<UnixStream>,
}

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Text(String),
    List(Vec<Reply>),
    Error(String),
}

impl Session {
    pub(crate) fn connect(socket: &Path) -> Session {
        let stream = UnixStream::connect(socket).expect("Redis listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        Session { stream: BufReader::new(stream) }
    }

    /// Has a command done.
    pub(crate) fn call<T: AsRef<str>>(&mut self, command: &[T]) -> Reply {
        self.send(command);
        self.hear()
    }

    pub(crate) fn send<T: AsRef<str>>(&mut self, command: &[T]) {
        let mut bytes = format!("*{}\r\n", command.len());
        for part in command.iter().map(AsRef::as_ref) {
            bytes += &format!("${}\r\n{part}\r\n", part.len());
        }
        self.stream.get_mut().write_all(bytes.as_bytes()).expect("Redis reads");
    }

    /// The next reply, or what was published meanwhile.
    pub(crate) fn hear(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("Redis answers");
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Reply::Text(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Int(number()),
            "$" if number() < 0 => Reply::Nil,
            "$" => {
                let mut text = vec![0; usize::try_from(number()).expect("a size") + 2];
                self.stream.read_exact(&mut text).expect("Redis goes on");
                text.truncate(text.len() - 2);
                Reply::Text(String::from_utf8(text).expect("nobody has put in anything else"))
            }
            "*" if number() < 0 => Reply::Nil,
            "*" => Reply::List((0..number()).map(|_| self.hear()).collect()),
            _ => panic!("this is no reply: {line}"),
        }
    }
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        match self {
            Reply::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// The number that a text is.
    pub(crate) fn number(&self) -> u64 {
        self.text().parse().unwrap_or_else(|_| panic!("no number: {self:?}"))
    }

    pub(crate) fn list(&self) -> &[Reply] {
        match self {
            Reply::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.list().iter().map(Reply::text).collect()
    }
}
