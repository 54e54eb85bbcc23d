//! SIGINT, SIGTERM and SIGHUP, as events of the loop.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as Source;

/// The signals that ask the server for something.
pub(super) struct Signals {
    source: Source,
}

impl Signals {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = Source::new([SIGINT, SIGTERM, SIGHUP])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals { source })
    }

    /// What they have asked for since the last call.
    pub(super) fn take(&mut self) -> Wishes {
        let mut wishes = Wishes::default();
        for signal in self.source.pending() {
            *if signal == SIGHUP { &mut wishes.reload } else { &mut wishes.stop } = true;
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
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signals")
    }
}
