//! Waiting for several things at once: for the server, for the user who has had enough, and for the end of whoever reads what we print.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// Signals that ask this process to end. The first is told, so that what was begun can be undone; a second one of a kind ends it
/// at once, with 128 and its number as shells have it.
#[derive(Debug)]
pub(in crate::cli) struct Interrupts {
    came: Arc<AtomicBool>,
    /// Readable when one has come.
    bell: UnixStream,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Event {
    /// There is something to read.
    Readable,
    /// The time is over.
    TimedOut,
    /// The user wants to end.
    Interrupted,
    /// Nobody reads what we print any more.
    OutputClosed,
}

impl Interrupts {
    /// Listens to them from now on.
    ///
    /// # Errors
    /// The system does not let it.
    pub(in crate::cli) fn new() -> io::Result<Interrupts> {
        let (bell, clapper) = UnixStream::pair()?;
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: a signal looks at the flag before it sets it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&came))?;
            flag::register(signal, Arc::clone(&came))?;
            pipe::register(signal, clapper.try_clone()?)?;
        }
        Ok(Interrupts { came, bell })
    }

    /// Whether one has come.
    pub(in crate::cli) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }

    /// Waits until something happens.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::cli) fn wait(&self, source: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> io::Result<Event> {
        let stdout = rustix::stdio::stdout();
        // Of standard output only what is told without being asked for: that the other end has gone.
        let mut sources =
            vec![PollFd::new(&self.bell, PollFlags::IN), PollFd::from_borrowed_fd(stdout, PollFlags::empty())];
        sources.extend(source.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)));
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("it is short"));
        loop {
            match poll(&mut sources, timeout.as_ref()) {
                // By a signal: if it is one of ours the bell has rung.
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(0) => return Ok(Event::TimedOut),
                Ok(_) if self.came() => return Ok(Event::Interrupted),
                Ok(_) if !sources[1].revents().is_empty() => return Ok(Event::OutputClosed),
                Ok(_) => return Ok(Event::Readable),
            }
        }
    }
}
