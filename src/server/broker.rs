//! The link to Redis in the loop: its socket, what is read from it, and what is done about what it hears.
//!
//! Once a turn what has come is taken, event by event, as long as its share of the turn lasts; and at the end of the turn all
//! that was asked in it is written in one go. A server without `--broker` has nothing of this.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use log::debug;
use mio::net::{TcpStream, UnixStream};
use mio::{Registry, Token};

use super::channel::Channel;
use super::clock::Work;
use super::listener::Stream;
use super::look_up::LookUp;
use super::peer::{Peer, Phase};
use super::{INTEREST, Server, random};
use crate::api::Epoch;
use crate::broker::{Link, Options, Password, Place, Ticket, Watch};
use crate::clock::Ms;
use crate::cluster::{Awake, Cluster};
use crate::config::{Config, read_small};
use crate::hub::{Hub, Owner};
use crate::slots::Key;

/// By which the kernel names the sockets.
pub(super) const BROKER: Token = Token(usize::MAX - 1);
pub(super) const WATCH: Token = Token(usize::MAX - 2);

/// What the link speaks by, and what a watch at the Sentinels does.
#[derive(Debug)]
pub(super) struct Broker {
    wire: Wire,
    watch: Option<Box<(Watch, Wire)>>,
    /// There is more to do at once.
    is_left: bool,
}

/// The line that a link speaks by.
#[derive(Debug)]
struct Wire {
    token: Token,
    line: Option<Line>,
    password_file: Option<PathBuf>,
    /// How many lines there were: of several addresses each begins with another one.
    lines: usize,
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
    Open(Channel),
}

impl Broker {
    /// No line yet; `None` for a node alone.
    ///
    /// # Errors
    /// If the file of the password cannot be read.
    pub(super) fn new(config: &Config) -> io::Result<Option<Box<Broker>>> {
        if config.broker.is_none() {
            return Ok(None);
        }
        if let Some(path) = &config.broker_password_file {
            read_password(path)?;
        }
        let wire = Wire::new(BROKER, config.broker_password_file.clone());
        Ok(Some(Box::new(Broker { wire, watch: None, is_left: false })))
    }

    /// Has the Sentinels asked whether this link is at the master, if there are any.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub(super) fn watch(&mut self, link: &Link, now: Ms) -> io::Result<()> {
        let watch = Watch::beside(link, now, random()?);
        self.watch = watch.map(|watch| Box::new((watch, Wire::new(WATCH, self.wire.password_file.clone()))));
        Ok(())
    }

    /// How many it has at most.
    pub(super) fn descriptors(&self) -> u64 {
        1 + u64::from(self.watch.is_some())
    }

    /// The kernel says something about a socket.
    pub(super) fn note_event(&mut self, token: Token, event: &mio::event::Event) {
        match &mut self.watch {
            Some(watch) if token == WATCH => watch.1.note_event(event),
            _ => self.wire.note_event(event),
        }
    }

    /// Goes on with the watch. A Sentinel says little: what it says beyond that waits for the next turn.
    fn go_on_watching(&mut self, main: &mut Link, now: Ms, registry: &Registry, input: &mut [u8]) {
        let Some((watch, wire)) = self.watch.as_deref_mut() else { return };
        for _ in 0..WATCH_STEPS {
            wire.keep_line(&mut watch.link, now, registry);
            let mut is_left = wire.read(&mut watch.link, now, input);
            watch.hear(now, main);
            if !is_left && watch.link.next_timeout() <= now {
                watch.link.handle_timeout(now);
                is_left = true;
            }
            wire.write(&mut watch.link, now);
            if !is_left {
                return;
            }
        }
        self.is_left = true;
    }
}

/// Steps of the watch in one turn: it seldom takes more than one.
const WATCH_STEPS: u32 = 4;

impl Wire {
    fn new(token: Token, password_file: Option<PathBuf>) -> Wire {
        Wire { token, line: None, password_file, lines: 0 }
    }

    /// The kernel says something about the socket.
    fn note_event(&mut self, event: &mio::event::Event) {
        if let Some(line) = &mut self.line {
            line.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            line.is_writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        }
    }

    /// Has the line be what the link wants: makes one, goes on with making it, or drops it.
    fn keep_line(&mut self, link: &mut Link, now: Ms, registry: &Registry) {
        let wanted = link.line();
        if self.line.as_ref().map(|line| line.number) != wanted.map(|(number, _)| number) {
            if let Some(Line { stage: Stage::Open(channel), .. }) = self.line.take() {
                // Its callers have been told that there is no answer: what has not arrived is not to be done in a minute.
                channel.abandon();
            }
            let Some((number, place)) = wanted else { return };
            debug!("broker: dials {place}");
            let begun =
                self.password().and_then(|password| Ok((password, Line::begin(number, place, self.token, registry)?)));
            match begun {
                Ok((password, line)) => {
                    self.line = Some(line);
                    self.lines += 1;
                    if let Some(password) = password {
                        link.set_password(password);
                    }
                }
                Err(error) => return link.broken(now, &error),
            }
        }
        if let Some(line) = self.line.take() {
            match line.go_on(registry, self.token, self.lines, link) {
                Ok((line, is_connected)) => {
                    self.line = Some(line);
                    if is_connected {
                        link.connected(now);
                    }
                }
                Err(error) => link.broken(now, &error),
            }
        }
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
    fn read(&mut self, link: &mut Link, now: Ms, input: &mut [u8]) -> bool {
        let Some(Line { stage: Stage::Open(channel), is_readable: is_readable @ true, .. }) = &mut self.line else {
            return false;
        };
        match channel.read(input) {
            Ok(0) => link.broken(now, "it has closed the connection"),
            Ok(count) => link.receive(now, &input[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *is_readable = false;
                return false;
            }
            Err(error) => link.broken(now, &in_words(error)),
        }
        true
    }

    /// Writes what is to go, as far as the socket takes it.
    fn write(&mut self, link: &mut Link, now: Ms) {
        while let Some(Line { stage: Stage::Open(channel), is_writable: is_writable @ true, .. }) = &mut self.line {
            match channel.write(link.output()) {
                Ok(0) => break,
                Ok(count) => link.sent(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_writable = false,
                Err(error) => {
                    link.broken(now, &in_words(error));
                    self.line = None;
                }
            }
        }
    }
}

impl Line {
    fn begin(number: u32, place: &Place, token: Token, registry: &Registry) -> Result<Line, String> {
        let stage = match place {
            Place::Unix(path) => {
                let mut socket = Stream::Unix(UnixStream::connect(path).map_err(in_words)?);
                registry.register(socket.source(), token, INTEREST).map_err(in_words)?;
                Stage::Connecting(socket, VecDeque::new())
            }
            Place::Host(host, port) => match host.parse() {
                Ok(address) => connect(VecDeque::from([SocketAddr::new(address, *port)]), token, registry)?,
                Err(_) => Stage::LookingUp(LookUp::begin(host, *port).map_err(in_words)?),
            },
        };
        Ok(Line { number, stage, is_readable: false, is_writable: false })
    }

    /// Goes on with becoming a connection, and says whether it has become one just now.
    fn go_on(mut self, registry: &Registry, token: Token, lines: usize, link: &Link) -> Result<(Line, bool), String> {
        match self.stage {
            Stage::LookingUp(mut look_up) => match look_up.answer() {
                Some(answer) => {
                    let mut addresses = VecDeque::from(answer?);
                    let first = lines % addresses.len();
                    addresses.rotate_left(first);
                    self.stage = connect(addresses, token, registry)?;
                    Ok((self, false))
                }
                None => Ok((Line { stage: Stage::LookingUp(look_up), ..self }, false)),
            },
            Stage::Connecting(stream, others) if self.is_writable => match stream.is_connected() {
                Ok(true) => {
                    let (_, place) = link.line().expect("it has this line");
                    let channel = Channel::over(stream, place, link.tls())?;
                    Ok((Line { stage: Stage::Open(channel), ..self }, true))
                }
                Ok(false) => Ok((Line { stage: Stage::Connecting(stream, others), is_writable: false, ..self }, false)),
                Err(error) if others.is_empty() => Err(in_words(error)),
                Err(_) => {
                    drop(stream);
                    (self.is_readable, self.is_writable) = (false, false);
                    self.stage = connect(others, token, registry)?;
                    Ok((self, false))
                }
            },
            stage => Ok((Line { stage, ..self }, false)),
        }
    }
}

/// Begins to connect to the first of the addresses that can be tried at all.
fn connect(mut addresses: VecDeque<SocketAddr>, token: Token, registry: &Registry) -> Result<Stage, String> {
    loop {
        let address = addresses.pop_front().expect("there is one");
        let begun = TcpStream::connect(address).and_then(|stream| {
            // Calls are gathered already.
            stream.set_nodelay(true)?;
            let mut stream = Stream::Tcp(stream);
            registry.register(stream.source(), token, INTEREST)?;
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
    /// Hears what Redis says, event by event, as long as the turn's share lasts. Who waited for it goes on.
    pub(super) fn hear_broker(&mut self) {
        let (Some(broker), Some(cluster)) = (&mut self.broker, &mut self.api.cluster) else { return };
        let (now, hub) = (self.now, &mut self.api.hub);
        self.clock.begin(Work::Broker);
        loop {
            broker.wire.keep_line(&mut cluster.link, now, self.poll.registry());
            broker.is_left = cluster.hear_next(now, hub) || broker.wire.read(&mut cluster.link, now, &mut self.input);
            // Redis is late only if nothing of it is left unread: a loop that was held up may find what came in time.
            if !broker.is_left && cluster.link.next_timeout() <= now {
                cluster.link.handle_timeout(now);
                broker.is_left = true;
            }
            if !broker.is_left || !self.clock.has_time() || hub.is_pressed() {
                break;
            }
        }
        broker.go_on_watching(&mut cluster.link, now, self.poll.registry(), &mut self.input);
        if let Some(epoch) = cluster.epoch() {
            self.api.epoch = Epoch::new(epoch);
        }
        for awake in cluster.take_awake() {
            match awake {
                Awake::Visitor(owner) => self.let_in(owner),
                Awake::Caller(owner, ticket) => self.go_on_calling(owner, ticket),
            }
        }
    }

    /// The clients of a poll are here, if they are anywhere: it is looked at again.
    fn let_in(&mut self, owner: Owner) {
        let key: Key<Peer> = Key::unpack(owner.0);
        if self.peers.get(key).is_some_and(|peer| matches!(peer.phase, Phase::Held { .. })) {
            self.release(key);
        } else if let Some(cluster) = &mut self.api.cluster {
            cluster.forget_visitor(owner);
        }
    }

    /// The reply is there for which a call has waited.
    fn go_on_calling(&mut self, owner: Owner, ticket: Ticket) {
        let key: Key<Peer> = Key::unpack(owner.0);
        if self.peers.get(key).is_some_and(|peer| matches!(peer.phase, Phase::Working { .. })) {
            self.jobs.push_back(key);
        } else if let Some(cluster) = &mut self.api.cluster {
            // Nobody wants to know any more.
            let _ = cluster.take_answer(ticket);
        }
    }

    /// When there is something to do, if nothing happens.
    pub(super) fn broker_due(&self) -> Option<Ms> {
        let (broker, cluster) = (self.broker.as_ref()?, self.api.cluster.as_ref()?);
        let own = cluster.next_timeout().unwrap_or(Ms::MAX);
        Some(if broker.is_left || cluster.has_awake() || cluster.link.has_events() {
            self.now
        } else {
            let watch = broker.watch.as_ref().map_or(Ms::MAX, |watch| watch.0.link.next_timeout());
            cluster.link.next_timeout().min(own).min(watch)
        })
    }

    /// The process was stopped for a while: others may have taken what it had to itself.
    pub(super) fn forget_leases(&mut self) {
        if let Some(cluster) = &mut self.api.cluster {
            cluster.revoke(&mut self.api.hub);
        }
    }

    /// The server stops: whether Redis knows, if it can.
    pub(super) fn has_left_broker(&mut self) -> bool {
        let has_left = self.api.cluster.as_mut().is_none_or(|cluster| cluster.has_left(self.now));
        if !has_left {
            self.flush_broker();
        }
        has_left
    }

    /// Tells Redis what there is to tell, and writes that and what was asked in this turn.
    pub(super) fn flush_broker(&mut self) {
        if let (Some(broker), Some(cluster)) = (&mut self.broker, &mut self.api.cluster) {
            cluster.turn(self.now, &mut self.api.hub);
            broker.is_left |= cluster.has_more();
            broker.wire.write(&mut cluster.link, self.now);
        }
    }
}

/// What this node shares with others, if it does; then its hub follows them.
///
/// # Errors
/// If the operating system has no random numbers.
pub(super) fn join(config: &Config, now: Ms, hub: &mut Hub) -> io::Result<Option<Box<Cluster>>> {
    let Some(address) = config.broker.clone() else { return Ok(None) };
    let name = format!("shaveet-{}-{}-{:08x}", host_name(), std::process::id(), random()? >> 32);
    let options = Options {
        address,
        prefix: config.broker_prefix.as_str().into(),
        timeout: config.broker_timeout,
        name: name.as_str().into(),
    };
    hub.follow_broker();
    let link = Link::new(options, now, random()?);
    Ok(Some(Box::new(Cluster::new(link, &config.broker_prefix, &name, &config.hub_limits(), random()?))))
}

/// The machine's name, as far as it fits into the name of a connection.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-'))
        .take(60)
        .collect()
}
