//! The pages: each holds a poll or a stream, checks what it is answered and polls again at once. And the web application that
//! publishes. All on one epoll loop.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use memchr::memchr;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::wire::{Answer, Visitor, Wire};

/// All pages of one server, and who publishes to them.
pub(crate) struct Crowd {
    wire: Wire,
    epoll: OwnedFd,
    events: Vec<Event>,
    pages: Vec<Page>,
    publisher: Connection,
    /// How many requests of the publisher are not answered yet.
    pub(crate) unanswered: u64,
    /// The number of the last message of each room.
    published: Vec<u64>,
    text_bytes: usize,
    /// Whose news count: what we publish, or what the server says about joins.
    watch: Watch,
    pub(crate) verdict: Verdict,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// What the pages look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Our own messages, each of which must come.
    Texts,
    /// The channel's ids, of system messages: in order, but a ring may have dropped some.
    Ids,
}

struct Page {
    visitor: Visitor,
    connection: Option<Connection>,
    /// The number of the last message it has got.
    got: u64,
}

struct Connection {
    socket: OwnedFd,
    /// The beginning of an answer.
    partial: Vec<u8>,
}

/// A message has come to a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) room: u32,
    pub(crate) number: u64,
}

/// What went wrong. All zero is a clean run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Messages that never came.
    pub(crate) lost: u64,
    /// Messages that came twice, or after a later one.
    pub(crate) repeated: u64,
    /// Messages that came to the wrong page.
    pub(crate) misrouted: u64,
    /// Answers that are none, and messages whose text is not what was published.
    pub(crate) malformed: u64,
    /// Connections that the server has closed.
    pub(crate) closed: u64,
}

/// `#` and ten digits, `#` and six digits, `#`.
pub(crate) const TEXT_BYTES_MIN: u32 = 19;

const EVENTS_PER_TURN: usize = 1024;
const PUBLISHER: u64 = u64::MAX;
const INPUT_BYTES: usize = 256 << 10;

/// So many pages share a source address: ports of the left ones linger for a minute.
const PAGES_PER_ADDRESS: u32 = 100;

impl Crowd {
    pub(crate) fn new(wire: Wire, rooms: usize, text_bytes: u32, watch: Watch) -> io::Result<Crowd> {
        let epoll = epoll::create(CreateFlags::empty())?;
        let publisher = Connection::open(wire.address, None)?;
        epoll::add(&epoll, &publisher.socket, EventData::new_u64(PUBLISHER), EventFlags::IN | EventFlags::ET)?;
        Ok(Crowd {
            wire,
            epoll,
            events: Vec::with_capacity(EVENTS_PER_TURN),
            pages: Vec::new(),
            publisher,
            unanswered: 0,
            published: vec![0; rooms],
            text_bytes: usize::try_from(text_bytes).unwrap_or(usize::MAX),
            watch,
            verdict: Verdict::default(),
            input: vec![0; INPUT_BYTES],
            output: Vec::new(),
        })
    }

    /// A page that is not connected yet. It expects what is published from now on.
    pub(crate) fn add(&mut self, visitor: Visitor) -> usize {
        let got = if self.watch == Watch::Texts { self.published[index(visitor.room)] } else { 0 };
        self.pages.push(Page { visitor, connection: None, got });
        self.pages.len() - 1
    }

    /// Connects a page and polls.
    pub(crate) fn enter(&mut self, at: usize, source: u32) -> io::Result<()> {
        let connection = Connection::open(self.wire.address, Some(source_address(source)))?;
        let token = EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &connection.socket, token, EventFlags::IN | EventFlags::ET)?;
        let page = &mut self.pages[at];
        page.connection = Some(connection);
        page.visitor.begin();
        self.poll(at);
        Ok(())
    }

    /// A page goes away in the middle of its poll.
    pub(crate) fn leave(&mut self, at: usize) {
        self.pages[at].connection = None;
    }

    /// Publishes to a room.
    pub(crate) fn publish(&mut self, room: u32) -> io::Result<()> {
        let number = self.published[index(room)] + 1;
        self.published[index(room)] = number;
        let mut text = format!("#{number:010}#{room:06}#");
        text.extend(std::iter::repeat_n('x', self.text_bytes - text.len()));
        self.wire.write_publish(room, &text, &mut self.output);
        self.unanswered += 1;
        self.publisher.write_all(&self.output)
    }

    /// A request of the publisher that comes behind everything that has been sent to the server.
    pub(crate) fn knock(&mut self) -> io::Result<()> {
        self.wire.write_unrelated(&mut self.output);
        self.unanswered += 1;
        self.publisher.write_all(&self.output)
    }

    /// Waits for something to come, takes it in, and has the pages poll again. False if nothing came in time.
    pub(crate) fn turn(&mut self, timeout: Duration, arrivals: &mut Vec<Arrival>) -> io::Result<bool> {
        self.events.clear();
        let timeout = Timespec::try_from(timeout).expect("a timeout of seconds");
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Err(Errno::INTR) => return Ok(true),
            result => result?,
        };
        let events = std::mem::take(&mut self.events);
        for event in &events {
            match event.data.u64() {
                PUBLISHER => self.hear_publisher()?,
                at => self.hear(usize::try_from(at).expect("it was an index"), arrivals),
            }
        }
        let came = !events.is_empty();
        self.events = events;
        Ok(came)
    }

    /// The number of the last message that the page has got.
    pub(crate) fn got(&self, at: usize) -> u64 {
        self.pages[at].got
    }

    pub(crate) fn room(&self, at: usize) -> u32 {
        self.pages[at].visitor.room
    }

    /// How many rooms there are.
    pub(crate) fn rooms(&self) -> usize {
        self.published.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Counts what is published and has not come to everybody who is connected.
    pub(crate) fn missing(&self) -> u64 {
        let here = self.pages.iter().filter(|page| page.connection.is_some());
        here.map(|page| self.published[index(page.visitor.room)].saturating_sub(page.got)).sum()
    }

    fn poll(&mut self, at: usize) {
        self.wire.write_poll(&self.pages[at].visitor, &mut self.output);
        self.send(at);
    }

    fn reply(&mut self, at: usize, answer: Answer<'_>) {
        self.wire.write_reply(&self.pages[at].visitor, answer, &mut self.output);
        if !self.output.is_empty() {
            self.send(at);
        }
    }

    fn send(&mut self, at: usize) {
        let Some(connection) = &self.pages[at].connection else { return };
        match rustix::io::write(&connection.socket, &self.output) {
            Ok(count) if count == self.output.len() => {}
            // A poll is far smaller than a socket's buffer, and the last one has been answered.
            _ => self.verdict.closed += 1,
        }
    }

    /// Reads what has come to a page.
    fn hear(&mut self, at: usize, arrivals: &mut Vec<Arrival>) {
        let mut input = std::mem::take(&mut self.input);
        let mut more = true;
        while more {
            let Some(connection) = &mut self.pages[at].connection else { break };
            match rustix::io::read(&connection.socket, &mut input) {
                Ok(0) => {
                    self.verdict.closed += 1;
                    self.pages[at].connection = None;
                }
                Ok(count) => {
                    let mut partial = std::mem::take(&mut connection.partial);
                    if partial.is_empty() {
                        let used = self.take_in(at, &input[..count], arrivals);
                        partial.extend_from_slice(&input[used..count]);
                    } else {
                        partial.extend_from_slice(&input[..count]);
                        let used = self.take_in(at, &partial, arrivals);
                        partial.drain(..used);
                    }
                    if let Some(connection) = &mut self.pages[at].connection {
                        connection.partial = partial;
                    }
                    more = count == input.len();
                }
                Err(Errno::AGAIN) => more = false,
                Err(_) => {
                    self.verdict.closed += 1;
                    self.pages[at].connection = None;
                }
            }
        }
        self.input = input;
    }

    /// Takes in the whole answers that the bytes begin with; returns how many bytes they were.
    fn take_in(&mut self, at: usize, bytes: &[u8], arrivals: &mut Vec<Arrival>) -> usize {
        let mut used = 0;
        while let Some((answer, length)) = self.wire.split(&mut self.pages[at].visitor, &bytes[used..]) {
            used += length;
            self.check(at, answer, arrivals);
            self.pages[at].visitor.note_position(answer);
            self.reply(at, answer);
        }
        used
    }

    fn check(&mut self, at: usize, answer: Answer<'_>, arrivals: &mut Vec<Arrival>) {
        if !self.wire.is_well_formed(answer) {
            self.verdict.malformed += 1;
            return;
        }
        let page = &mut self.pages[at];
        let room = page.visitor.room;
        let mut note = |number: u64, may_skip: bool| {
            if number <= page.got {
                self.verdict.repeated += 1;
                return;
            }
            if !may_skip {
                self.verdict.lost += number - page.got - 1;
            }
            page.got = number;
            arrivals.push(Arrival { room, number });
        };
        match self.watch {
            Watch::Ids => ids(answer.body).for_each(|id| note(id, true)),
            Watch::Texts => {
                for text in texts(answer.body) {
                    let rest = &text.rest[..text.rest.len().min(self.text_bytes - index(TEXT_BYTES_MIN))];
                    let whole = rest.len() + index(TEXT_BYTES_MIN) == self.text_bytes;
                    if !whole || rest.iter().any(|&byte| byte != b'x') {
                        self.verdict.malformed += 1;
                    } else if text.room != u64::from(room) {
                        self.verdict.misrouted += 1;
                    } else {
                        note(text.number, false);
                    }
                }
            }
        }
    }

    fn hear_publisher(&mut self) -> io::Result<()> {
        let publisher = &mut self.publisher;
        loop {
            match rustix::io::read(&publisher.socket, &mut self.input) {
                Ok(0) => return Err(io::Error::other("the server has closed the publisher's connection")),
                Ok(count) => publisher.partial.extend_from_slice(&self.input[..count]),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut used = 0;
        while let Some((_, length)) = Answer::split(&publisher.partial[used..]) {
            used += length;
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        publisher.partial.drain(..used);
        Ok(())
    }
}

impl Connection {
    fn open(address: SocketAddr, source: Option<SocketAddr>) -> io::Result<Connection> {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(source) = source {
            rustix::net::bind(&socket, &source)?;
        }
        rustix::net::connect(&socket, &address)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Connection { socket, partial: Vec::new() })
    }

    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.socket, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => {
                    rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Every process has its own block of the loopback network, so that the ports of one run do not get in the next one's
/// way.
fn source_address(number: u32) -> SocketAddr {
    let block = octet(std::process::id() % 250 + 2);
    let group = number / PAGES_PER_ADDRESS;
    SocketAddrV4::new(Ipv4Addr::new(127, block, octet(group / 250 % 250), octet(group % 250 + 1)), 0).into()
}

fn octet(number: u32) -> u8 {
    u8::try_from(number).expect("the caller keeps it small")
}

/// One of our messages: what stands between the marks, and everything behind.
struct Text<'a> {
    number: u64,
    room: u64,
    rest: &'a [u8],
}

fn texts(body: &[u8]) -> impl Iterator<Item = Text<'_>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[memchr(b'#', rest)? + 1..];
            if let [text @ .., _] = rest
                && text.len() >= 18
                && text[10] == b'#'
                && text[17] == b'#'
                && let (Some(number), Some(room)) = (number(&text[..10]), number(&text[11..17]))
            {
                rest = &rest[18..];
                return Some(Text { number, room, rest });
            }
            // nchan's body ends with the text.
            if rest.len() == 18 && rest[10] == b'#' && rest[17] == b'#' {
                let (number, room) = (number(&rest[..10])?, number(&rest[11..17])?);
                rest = &[];
                return Some(Text { number, room, rest });
            }
        }
    })
}

/// The channel's ids: a bracket, digits, a comma.
fn ids(body: &[u8]) -> impl Iterator<Item = u64> {
    body.split(|&byte| byte == b'[').filter_map(|part| number(&part[..memchr(b',', part)?]))
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(digits)?;
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_an_answer() {
        let body =
            br##"noop({"room7":[[3,"{\"type\": \"subscribe\"}","page#1"],[4,"#0000000012#000007#xx","load"]]});"##;
        let found: Vec<_> = texts(body).map(|text| (text.number, text.room, text.rest.starts_with(b"xx\""))).collect();
        assert_eq!(found, [(12, 7, true)]);
        assert_eq!(ids(body).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(texts(b"#0000000012#000007#").map(|text| text.number).collect::<Vec<_>>(), [12]);
        assert_eq!(texts(b"#0000000012#00007#xxxxxxxxxx").count(), 0);
    }
}
