//! `shaveet check`: what holds, and who says so.

use std::fmt::Write;

use crate::api::Secret;
use crate::config::{Problem, Problems, Settings};

/// A line for each knob, which together are a file that says the same.
///
/// # Errors
/// What keeps a server with these settings from starting, as far as it can be known without starting it.
pub fn report(settings: &Settings) -> Result<String, Problems> {
    if let Some(path) = &settings.config().rpc_token_file {
        Secret::read(path).map_err(|error| {
            let setting = settings.all().iter().find(|setting| setting.knob.name == "rpc-token-file");
            let place = setting.map_or_else(String::new, |setting| setting.origin.to_string());
            let what = format!("cannot read the token in {} (--rpc-token-file): {error}", path.display());
            Problems(vec![Problem { place, what }])
        })?;
    }
    let lines: Vec<String> = settings.all().iter().map(ToString::to_string).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(WIDTH_MAX);
    let mut text = String::new();
    for (line, setting) in lines.iter().zip(settings.all()) {
        let _ = writeln!(text, "{line:width$}  # {}", setting.origin);
    }
    Ok(text)
}

/// Columns before the comments: longer lines have theirs where they end.
const WIDTH_MAX: usize = 42;
