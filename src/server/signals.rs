//! SIGINT and SIGTERM, as events of the loop.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as Source;

/// The signals that ask the server to stop.
pub(super) struct Signals {
    source: Source,
}

impl Signals {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = Source::new([SIGINT, SIGTERM])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals { source })
    }

    /// Whether one has come since the last call.
    pub(super) fn stop_requested(&mut self) -> bool {
        self.source.pending().count() > 0
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signals")
    }
}
