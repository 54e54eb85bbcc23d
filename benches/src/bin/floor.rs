//! The floor: what a long poll costs when nothing is done but what the kernel makes everybody do.
//!
//! It speaks the wire and has no logic: a poll is read and parked, a publish writes one answer, rendered once, to
//! everybody who is parked. No header is parsed, no key looked at, nothing is kept, no time is read, no budget is
//! respected: one `read` and one `write` per delivery, and an `epoll_wait` shared by up to a thousand of them. A real
//! server can come near it and not below. It is no server: whoever sends it half a request has found its limits.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Everything at once.
struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    mode: Mode,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    /// In [`Mode::Unicast`], the descriptor of each page, by its number.
    pages: Vec<usize>,
    input: Vec<u8>,
    answer: Vec<u8>,
    body: Vec<u8>,
}

struct Connection {
    socket: OwnedFd,
    parked: bool,
    /// Something was published while its poll was still on the way. It is answered when it comes.
    owed: bool,
}

/// Who gets a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everybody who is parked.
    Fanout,
    /// The page that has the number of the channel: its poll is searched for that number, and no more.
    Unicast,
}

const EVENTS_PER_TURN: usize = 1024;
const BACKLOG: i32 = 4096;
const LISTENER: u64 = u64::MAX;
const INPUT_BYTES: usize = 256 << 10;

/// The answers have the lines that ours have: the kernel copies the same bytes.
const HEAD: &str = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: \
    application/x-javascript\r\nCache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: ";
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nCache-Control: no-cache\r\n\
    Pragma: no-cache\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"result\":1,\"id\":1} ";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 11\r\n\r\nNot Found\r\n";

fn main() -> std::io::Result<()> {
    let mode = match std::env::args().nth(1).as_deref() {
        None | Some("fanout") => Mode::Fanout,
        Some("unicast") => Mode::Unicast,
        Some(other) => {
            eprintln!("floor [fanout|unicast], not {other}");
            std::process::exit(2);
        }
    };
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Floor::listen(mode)?.run()
}

impl Floor {
    fn listen(mode: Mode) -> std::io::Result<Floor> {
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        sockopt::set_tcp_nodelay(&listener, true)?;
        rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
        rustix::net::listen(&listener, BACKLOG)?;
        println!("listening on http://{}", SocketAddr::try_from(rustix::net::getsockname(&listener)?)?);
        let epoll = epoll::create(CreateFlags::empty())?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Floor {
            epoll,
            listener,
            mode,
            connections: Vec::new(),
            pages: Vec::new(),
            input: vec![0; INPUT_BYTES],
            answer: Vec::new(),
            body: Vec::new(),
        })
    }

    fn run(mut self) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    at => self.read(usize::try_from(at).expect("it was a descriptor")),
                }
            }
        }
    }

    fn accept(&mut self) -> std::io::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK) {
                Err(Errno::AGAIN) => return Ok(()),
                result => result?,
            };
            let at = usize::try_from(socket.as_raw_fd()).expect("a descriptor that is open is not negative");
            epoll::add(&self.epoll, &socket, EventData::new_u64(at as u64), EventFlags::IN | EventFlags::ET)?;
            if at >= self.connections.len() {
                self.connections.resize_with(at + 1, || None);
            }
            self.connections[at] = Some(Connection { socket, parked: false, owed: false });
        }
    }

    fn read(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        let count = match rustix::io::read(&connection.socket, &mut self.input) {
            Ok(0) | Err(_) => {
                self.connections[at] = None;
                return;
            }
            Ok(count) => count,
        };
        if self.input.starts_with(b"GET /m") {
            connection.parked = true;
            if std::mem::take(&mut connection.owed) {
                answer(connection, &self.answer);
            }
            if self.mode == Mode::Unicast {
                let page = number_behind(&self.input[..count], b"client_id=");
                if page >= self.pages.len() {
                    self.pages.resize(page + 1, 0);
                }
                self.pages[page] = at;
            }
        } else if self.input.starts_with(b"POST") {
            let _ = rustix::io::write(&connection.socket, DONE);
            self.publish(count);
        } else {
            let _ = rustix::io::write(&connection.socket, NOT_FOUND);
        }
    }

    /// Writes what was published to whom it is for.
    fn publish(&mut self, count: usize) {
        let start = memchr::memmem::find(&self.input[..count], b"\r\n\r\n").map_or(count, |at| at + 4);
        // {"method":"new_message","params":["load",TEXT,ROOM,false],"id":1}
        let mut strings = self.input[start..count].split(|&byte| byte == b'"');
        let (Some(text), Some(room)) = (strings.nth(9), strings.nth(1)) else { return };
        self.body.clear();
        for part in [b"noop({\"", room, b"\":[[1,\"", text, b"\",\"load\"]]});"] {
            self.body.extend_from_slice(part);
        }
        self.answer.clear();
        self.answer.extend_from_slice(HEAD.as_bytes());
        self.answer.extend_from_slice(self.body.len().to_string().as_bytes());
        self.answer.extend_from_slice(b"\r\n\r\n");
        self.answer.extend_from_slice(&self.body);
        match self.mode {
            Mode::Fanout => {
                for connection in self.connections.iter_mut().flatten() {
                    answer(connection, &self.answer);
                }
            }
            Mode::Unicast => {
                let page = number_behind(room, b"room");
                let at = self.pages.get(page).copied().unwrap_or_default();
                if let Some(Some(connection)) = self.connections.get_mut(at) {
                    answer(connection, &self.answer);
                }
            }
        }
    }
}

fn answer(connection: &mut Connection, bytes: &[u8]) {
    if std::mem::take(&mut connection.parked) {
        let _ = rustix::io::write(&connection.socket, bytes);
    } else {
        connection.owed = true;
    }
}

/// The number that stands behind a word and perhaps one letter more.
fn number_behind(text: &[u8], word: &[u8]) -> usize {
    let start = memchr::memmem::find(text, word).map_or(text.len(), |at| at + word.len());
    let digits = text[start..].iter().skip_while(|byte| byte.is_ascii_alphabetic());
    digits.take_while(|byte| byte.is_ascii_digit()).fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}
