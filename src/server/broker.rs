//! The link to Redis in the loop: its socket, what is read from it, and what is done about what it hears.
//!
//! Once a turn what has come is taken, event by event, as long as its share of the turn lasts; and at the end of the turn all
//! that was asked in it is written in one go. A server without `--broker` has nothing of this.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use log::{debug, info, warn};
use mio::net::{TcpStream, UnixStream};
use mio::{Registry, Token};

use super::clock::Work;
use super::listener::Stream;
use super::look_up::LookUp;
use super::{INTEREST, Server};
use crate::broker::{Event, Link, Options, Password, Place};
use crate::clock::Ms;
use crate::config::{Config, read_small};

/// By which the kernel names its socket.
pub(super) const BROKER: Token = Token(usize::MAX - 1);

/// The link and its line.
#[derive(Debug)]
pub(super) struct Broker {
    link: Link,
    line: Option<Line>,
    password_file: Option<PathBuf>,
    /// How many lines there were: of several addresses each begins with another one.
    lines: usize,
    /// There is more to do at once.
    is_left: bool,
    /// What was published where it is heard.
    pub(super) pushes: u64,
}

/// A connection, or what is to become one.
#[derive(Debug)]
struct Line {
    /// The link's number for it.
    number: u32,
    stage: Stage,
    /// The socket may have more to read.
    is_readable: bool,
    /// The socket may take more.
    is_writable: bool,
}

#[derive(Debug)]
enum Stage {
    /// The name's address is looked up. Next: `Connecting`.
    LookingUp(LookUp),
    /// The kernel connects; there are other addresses if it cannot. Next: `Open`.
    Connecting(Stream, VecDeque<SocketAddr>),
    /// Bytes go and come.
    Open(Stream),
}

impl Broker {
    /// A link as it is configured, which dials in the first turn; `None` for a node alone.
    ///
    /// # Errors
    /// If the file of the password cannot be read.
    pub(super) fn new(config: &Config, now: Ms, seed: u64) -> io::Result<Option<Box<Broker>>> {
        let Some(address) = config.broker.clone() else { return Ok(None) };
        if let Some(path) = &config.broker_password_file {
            read_password(path)?;
        }
        let options = Options {
            address,
            prefix: config.broker_prefix.as_str().into(),
            timeout: config.broker_timeout,
            name: format!("shaveet-{}", std::process::id()).into(),
        };
        Ok(Some(Box::new(Broker {
            link: Link::new(options, now, seed),
            line: None,
            password_file: config.broker_password_file.clone(),
            lines: 0,
            is_left: false,
            pushes: 0,
        })))
    }

    /// The kernel says something about the socket.
    pub(super) fn note_event(&mut self, event: &mio::event::Event) {
        if let Some(line) = &mut self.line {
            line.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            line.is_writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        }
    }

    /// When there is something to do, if nothing happens.
    pub(super) fn due(&self, now: Ms) -> Ms {
        if self.is_left || self.link.has_events() { now } else { self.link.next_timeout() }
    }

    /// The link.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Has the line be what the link wants: makes one, goes on with making it, or drops it.
    fn keep_line(&mut self, now: Ms, registry: &Registry) {
        let wanted = self.link.line();
        if self.line.as_ref().map(|line| line.number) != wanted.map(|(number, _)| number) {
            self.line = None;
            let Some((number, place)) = wanted else { return };
            debug!("broker: dials {place}");
            let begun = self.password().and_then(|password| Ok((password, self.begin_line(number, registry)?)));
            match begun {
                Ok((password, line)) => {
                    self.line = Some(line);
                    self.lines += 1;
                    if let Some(password) = password {
                        self.link.set_password(password);
                    }
                }
                Err(error) => return self.link.broken(now, &error),
            }
        }
        if let Some(line) = self.line.take() {
            match line.go_on(registry, self.lines) {
                Ok((line, is_connected)) => {
                    self.line = Some(line);
                    if is_connected {
                        self.link.connected(now);
                    }
                }
                Err(error) => self.link.broken(now, &error),
            }
        }
    }

    fn begin_line(&self, number: u32, registry: &Registry) -> Result<Line, String> {
        let (_, place) = self.link.line().expect("a line is wanted");
        let stage = match place {
            Place::Unix(path) => {
                let mut socket = Stream::Unix(UnixStream::connect(path).map_err(in_words)?);
                registry.register(socket.source(), BROKER, INTEREST).map_err(in_words)?;
                Stage::Connecting(socket, VecDeque::new())
            }
            Place::Host(host, port) => match host.parse() {
                Ok(address) => connect(VecDeque::from([SocketAddr::new(address, *port)]), registry)?,
                Err(_) => Stage::LookingUp(LookUp::begin(host, *port).map_err(in_words)?),
            },
        };
        Ok(Line { number, stage, is_readable: false, is_writable: false })
    }

    fn password(&self) -> Result<Option<Password>, String> {
        let read = |path: &PathBuf| {
            read_password(path).map_err(|error| {
                format!("cannot read the password in {} (--broker-password-file): {error}", path.display())
            })
        };
        self.password_file.as_ref().map(read).transpose()
    }

    /// Reads once what is there. Says whether the link has heard something, or that it is over.
    fn read(&mut self, now: Ms, input: &mut [u8]) -> bool {
        let Some(Line { stage: Stage::Open(stream), is_readable: is_readable @ true, .. }) = &mut self.line else {
            return false;
        };
        match stream.read(input) {
            Ok(0) => self.link.broken(now, "it has closed the connection"),
            Ok(count) => self.link.receive(now, &input[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *is_readable = false;
                return false;
            }
            Err(error) => self.link.broken(now, &in_words(error)),
        }
        true
    }

    /// Writes what is to go, as far as the socket takes it.
    fn write(&mut self, now: Ms) {
        while !self.link.output().is_empty()
            && let Some(Line { stage: Stage::Open(stream), is_writable: is_writable @ true, .. }) = &mut self.line
        {
            match stream.write(self.link.output()) {
                Ok(count) => self.link.sent(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_writable = false,
                Err(error) => {
                    self.link.broken(now, &in_words(error));
                    self.line = None;
                }
            }
        }
    }
}

impl Line {
    /// Goes on with becoming a connection, and says whether it has become one just now.
    fn go_on(mut self, registry: &Registry, lines: usize) -> Result<(Line, bool), String> {
        match self.stage {
            Stage::LookingUp(mut look_up) => match look_up.answer() {
                Some(answer) => {
                    let mut addresses = VecDeque::from(answer?);
                    let first = lines % addresses.len();
                    addresses.rotate_left(first);
                    self.stage = connect(addresses, registry)?;
                    Ok((self, false))
                }
                None => Ok((Line { stage: Stage::LookingUp(look_up), ..self }, false)),
            },
            Stage::Connecting(stream, others) if self.is_writable => match stream.is_connected() {
                Ok(true) => Ok((Line { stage: Stage::Open(stream), ..self }, true)),
                Ok(false) => Ok((Line { stage: Stage::Connecting(stream, others), is_writable: false, ..self }, false)),
                Err(error) if others.is_empty() => Err(in_words(error)),
                Err(_) => {
                    drop(stream);
                    (self.is_readable, self.is_writable) = (false, false);
                    self.stage = connect(others, registry)?;
                    Ok((self, false))
                }
            },
            stage => Ok((Line { stage, ..self }, false)),
        }
    }
}

/// Begins to connect to the first of the addresses that can be tried at all.
fn connect(mut addresses: VecDeque<SocketAddr>, registry: &Registry) -> Result<Stage, String> {
    loop {
        let address = addresses.pop_front().expect("there is one");
        let begun = TcpStream::connect(address).and_then(|stream| {
            // Calls are gathered already.
            stream.set_nodelay(true)?;
            let mut stream = Stream::Tcp(stream);
            registry.register(stream.source(), BROKER, INTEREST)?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => return Ok(Stage::Connecting(stream, addresses)),
            Err(error) if addresses.is_empty() => return Err(in_words(error)),
            Err(_) => {}
        }
    }
}

/// The one line of a file.
///
/// # Errors
/// If it cannot be read, or is no such line.
fn read_password(path: &Path) -> io::Result<Password> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let text = String::from_utf8(read_small(path)?).map_err(|_| wrong("it is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\r']) {
        return Err(wrong("a password is one line"));
    }
    Ok(Password::new(line))
}

/// What most often stands against a connection, without the system's numbers.
fn in_words(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "it has broken the connection off".into(),
        io::ErrorKind::NotFound => "there is no such socket".into(),
        io::ErrorKind::PermissionDenied => "this user may not connect there".into(),
        _ => error.to_string(),
    }
}

impl Server {
    /// Takes what Redis has said, event by event, as long as the turn's share lasts.
    pub(super) fn hear_broker(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        let now = self.now;
        if broker.link.next_timeout() <= now {
            broker.link.handle_timeout(now);
        }
        self.clock.begin(Work::Broker);
        broker.is_left = false;
        loop {
            let Some(broker) = &mut self.broker else { return };
            broker.keep_line(now, self.poll.registry());
            if let Some(event) = broker.link.next_event() {
                self.take_event(event);
            } else if !broker.read(now, &mut self.input) {
                return;
            }
            if !self.clock.has_time() {
                return self.leave_broker();
            }
        }
    }

    fn leave_broker(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.is_left = true;
        }
    }

    /// One thing that has happened at the link.
    fn take_event(&mut self, event: Event) {
        let Some(broker) = &mut self.broker else { return };
        match event {
            Event::Up => {
                info!("broker: {} is there", broker.link.line().expect("it is up").1);
                self.api.is_broker_down = false;
            }
            Event::Down(why) => {
                warn!("broker: {why}");
                self.api.is_broker_down = true;
            }
            Event::Push { .. } => broker.pushes += 1,
            Event::Reply(ticket, result) => debug!("broker: {ticket:?}: {result:?}"),
        }
    }

    /// Writes what was asked of Redis in this turn.
    pub(super) fn flush_broker(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.write(self.now);
        }
    }
}
