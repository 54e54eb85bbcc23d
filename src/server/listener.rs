//! Where connections come in: TCP and Unix sockets.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use socket2::{Domain, Protocol, Type};

use crate::config::Address;
use crate::state::Damage;

use super::storage::StateError;

/// A socket that is listened on.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, UnixPath),
}

/// Where a Unix socket is.
#[derive(Debug)]
pub(super) struct UnixPath {
    pub(super) path: PathBuf,
    /// It goes with the listener; somebody else's stays.
    pub(super) is_ours: bool,
}

/// A connection's socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where a server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// An address and the port that it got.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Why a server cannot start.
#[derive(Debug)]
pub enum BindError {
    /// An address cannot be listened on.
    Address(Address, io::Error),
    /// The file of the API's token cannot be read, or holds none.
    Token(PathBuf, io::Error),
    /// The file of Redis's password cannot be read, or holds none.
    BrokerPassword(io::Error),
    /// What a supervisor has handed over is nothing to listen on.
    HandedOver(io::Error),
    /// What was handed over by the program before is not what it should be.
    Estate(Damage),
    /// The state cannot be kept, or gone on from.
    State(StateError),
    /// The system refuses what the event loop needs.
    Loop(io::Error),
}

/// Connections that the kernel keeps for us until we accept them: a burst of pages after a restart, as far as
/// `net.core.somaxconn` lets us.
const BACKLOG: i32 = 4096;

impl Listener {
    /// Listens. A Unix socket gets this file mode, or what the umask leaves.
    pub(super) fn bind(address: &Address, mode: Option<u32>) -> Result<Listener, BindError> {
        let bound = match address {
            Address::Tcp(socket) => bind_tcp(*socket).map(Listener::Tcp),
            Address::Everywhere(port) => bind_everywhere(*port).map(Listener::Tcp),
            Address::Unix(path) => bind_unix(path, mode)
                .map(|listener| Listener::Unix(listener, UnixPath { path: path.clone(), is_ours: true })),
        };
        bound.map_err(|cause| BindError::Address(address.clone(), cause))
    }

    /// The next connection and the other end's address, if it has one; `WouldBlock` when there is none.
    pub(super) fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Stream::Tcp(stream), Some(address.ip().to_canonical())))
            }
            Listener::Unix(listener, _) => listener.accept().map(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }

    pub(super) fn address(&self) -> io::Result<BoundAddress> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(BoundAddress::Tcp),
            Listener::Unix(_, UnixPath { path, .. }) => Ok(BoundAddress::Unix(path.clone())),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener) => listener,
            Listener::Unix(listener, _) => listener,
        }
    }
}

/// The path of a Unix socket goes with it, if we have made it.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, UnixPath { path, is_ours: true }) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// All interfaces, IPv6 and IPv4 by one socket; IPv4 alone where the machine has no IPv6.
fn bind_everywhere(port: u16) -> io::Result<TcpListener> {
    match bind_tcp((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind_tcp((Ipv4Addr::UNSPECIFIED, port).into()),
        bound => bound,
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    // Listening again at once after a restart, though old connections linger.
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it: an answer is one small write that must not wait for more.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A socket that a killed server left behind is nobody's: it refuses connections and is replaced.
fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    let Some(mode) = mode else { return UnixListener::bind(path) };
    // The mode comes before `listen`: there is no moment in which somebody else can connect.
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(UnixListener::from_std(socket.into()))
}

impl Stream {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Whether a connection that was begun has been made.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let (error, peer) = match self {
            Stream::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Stream::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (None, peer) => peer.map(|()| true),
        }
    }

    /// Has the kernel end the connection when the other end has not acknowledged anything for so long. On a Unix socket
    /// there is nothing to acknowledge.
    pub(super) fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout)),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Ends it so that what was sent and has not arrived does not arrive any more: otherwise the kernel goes on trying for minutes.
    pub(super) fn abandon(self) {
        if let Stream::Tcp(stream) = &self {
            // If it cannot be, it has ended already.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Says that nothing more will be sent; what was sent still arrives.
    pub(super) fn finish(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        }
    }
}

/// `http://127.0.0.1:8082` or `unix:/run/shaveet.sock`; all interfaces are shown as an address that can be pasted.
impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundAddress::Tcp(address) if address.ip().is_unspecified() => {
                write!(f, "http://0.0.0.0:{}", address.port())
            }
            BoundAddress::Tcp(address) => write!(f, "http://{address}"),
            BoundAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, cause) = match self {
            BindError::Address(address, cause) => (address, cause),
            BindError::Token(path, cause) => {
                return write!(f, "cannot read the token in {} (--rpc-token-file): {cause}", path.display());
            }
            BindError::BrokerPassword(cause) => {
                return write!(f, "cannot read the password for Redis (--broker-password-file): {cause}");
            }
            BindError::HandedOver(cause) => {
                return write!(f, "what was handed over (LISTEN_FDS) is no listener: {cause}");
            }
            BindError::Estate(damage) => return write!(f, "cannot go on where the program before was: {damage}"),
            BindError::State(error) => return write!(f, "{error}"),
            BindError::Loop(cause) => return write!(f, "cannot set up the event loop: {cause}"),
        };
        let is_path = matches!(address, Address::Unix(_));
        write!(f, "cannot listen on {address}: ")?;
        match cause.kind() {
            io::ErrorKind::AddrInUse if is_path => write!(f, "a server listens there, or the path is no socket"),
            io::ErrorKind::AddrInUse => {
                write!(f, "the address is in use; stop the other server, or choose another with --listen or --port")
            }
            io::ErrorKind::AddrNotAvailable => write!(f, "this machine has no such address"),
            io::ErrorKind::PermissionDenied if is_path => write!(f, "this user may not make a socket there"),
            io::ErrorKind::PermissionDenied => {
                write!(f, "not permitted to this user; ports below 1024 need privileges")
            }
            io::ErrorKind::NotFound => write!(f, "there is no such directory"),
            _ => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for BindError {}
