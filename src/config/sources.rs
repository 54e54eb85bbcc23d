//! Where values come from, and which of them count: flags before variables, variables before the file, the file before the
//! table's defaults.
//!
//! A value counts whole: a list in a flag is not added to a list in the file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::knobs::{Acts, Form, KNOBS, Knob};
use super::problem::in_one_line;
use super::{Config, Draft, Log, Problem, Problems, file, values};

/// All that was said when the process was started. The file is read each time that it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// What flags say. They are allowed values.
    pub flags: Vec<Setting>,
    /// Listen on this port, too.
    pub port: Option<u16>,
    /// The environment's variables whose names begin with ours.
    pub variables: Vec<(String, OsString)>,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
}

/// What is said of one knob.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Of which.
    pub knob: &'static Knob,
    /// Its value, or its values; none if it has no default.
    pub values: Vec<String>,
    /// Who says it.
    pub origin: Origin,
}

/// Who says what a knob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the table's default.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Variable(String),
    /// A flag.
    Flag(String),
    /// Somebody, and a flag that adds to it.
    Both(Box<Origin>, &'static str),
}

/// What is new of a knob.
#[derive(Debug, Clone)]
pub struct Change {
    /// Of which.
    pub knob: &'static Knob,
    /// What it was.
    pub from: String,
    /// What it is to be.
    pub to: String,
    /// Who says so.
    pub origin: Origin,
    /// When it acts: a server that runs has taken it over, or has not.
    pub acts: Acts,
}

/// What counts, of every knob, in the table's order.
#[derive(Debug, Clone)]
pub struct Settings {
    all: Vec<Setting>,
    config: Config,
}

impl Sources {
    /// Keeps those of the environment's variables that are ours.
    pub fn note_variables(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let ours = |name: &str| name.starts_with("SHAVEET_") || name == RUST_LOG;
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        self.variables = named.filter(|(name, _)| ours(name)).collect();
    }

    /// A variable's value.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_os_str())
    }

    /// Variables that say nothing but look as if they should. They may be somebody else's: container managers make some for
    /// each service they know, so these are no errors.
    #[must_use]
    pub fn misspelt_variables(&self) -> Vec<Problem> {
        let stranger = |name: &str| {
            let key = name.strip_prefix("SHAVEET_")?.to_lowercase().replace('_', "-");
            let is_known = KNOBS.iter().any(|knob| knob.variable() == name) || name == "SHAVEET_CONFIG";
            let is_of_containers = ["port", "service"].iter().any(|word| key.split('-').next() == Some(word));
            let knob = Knob::meant_by(&key).filter(|_| !is_known && !is_of_containers)?;
            let what = format!("unknown variable, which says nothing; did you mean {}?", knob.variable());
            Some(Problem { place: name.to_owned(), what })
        };
        self.variables.iter().filter_map(|(name, _)| stranger(name)).collect()
    }

    /// Reads the file and finds what counts.
    ///
    /// # Errors
    /// All that is wrong with the file, and with the variables that count.
    pub fn read(&self) -> Result<Settings, Problems> {
        let mut problems = Vec::new();
        let in_file = self.file.as_ref().map(|path| file::read(path, &mut problems)).unwrap_or_default();
        let mut all = Vec::with_capacity(KNOBS.len());
        for knob in KNOBS {
            let find = |layer: &[Setting]| layer.iter().find(|setting| setting.knob.name == knob.name).cloned();
            let said =
                find(&self.flags).or_else(|| self.in_environment(knob, &mut problems)).or_else(|| find(&in_file));
            all.push(said.unwrap_or_else(|| Setting::default_of(knob)));
        }
        self.add_port(&mut all);
        if problems.is_empty() { Ok(Settings::new(all)) } else { Err(Problems(problems)) }
    }

    fn in_environment(&self, knob: &'static Knob, problems: &mut Vec<Problem>) -> Option<Setting> {
        let ours = knob.variable();
        let name = if knob.name == "log" && self.variable(&ours).is_none() { RUST_LOG } else { &ours };
        let value = self.variable(name)?;
        let Some(text) = value.to_str() else {
            problems.push(Problem { place: name.to_owned(), what: format!("{value:?} is not UTF-8") });
            return None;
        };
        let values = match name {
            // Others read it, too, and whatever they understand shall not stop us.
            RUST_LOG if text.is_empty() => return None,
            RUST_LOG if knob.check(text).is_err() => vec![format!("{text}=trace")],
            _ => knob.split(text),
        };
        if let Some((text, why)) = values.iter().find_map(|text| Some((text, knob.check(text).err()?))) {
            problems
                .push(Problem { place: name.to_owned(), what: format!("invalid value '{}': {why}", knob.shown(text)) });
            return None;
        }
        Some(Setting { knob, values, origin: Origin::Variable(name.to_owned()) })
    }

    /// A port is one more place to listen at; alone, it is the only one.
    fn add_port(&self, all: &mut [Setting]) {
        let Some(port) = self.port else { return };
        let listen = all.iter_mut().find(|setting| setting.knob.name == "listen").expect("it is in the table");
        let origin = std::mem::replace(&mut listen.origin, Origin::Default);
        if origin == Origin::Default {
            listen.values.clear();
            listen.origin = Origin::Flag("--port".into());
        } else {
            listen.origin = Origin::Both(Box::new(origin), "--port");
        }
        listen.values.push(format!("*:{port}"));
    }
}

/// What every program with this logger listens to; ours goes before it.
const RUST_LOG: &str = "RUST_LOG";

impl Settings {
    /// `all` has one for each knob, and all values are allowed.
    fn new(all: Vec<Setting>) -> Settings {
        let mut draft = Draft::empty();
        for setting in &all {
            let texts = setting.values.iter().map(String::as_str);
            draft.read_all(setting.knob, texts).expect("they have been checked");
        }
        Settings { config: draft.config(), all }
    }

    /// The values.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What holds when these settings are followed by others in a running server, and what is new of it.
    #[must_use]
    pub fn followed_by(&self, new: Settings) -> (Settings, Vec<Change>) {
        let mut changes = Vec::new();
        let mut all = Vec::with_capacity(new.all.len());
        for (old, new) in self.all.iter().zip(new.all) {
            if old.values == new.values {
                all.push(new);
                continue;
            }
            let is_fixed = [old, &new].iter().any(|setting| setting.has_directives());
            let acts = if is_fixed { Acts::AtStart } else { new.knob.acts };
            let (from, to) = (old.in_short(), new.in_short());
            changes.push(Change { knob: new.knob, from, to, origin: new.origin.clone(), acts });
            all.push(if acts == Acts::AtStart { old.clone() } else { new });
        }
        (Settings::new(all), changes)
    }

    /// One for each knob, in the table's order.
    #[must_use]
    pub fn all(&self) -> &[Setting] {
        &self.all
    }
}

impl Setting {
    /// Whether it is read once, when logging begins.
    fn has_directives(&self) -> bool {
        self.knob.name == "log" && self.values.iter().any(|text| matches!(values::log(text), Ok(Log::Directives(_))))
    }

    /// Its values as a flag would have them, or what it means that there is none.
    fn in_short(&self) -> String {
        let shown: Vec<String> = self.values.iter().map(|text| self.knob.shown(text)).collect();
        if shown.is_empty() { self.knob.absent().unwrap_or_default().to_owned() } else { shown.join(",") }
    }

    fn default_of(knob: &'static Knob) -> Setting {
        let values = knob.preset().map(|text| knob.split(text)).unwrap_or_default();
        Setting { knob, values, origin: Origin::Default }
    }
}

impl Knob {
    /// What a text stands for: several values if the knob may have several.
    #[must_use]
    pub fn split(&self, text: &str) -> Vec<String> {
        if self.is_list() { text.split(',').map(str::to_owned).collect() } else { vec![text.to_owned()] }
    }
}

/// As the file would have it: `poll-timeout = "25s"`. What has no value is a comment.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { knob, values, .. } = self;
        let shown: Vec<String> = values.iter().map(|text| knob.in_file(&knob.shown(text))).collect();
        match &shown[..] {
            [] => write!(f, "# {}: {}", knob.name, knob.absent().unwrap_or_default()),
            [one] if !knob.is_list() || !one.contains(',') => write!(f, "{} = {one}", knob.name),
            _ => write!(f, "{} = [{}]", knob.name, shown.join(", ")),
        }
    }
}

impl Knob {
    /// A value as the file would have it.
    #[must_use]
    pub fn in_file(&self, text: &str) -> String {
        if self.form == Form::Switch {
            return (text == "on" || text == "true").to_string();
        }
        let may_be_number = matches!(self.value, "COUNT" | "SIZE" | "ADDR" | "MODE");
        if may_be_number && text.parse::<u32>().is_ok_and(|number| number.to_string() == text) {
            return text.to_owned();
        }
        let mut quoted = String::from("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
                c => quoted.push(c),
            }
        }
        quoted + "\""
    }
}

/// In one line: `poll-timeout: 25s -> 20s (shaveet.toml:3)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {} -> {} ({})", self.knob.name, self.from, self.to, self.origin);
        f.write_str(&in_one_line(&line))
    }
}

/// `default`, `shaveet.toml:3`, `SHAVEET_LISTEN`, `--listen`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) | Origin::Flag(name) => f.write_str(name),
            Origin::Both(origin, flag) => write!(f, "{origin} and {flag}"),
        }
    }
}
