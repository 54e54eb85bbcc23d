//! Whoever has started the server and looks after it: systemd, or what speaks like it (sd_notify(3), sd_listen_fds(3)).
//!
//! It is told when the server listens, reads its configuration again and stops, and every so often that the loop turns. And it may
//! have made the listeners itself: then nobody who connects is refused, not even while there is no server.

use std::io;

use listenfd::ListenFd;
use log::debug;
use mio::net::{TcpListener, UnixListener};
use sd_notify::NotifyState;

use crate::clock::Ms;
use crate::config::{Address, Config};

use super::handover::Inherited;
use super::listener::{Listener, UnixPath};

/// What it wants to know.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// How often it wants to hear that the loop turns; [`Ms::MAX`] for never.
    interval: Ms,
    /// When it is told next.
    due: Ms,
}

impl Supervisor {
    /// The one that the environment names, if any.
    pub(super) fn of_this_process(now: Ms) -> Supervisor {
        // Twice as often as it looks. To begin may have taken long: it hears the first time at once.
        let interval = sd_notify::watchdog_enabled().map_or(Ms::MAX, |time| Ms::from(time / 2));
        Supervisor { interval, due: if interval < Ms::MAX { now } else { Ms::MAX } }
    }

    /// The server listens, or has read its configuration.
    pub(super) fn is_ready() {
        tell(&[NotifyState::Ready]);
    }

    /// The server reads its configuration, or becomes another program.
    pub(super) fn reloads() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!("the supervisor cannot be told the time: {error}"),
        }
    }

    /// The server stops.
    pub(super) fn stops() {
        tell(&[NotifyState::Stopping]);
    }

    /// When it is to hear that the loop turns.
    pub(super) fn due(&self) -> Option<Ms> {
        (self.due < Ms::MAX).then_some(self.due)
    }

    /// The loop turns.
    pub(super) fn turns(&mut self, now: Ms) {
        if now >= self.due {
            self.is_alive(now);
        }
    }

    /// The same before something that may take long: what has passed since the last time does not count against it.
    pub(super) fn is_alive(&mut self, now: Ms) {
        if self.interval < Ms::MAX {
            self.due = now + self.interval;
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// There is nothing to do about one that does not listen.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("the supervisor does not listen: {error}");
    }
}

/// The listeners that this process was started with. They are for calls if `--rpc-listen` names their address, else for pages.
///
/// # Errors
/// If one of them is no socket that is listened on.
pub(super) fn listeners(config: &Config) -> io::Result<Vec<Inherited>> {
    let mut handed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..handed.len() {
        let (listener, address) = match handed.take_unix_listener(at) {
            Ok(listener) => unix(listener)?,
            Err(_) => tcp(handed.take_tcp_listener(at)?)?,
        };
        let is_for_calls = config.rpc_listen.contains(&address);
        listeners.push(Inherited { address, is_for_calls, is_supervised: true, listener });
    }
    Ok(listeners)
}

/// Has a configuration name what a supervisor has handed over for pages, in place of the default, or beside what it names.
pub(super) fn amend<'a>(config: &mut Config, for_pages: impl IntoIterator<Item = &'a Address>) {
    let mut for_pages = for_pages.into_iter().peekable();
    if for_pages.peek().is_some() && config.listen == Config::default().listen {
        config.listen.clear();
    }
    for address in for_pages {
        config.listen.retain(|one| !is_same(one, address));
        config.listen.push(address.clone());
    }
}

/// Whether a configured address is this one, which somebody listens on.
fn is_same(configured: &Address, bound: &Address) -> bool {
    match (configured, bound) {
        (Address::Everywhere(port), Address::Tcp(bound)) => bound.ip().is_unspecified() && bound.port() == *port,
        _ => configured == bound,
    }
}

fn unix(listener: Option<std::os::unix::net::UnixListener>) -> io::Result<(Listener, Address)> {
    let listener = listener.ok_or(io::ErrorKind::NotFound)?;
    listener.set_nonblocking(true)?;
    let path = listener.local_addr()?.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?.to_owned();
    let address = Address::Unix(path.clone());
    Ok((Listener::Unix(UnixListener::from_std(listener), UnixPath { path, is_ours: false }), address))
}

fn tcp(listener: Option<std::net::TcpListener>) -> io::Result<(Listener, Address)> {
    let listener = listener.ok_or(io::ErrorKind::NotFound)?;
    listener.set_nonblocking(true)?;
    // Accepted connections inherit it.
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    let address = Address::Tcp(listener.local_addr()?);
    Ok((Listener::Tcp(TcpListener::from_std(listener)), address))
}
