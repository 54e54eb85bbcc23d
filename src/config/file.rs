//! The file: TOML, a key for each knob, at the top and nowhere else.
//!
//! A value is written as in the flag, as text; a number, `true` or a list where that is what it is. Paths are relative to the
//! file's own directory, so that a file means the same whoever reads it from where.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::knobs::{Form, Knob};
use super::{Origin, Problem, Setting};

/// Bytes of a file of settings: some hundred times what all of them take.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a regular file that is not large: neither a pipe that nobody writes to nor a disk's image holds anybody up.
///
/// # Errors
/// As the system has it, and what else it is.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return wrong("it is a directory");
    }
    if !kind.is_file() {
        return wrong("it is no regular file");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX { wrong("it is larger than 1 MiB") } else { Ok(bytes) }
}

/// All that the file says. What is wrong is added to `problems`.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let bytes = match read_small(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(Problem { place: path.display().to_string(), what: format!("cannot be read: {error}") });
            return Vec::new();
        }
    };
    let (valid, rest) = match std::str::from_utf8(&bytes) {
        Ok(text) => (text, None),
        Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("it is valid so far"), Some(())),
    };
    let mut reading = Reading { path, text: valid, problems, settings: Vec::new() };
    match rest {
        Some(()) => reading.wrong(valid.len(), "not UTF-8".into()),
        None => reading.read_all(),
    }
    reading.settings
}

/// A file that is being read.
struct Reading<'r> {
    path: &'r Path,
    text: &'r str,
    problems: &'r mut Vec<Problem>,
    settings: Vec<Setting>,
}

impl Reading<'_> {
    fn read_all(&mut self) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            for error in errors {
                let at = error.span().map_or(0, |span| span.start);
                self.wrong(at, format!("not TOML: {}", error.message()));
            }
            return;
        }
        let mut pairs: Vec<_> = table.get_ref().iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in pairs {
            match Knob::named(key.get_ref()) {
                Some(knob) => self.read_one(knob, key.span(), value),
                None => self.wrong(key.span().start, unknown(key.get_ref(), value.get_ref())),
            }
        }
    }

    fn read_one(&mut self, knob: &'static Knob, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let elements: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(list) if !knob.is_list() => {
                return self.wrong_value(knob, value, &format!("it has one value; allowed: {}", knob.allowed));
            }
            DeValue::Array(list) if list.is_empty() => {
                return self.wrong_value(knob, value, "an empty list; without the key the default holds");
            }
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        let mut values = Vec::new();
        for element in elements {
            match text(knob, element.get_ref()) {
                // Commas within a list's element are its own.
                Ok(text) if value.get_ref().is_array() => values.push((element, text)),
                Ok(text) => values.extend(knob.split(&text).into_iter().map(|text| (element, text))),
                Err(what) => self.wrong_value(knob, element, &format!("{what}; allowed: {}", knob.allowed)),
            }
        }
        for (element, text) in &values {
            if let Err(why) = knob.check(text) {
                self.wrong_value(knob, element, &why);
            }
        }
        let values = values.into_iter().map(|(_, text)| self.located(knob, text)).collect();
        let origin = Origin::File(self.path.to_owned(), self.line(key.start));
        self.settings.push(Setting { knob, values, origin });
    }

    /// With a path that does not depend on where the process runs, if it is one.
    fn located(&self, knob: &Knob, text: String) -> String {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        match (knob.value, text.strip_prefix("unix:")) {
            ("FILE", _) => directory.join(text).display().to_string(),
            ("ADDR", Some(path)) => format!("unix:{}", directory.join(path).display()),
            _ => text,
        }
    }

    fn wrong_value(&mut self, knob: &Knob, value: &Spanned<DeValue<'_>>, why: &str) {
        let written: String = knob.shown(&self.text[value.span()]).chars().take(SHOWN).collect();
        self.wrong(value.span().start, format!("{} = {written}: {why}", knob.name));
    }

    fn wrong(&mut self, at: usize, what: String) {
        let place = format!("{}:{}", self.path.display(), self.line(at));
        self.problems.push(Problem { place, what });
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }
}

/// Characters of a wrong value that are shown.
const SHOWN: usize = 80;

/// A value as a flag would have it.
fn text(knob: &Knob, value: &DeValue<'_>) -> Result<String, String> {
    let is_switch = knob.form == Form::Switch || knob.value == "ON";
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(true) if is_switch => Ok("on".into()),
        DeValue::Boolean(false) if is_switch => Ok("off".into()),
        // A file mode is octal however it is written.
        DeValue::Integer(number) if knob.value == "MODE" && matches!(number.radix(), 8 | 10) => {
            Ok(number.as_str().to_owned())
        }
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err("too large a number".into()),
        },
        other => Err(format!("not a value but a TOML {}", other.type_str())),
    }
}

/// What to say of a key that is none.
fn unknown(key: &str, value: &DeValue<'_>) -> String {
    let meant = key.to_lowercase().replace('_', "-");
    match &*meant {
        "port" => return "unknown key port; write listen = 8082".into(),
        "config" | "daemon" => return format!("unknown key {key}; it is for the command line alone"),
        _ => {}
    }
    match Knob::meant_by(&meant) {
        Some(knob) => format!("unknown key {key}; did you mean {}?", knob.name),
        None if value.is_table() => format!("unknown key {key}; keys stand at the top, in no table"),
        None => format!("unknown key {key}; `shaveet --help` lists what there is"),
    }
}
