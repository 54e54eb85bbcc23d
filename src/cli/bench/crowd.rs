//! Many pages in one thread: each a connection with a poll on it, asked again as soon as it is answered.
//!
//! A loop of its own over mio, which knows of a page no more than what it has to send and what has come.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::value::RawValue;

use super::super::ask::failure::Failure;
use super::super::ask::http::{Answer, encoded, request, take_answer};
use super::super::ask::news::News;
use super::super::ask::output::Plain;
use super::super::ask::place::Place;
use super::super::ask::reach::{Reach, Target};
use super::super::ask::wait::Interrupts;
use super::guests::Guests;
use super::latencies::Latencies;
use super::line::Line;
use super::now;
use super::progress::Progress;

/// Connections that are being made at a time: more than the listener's queue holds would have to knock twice, a second later.
const CONNECTING_MAX: usize = 100;

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long is waited at a time, so that a signal is seen.
const LOOK: Duration = Duration::from_millis(50);

/// Descriptors besides the pages': standard streams, the poll, calls, the signals' pipe.
const OWN_DESCRIPTORS: u64 = 20;

pub(super) struct Crowd<'r> {
    poll: Poll,
    events: Events,
    reach: &'r Reach,
    guests: &'r Guests,
    /// Of the pages' listener, if it is no Unix socket.
    address: Option<SocketAddr>,
    pages: Vec<Page>,
    /// How many of them have a connection, or are getting one.
    begun: usize,
    connecting: usize,
    publisher: Option<Line>,
    buffer: Vec<u8>,
    round: Round,
    /// From the call of a round until a page has its message, of all rounds.
    pub(super) latencies: Latencies,
}

/// What is under way.
#[derive(Default)]
struct Round {
    number: u64,
    /// How its message begins, where it is written.
    mark: String,
    began: Option<Instant>,
    /// Pages that have not heard.
    waiting: usize,
    /// The call has not been answered.
    is_asked: bool,
}

/// A page, with its line as soon as it has one.
struct Page {
    credential: String,
    since: String,
    /// The last round of which it has heard.
    heard: u64,
    line: Option<Line>,
    is_connected: bool,
}

/// How long nothing has changed.
pub(super) struct Patience {
    since: Instant,
    state: usize,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { since: now(), state: usize::MAX }
    }

    /// It is so now.
    ///
    /// # Errors
    /// It has been so for too long; says what.
    pub(super) fn with(&mut self, state: usize, what: impl FnOnce() -> String) -> Result<(), Failure> {
        if state != self.state {
            *self = Patience { since: now(), state };
        } else if self.since.elapsed() > PATIENCE {
            return Err(Failure::Other(format!("nothing has come for {} s: {}", PATIENCE.as_secs(), what())));
        }
        Ok(())
    }
}

const PUBLISHER: Token = Token(usize::MAX);

/// Lets this process have a descriptor for each page.
///
/// # Errors
/// It may not have so many.
pub(super) fn make_room(clients: usize) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    match current {
        Some(current) if current < clients as u64 + OWN_DESCRIPTORS => Err(Failure::Other(format!(
            "this process may have {current} descriptors (ulimit -n), which is enough for --clients {}",
            current.saturating_sub(OWN_DESCRIPTORS)
        ))),
        _ => Ok(()),
    }
}

impl<'r> Crowd<'r> {
    /// Nobody is connected yet.
    pub(super) fn new(reach: &'r Reach, guests: &'r Guests, since: &str) -> Result<Crowd<'r>, Failure> {
        let page = |credential: String| Page {
            credential: encoded(&credential),
            since: since.to_owned(),
            heard: 0,
            line: None,
            is_connected: false,
        };
        let address = address(&reach.pages)?;
        Ok(Crowd {
            poll: Poll::new().map_err(|error| cannot_wait(&error))?,
            events: Events::with_capacity(1024),
            reach,
            guests,
            address,
            pages: guests.credentials().map(page).collect(),
            begun: 0,
            connecting: 0,
            publisher: None,
            buffer: vec![0; 64 << 10],
            round: Round::default(),
            latencies: Latencies::default(),
        })
    }

    /// Connects all pages, each with its first poll.
    pub(super) fn connect(&mut self, interrupts: &Interrupts, progress: &mut Progress) -> Result<(), Failure> {
        while self.begun < self.pages.len() || self.connecting > 0 {
            while self.begun < self.pages.len() && self.connecting < CONNECTING_MAX {
                let line = self.open(&self.reach.pages, self.address, Token(self.begun))?;
                self.connecting += 1;
                self.pages[self.begun].line = Some(line);
                self.ask(self.begun)?;
                self.begun += 1;
            }
            self.go_on(interrupts)?;
            progress.show((self.begun - self.connecting) as u64);
        }
        Ok(())
    }

    /// Tells everybody, and waits until everybody has heard.
    pub(super) fn round(&mut self, number: u64, bytes: usize, interrupts: &Interrupts) -> Result<(), Failure> {
        if self.publisher.is_none() {
            let calls = &self.reach.calls;
            self.publisher = Some(self.open(calls, address(calls)?, PUBLISHER)?);
        }
        let mut text = format!("{number} ");
        text += &"x".repeat(bytes.saturating_sub(text.len()));
        let body = self.guests.message(&text).to_string();
        let host = self.reach.calls.place.host();
        let call = request("POST", "/", &host, &self.reach.lines(), body.as_bytes());
        let mark = format!("\"data\":\"{number} ");
        self.round = Round { number, mark, began: Some(now()), waiting: self.pages.len(), is_asked: true };
        self.publisher.as_mut().expect("just opened").outbox.extend_from_slice(&call);
        self.publisher()?;
        let mut patience = Patience::new();
        while self.round.waiting > 0 || self.round.is_asked {
            self.go_on(interrupts)?;
            let (waiting, count) = (self.round.waiting, self.pages.len());
            patience.with(waiting, || format!("{waiting} of {count} pages have not heard of a message"))?;
        }
        Ok(())
    }

    /// Waits a little, and does what there is to do.
    pub(super) fn go_on(&mut self, interrupts: &Interrupts) -> Result<(), Failure> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(LOOK)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(cannot_wait(&error)),
        }
        if interrupts.came() {
            return Err(Failure::Interrupted);
        }
        let done = events.iter().try_for_each(|event| match event.token() {
            PUBLISHER => self.publisher(),
            Token(page) => self.page(page),
        });
        self.events = events;
        done
    }

    fn open(&self, target: &Target, address: Option<SocketAddr>, token: Token) -> Result<Line, Failure> {
        let opened = match (&target.place, address) {
            (Place::Unix(path), _) => Line::to_socket(path),
            (Place::Tcp(..), Some(address)) => Line::to_address(address),
            (Place::Tcp(..), None) => Err(ErrorKind::NotFound.into()),
        };
        let registered = opened.and_then(|mut line| line.register(self.poll.registry(), token).map(|()| line));
        registered.map_err(|error| match error.kind() {
            ErrorKind::AddrNotAvailable => Failure::Other(format!(
                "this address has no more ports to {}: have fewer --clients, or use a Unix socket",
                target.place
            )),
            _ => Failure::of(&error, target),
        })
    }

    /// Has a page ask for what is new.
    fn ask(&mut self, number: usize) -> Result<(), Failure> {
        let host = self.reach.pages.place.host();
        let page = &mut self.pages[number];
        let target = format!("/message_updates?client_id={}&since={}", page.credential, page.since);
        let line = page.line.as_mut().expect("it has one");
        line.outbox.extend_from_slice(&request("GET", &target, &host, "", b""));
        if page.is_connected { line.flush().map_err(|error| self.hung_up(&error)) } else { Ok(()) }
    }

    /// A page's line can be written to, or read.
    fn page(&mut self, number: usize) -> Result<(), Failure> {
        let page = &mut self.pages[number];
        let line = page.line.as_mut().expect("it was registered with one");
        if !page.is_connected {
            page.is_connected = line.stands().map_err(|error| Failure::of(&error, &self.reach.pages))?;
            if !page.is_connected {
                return Ok(());
            }
            self.connecting -= 1;
        }
        let moved = line.flush().and_then(|()| line.fill(&mut self.buffer));
        moved.map_err(|error| self.hung_up(&error))?;
        let time = self.round.began.map_or(Duration::ZERO, |began| began.elapsed());
        loop {
            let line = self.pages[number].line.as_mut().expect("it has one");
            let answer = take_answer(&mut line.inbox).map_err(|error| Failure::of(&error, &self.reach.pages))?;
            let Some(answer) = answer else { return Ok(()) };
            self.hear(number, &answer, time)?;
            self.ask(number)?;
        }
    }

    /// A page's answer.
    fn hear(&mut self, number: usize, answer: &Answer, time: Duration) -> Result<(), Failure> {
        let place = &self.reach.pages.place;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body);
            let text = Plain(text.trim());
            return Err(Failure::Other(format!("{place} answers a poll with {}: {text}", answer.status)));
        }
        let news = News::read(&answer.body)?;
        if answer.is_last || news.retry_ms > 0 {
            return Err(Failure::Other(format!(
                "{place} sends pages away: it stops, or a limit is reached; its log says which"
            )));
        }
        let page = &mut self.pages[number];
        page.since = news.since;
        let said = |message: &&RawValue| message.get().contains(&self.round.mark);
        if self.round.waiting > 0 && page.heard < self.round.number && news.messages.iter().any(said) {
            page.heard = self.round.number;
            self.round.waiting -= 1;
            self.latencies.note(time);
        }
        Ok(())
    }

    /// The publisher's line can be written to, or read.
    fn publisher(&mut self) -> Result<(), Failure> {
        let calls = &self.reach.calls;
        let line = self.publisher.as_mut().expect("it was opened");
        if !line.stands().map_err(|error| Failure::of(&error, calls))? {
            return Ok(());
        }
        line.flush().and_then(|()| line.fill(&mut self.buffer)).map_err(|error| Failure::of(&error, calls))?;
        let answer = take_answer(&mut line.inbox).map_err(|error| Failure::of(&error, calls))?;
        let Some(answer) = answer else { return Ok(()) };
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status != 200 || !said["result"].is_array() {
            let text = String::from_utf8_lossy(&answer.body);
            let text = Plain(text.trim());
            return Err(Failure::Other(format!("{} answers a broadcast with {}: {text}", calls.place, answer.status)));
        }
        self.round.is_asked = false;
        Ok(())
    }

    /// What it means that a page's line breaks.
    fn hung_up(&self, error: &io::Error) -> Failure {
        let (place, count) = (&self.reach.pages.place, self.pages.len());
        if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) {
            return Failure::of(error, &self.reach.pages);
        }
        Failure::Other(format!(
            "{place} hangs up on one of {count} pages: it stops, or takes no more from one address that is no --trusted-proxy \
             (--max-connections-per-address, --max-new-per-address); its log says which"
        ))
    }
}

/// The first of those that a name stands for.
fn address(target: &Target) -> Result<Option<SocketAddr>, Failure> {
    let Place::Tcp(host, port) = &target.place else { return Ok(None) };
    let mut addresses = (&**host, *port).to_socket_addrs().map_err(|error| Failure::of(&error, target))?;
    Ok(addresses.next())
}

fn cannot_wait(error: &io::Error) -> Failure {
    Failure::Other(format!("cannot wait for connections: {error}"))
}
