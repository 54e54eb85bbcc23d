//! Signals, as events of the loop: SIGINT and SIGTERM, SIGHUP, SIGUSR2, and SIGCHLD.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook_mio::v1_0::Signals as Source;

/// The signals that ask the server for something.
pub(super) struct Signals {
    source: Source,
}

impl Signals {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = Source::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2, SIGCHLD])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals { source })
    }

    /// What they have asked for since the last call.
    pub(super) fn take(&mut self) -> Wishes {
        let mut wishes = Wishes::default();
        for signal in self.source.pending() {
            match signal {
                SIGHUP => wishes.reload = true,
                SIGUSR2 => wishes.upgrade = true,
                // It has woken the loop, which looks after its child in every turn.
                SIGCHLD => {}
                _ => wishes.stop = true,
            }
        }
        wishes
    }
}

/// What signals ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// To end.
    pub(super) stop: bool,
    /// To read the configuration again.
    pub(super) reload: bool,
    /// To become the program that stands where this one was started from.
    pub(super) upgrade: bool,
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signals")
    }
}
