//! Where the server is that is meant, and what it wants to see: by the same settings as the server's own, or by `--url`.

use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgMatches};

use crate::api::Secret;
use crate::config::knobs::Knob;
use crate::config::{Address, Problem, Problems, Settings, Sources};

use super::failure::Failure;
use super::place::Place;
use super::syntax::{Argument, Form};

/// A place, and who says that it is there.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Target {
    /// Where.
    pub(in crate::cli) place: Place,
    /// `--url`, or a setting and where it is from.
    origin: String,
}

/// A server.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Reach {
    /// Where the API is called.
    pub(in crate::cli) calls: Target,
    /// Where pages come in.
    pub(in crate::cli) pages: Target,
    token: Option<(PathBuf, Secret)>,
}

const HEADING: &str = "Where the server is";

/// The flag that names the server itself.
pub(in crate::cli) const URL: Argument = Argument::new("url", Form::Url, URL_HELP).conflicts(SETTINGS).heading(HEADING);

/// The same without a name, where it shall be seen at once which server is meant.
pub(in crate::cli) const BARE_URL: Argument = Argument::new("url", Form::UrlOrNone, URL_HELP).conflicts(SETTINGS);

const SETTINGS: &[&str] = &["config", "listen", "rpc-listen", "port"];

const URL_HELP: &str = "Talk to this server, such as http://10.0.0.7:8082 or unix:/run/rpc.sock. Without it that of the settings: as \
                        the server's own, by flags, SHAVEET_* or the file, port 8082 of this machine if they say nothing";

/// Where pages are served, for those who are one.
pub(in crate::cli) const PAGES_URL: Argument =
    Argument::new("pages-url", Form::Url, "Where it serves pages, if the URL is the API's alone").heading(HEADING);

/// The flags that say by the server's own settings where it is.
pub(in crate::cli) fn settings_flags() -> Vec<Arg> {
    let knob = |name: &str, help: &'static str| {
        let knob = Knob::named(name).expect("it is in the table");
        super::super::flag(knob).help(help).hide_default_value(true).help_heading(HEADING)
    };
    let [config, port] = super::super::file_and_port();
    vec![
        knob("listen", "Where the server listens; the first place counts"),
        port.help("The server's port on this machine").help_heading(HEADING),
        knob("rpc-listen", "Where it listens for the API, if that has a place of its own"),
        knob("rpc-token-file", "The file with the token that calls have to bring"),
        config.help("The server's file of settings; or SHAVEET_CONFIG").help_heading(HEADING),
    ]
}

impl Reach {
    /// What flags, variables and the file say of it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(in crate::cli) fn find(matches: &ArgMatches, mut sources: Sources) -> Result<Reach, Problems> {
        let named = |name| matches.try_get_one::<Place>(name).ok().flatten();
        let url = named("url");
        if url.is_some() {
            // The file is another server's, and its token is not for everybody.
            sources.file = None;
        }
        let settings = sources.read()?;
        let target = |place: &Place| Target { place: place.clone(), origin: "as the URL says".to_owned() };
        let calls = match url {
            Some(place) => target(place),
            None => listener(&settings, &["rpc-listen", "listen"])?,
        };
        let pages = match (named("pages-url"), url) {
            (Some(place), _) => Target { place: place.clone(), origin: "as --pages-url says".to_owned() },
            (None, Some(place)) => target(place),
            (None, None) => listener(&settings, &["listen"])?,
        };
        let token = settings.config().rpc_token_file.clone();
        let token = token.map(|path| match Secret::read(&path) {
            Ok(secret) => Ok((path, secret)),
            Err(error) => {
                let what = format!("cannot read the token in {}: {error}", path.display());
                Err(Problems(vec![Problem { place: origin(&settings, "rpc-token-file"), what }]))
            }
        });
        Ok(Reach { calls, pages, token: token.transpose()? })
    }

    /// The headers of a call, each with its line end.
    pub(in crate::cli) fn lines(&self) -> String {
        self.token.as_ref().map_or_else(String::new, |(_, secret)| secret.header_line())
    }

    /// What it means that the API answers a call with 404.
    pub(in crate::cli) fn refused(&self) -> Failure {
        let calls = &self.calls.place;
        let token = match &self.token {
            Some((path, _)) => format!("the token in {} is not the server's", path.display()),
            None => "it wants the token of its --rpc-token-file, which is named here likewise".to_owned(),
        };
        let address = match calls {
            Place::Tcp(..) => "\n  its --rpc-allow does not have the address that this call came from",
            Place::Unix(_) => "",
        };
        let host = match calls {
            Place::Tcp(host, _) if host.parse::<std::net::IpAddr>().is_err() && host != "localhost" => {
                "\n  its --rpc-host does not have the name"
            }
            _ => "",
        };
        Failure::Refused(format!(
            "{calls} does not let this call in. Its log says why; it may be that\n  {token}{address}{host}\n  it serves pages \
             alone there, and the API where its --rpc-listen says"
        ))
    }
}

/// The first place of the first of these knobs that names one.
fn listener(settings: &Settings, names: &[&str]) -> Result<Target, Problems> {
    let config = settings.config();
    for name in names {
        let listeners: &[Address] = if *name == "listen" { &config.listen } else { &config.rpc_listen };
        if let Some(first) = listeners.first() {
            let origin = origin(settings, name);
            let said = if origin == "default" { "the default".to_owned() } else { format!("as {origin} says") };
            return match Place::of(first) {
                Ok(place) => Ok(Target { place, origin: said }),
                Err(what) => Err(Problems(vec![Problem { place: origin, what: what.to_owned() }])),
            };
        }
    }
    Err(Problems(vec![Problem { place: origin(settings, "listen"), what: "there is no listener".to_owned() }]))
}

fn origin(settings: &Settings, name: &str) -> String {
    let setting = settings.all().iter().find(|setting| setting.knob.name == name);
    setting.map_or_else(String::new, |setting| setting.origin.to_string())
}

/// `http://127.0.0.1:8082 (the default)`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = if matches!(self.place, Place::Unix(_)) { "socket " } else { "" };
        write!(f, "{socket}{} ({})", self.place, self.origin)
    }
}
