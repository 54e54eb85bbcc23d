//! SIGHUP: the configuration is read again, and what can change while the server runs does.
//!
//! All or nothing: if anything is wrong with the file, or with the token's, the log says what, and all stays. What cannot
//! change (listeners) stays as it is, and the log says so. Nobody is sent away: polls stay parked and connections open, and
//! whatever has begun ends as it was promised.

use log::{error, info, warn};

use super::{Clock, Server};
use crate::api::Secret;
use crate::config::knobs::Acts;
use crate::config::{Log, Settings, Sources};

/// Where the configuration comes from.
#[derive(Debug)]
pub(super) struct Origin {
    sources: Sources,
    /// What holds.
    settings: Settings,
}

/// Channels, clients and lost messages that are looked at in one turn after a change, at some 100 ns each.
const STEPS_PER_TURN: u32 = 512;

impl Server {
    /// Has SIGHUP read the configuration again, of which `settings` is what the server was made with.
    pub fn reads_again(&mut self, sources: Sources, settings: Settings) {
        self.origin = Some(Origin { sources, settings });
    }

    /// Reads the configuration again and takes over what can be.
    pub(super) fn reload(&mut self) {
        let before = self.clock.in_turn();
        if let Some(is_good) = self.read_again() {
            self.counts.reloads.note(is_good, Clock::since_1970(), self.clock.in_turn() - before);
        }
    }

    /// Whether the configuration was good; `None` if there is none to be read.
    fn read_again(&mut self) -> Option<bool> {
        let Origin { sources, settings } = self.origin.as_ref()?;
        let (new, token) = match sources.read().map_err(|error| error.to_string()).and_then(with_token) {
            Ok(new) => new,
            Err(problems) => {
                error!("reload: nothing is changed, as the configuration is wrong");
                problems.lines().for_each(|problem| error!("reload: {problem}"));
                return Some(false);
            }
        };
        let (settings, changes) = settings.followed_by(new);
        for change in &changes {
            match change.acts {
                Acts::AtOnce => info!("reload: {change}"),
                Acts::AtStart => warn!("reload: {change} needs a restart"),
            }
        }
        let is_other_token = token.as_ref().is_some_and(|token| !self.api.access.requires(token));
        if is_other_token {
            info!("reload: another token is required (--rpc-token-file)");
        }
        let is_changed = is_other_token || changes.iter().any(|change| change.acts == Acts::AtOnce);
        match &sources.file {
            _ if is_changed => self.take_over(&settings, token),
            Some(file) => info!("reload: {} has nothing new to take over", file.display()),
            None => info!("reload: nothing is new; there is no file of settings (--config)"),
        }
        self.origin = self.origin.take().map(|origin| Origin { settings, ..origin });
        Some(true)
    }

    fn take_over(&mut self, settings: &Settings, token: Option<Secret>) {
        let config = settings.config();
        if let Log::Level(level) = config.log {
            log::set_max_level(level);
        }
        self.api.change(self.now, config, token, self.clock.date());
        self.press.change(config);
        self.visitors.change(config);
        if config.memory_max != self.config.memory_max {
            self.memory.change(config.memory_max);
        }
        self.config = config.clone();
        info!("reload: done");
    }

    /// After a change: channels and clients that are there follow it, some more of them in each turn.
    pub(super) fn adapt(&mut self) {
        if self.api.hub.is_changing() {
            self.api.hub.go_on_changing(self.now, &mut STEPS_PER_TURN.clone());
        }
    }
}

/// Reads the token, too, if there is to be one.
fn with_token(settings: Settings) -> Result<(Settings, Option<Secret>), String> {
    let Some(path) = &settings.config().rpc_token_file else { return Ok((settings, None)) };
    match Secret::read(path) {
        Ok(token) => Ok((settings, Some(token))),
        Err(error) => Err(format!("cannot read the token in {} (--rpc-token-file): {error}", path.display())),
    }
}
