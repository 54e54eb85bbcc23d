//! What goes over the line to Redis: bytes as they are, or by TLS, which is built in with the feature `tls`.
//!
//! TLS needs no stage of its own: what is written before the other end has proved who it is waits within, and an error of the proof
//! is an error of reading.

use std::io;

use super::listener::Stream;
use crate::broker::{Place, Tls};

/// A connection to Redis.
#[derive(Debug)]
pub(super) enum Channel {
    /// In plain.
    Plain(Stream),
    /// By TLS.
    #[cfg(feature = "tls")]
    Secured(Box<secured::Secured>),
}

impl Channel {
    /// Over a socket that is connected to `place`.
    ///
    /// # Errors
    /// If there can be no TLS.
    pub(super) fn over(stream: Stream, place: &Place, tls: Option<&Tls>) -> Result<Channel, String> {
        match tls {
            None => Ok(Channel::Plain(stream)),
            #[cfg(feature = "tls")]
            Some(tls) => Ok(Channel::Secured(Box::new(secured::Secured::over(stream, place, tls)?))),
            #[cfg(not(feature = "tls"))]
            Some(_) => unreachable!("an address of {place} by TLS is refused by a program without it"),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(stream) => stream.read(buffer),
            #[cfg(feature = "tls")]
            Channel::Secured(secured) => secured.read(buffer),
        }
    }

    /// Takes some of it, 0 bytes if there are none. What waits within goes first.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(_) if bytes.is_empty() => Ok(0),
            Channel::Plain(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Channel::Secured(secured) => secured.write(bytes),
        }
    }

    /// Ends it so that what was written and has not arrived does not arrive any more.
    pub(super) fn abandon(self) {
        match self {
            Channel::Plain(stream) => stream.abandon(),
            #[cfg(feature = "tls")]
            Channel::Secured(secured) => secured.abandon(),
        }
    }
}

#[cfg(feature = "tls")]
mod secured {
    use std::io::{self, Read, Write};
    use std::path::Path;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::Stream;
    use crate::broker::{Place, Tls};

    /// Where systems have the certificates of those whom everybody trusts, in one file.
    const TRUSTED: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
    ];

    /// A socket, and what is agreed about what goes over it.
    #[derive(Debug)]
    pub(in crate::server) struct Secured {
        socket: Socket,
        session: ClientConnection,
    }

    /// As the standard library has sockets.
    #[derive(Debug)]
    struct Socket(Stream);

    impl Secured {
        pub(super) fn over(stream: Stream, place: &Place, tls: &Tls) -> Result<Secured, String> {
            let Place::Host(host, _) = place else { return Err("TLS is for TCP".into()) };
            let name =
                ServerName::try_from(host.to_string()).map_err(|_| format!("{host} is no name for a certificate"))?;
            let config =
                ClientConfig::builder().with_root_certificates(trusted(tls.ca.as_deref())?).with_no_client_auth();
            let session = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
            Ok(Secured { socket: Socket(stream), session })
        }

        pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            loop {
                match self.session.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // An end without a word is an end: Redis's protocol says where its answers end.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                    read => return read,
                }
                let count = self.session.read_tls(&mut self.socket)?;
                let processed = self.session.process_new_packets();
                // What it answers belongs to the proof, or says what is wrong with it.
                let flushed = self.flush();
                processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, in_words(&error)))?;
                flushed?;
                if count == 0 {
                    return Ok(0);
                }
            }
        }

        pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.flush()?;
            let taken = self.session.writer().write(bytes)?;
            self.flush()?;
            // It takes no more before the other end has proved who it is.
            if taken == 0 && !bytes.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
        }

        pub(super) fn abandon(self) {
            self.socket.0.abandon();
        }

        /// Writes what waits within, as far as the socket takes it.
        fn flush(&mut self) -> io::Result<()> {
            while self.session.wants_write() {
                match self.session.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    fn trusted(ca: Option<&Path>) -> Result<RootCertStore, String> {
        let path = match ca {
            Some(path) => path,
            None => TRUSTED.iter().map(Path::new).find(|path| path.exists()).ok_or(
                "this machine has no file of certificates to trust: install ca-certificates, or name one by ?ca=/path",
            )?,
        };
        let wrong =
            |error: &dyn std::fmt::Display| format!("cannot read the certificates in {}: {error}", path.display());
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        if roots.is_empty() { Err(wrong(&"it holds none")) } else { Ok(roots) }
    }

    /// Of all that can be wrong with a certificate, most often nobody is known who vouches for it.
    fn in_words(error: &rustls::Error) -> String {
        match error {
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
                "nobody whom we trust vouches for its certificate: name who does by ?ca=/path".into()
            }
            error => format!("TLS: {error}"),
        }
    }

    impl Read for Socket {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
