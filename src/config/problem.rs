//! What is wrong with a configuration.

use std::fmt;

/// One thing that is wrong: where, and what. It is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A file and a line of it, or a variable.
    pub place: String,
    /// What is wrong there, with which value, and what to write instead.
    pub what: String,
}

/// All of them, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", in_one_line(&self.place), in_one_line(&self.what))
    }
}

/// A line for each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Without what would break the line.
pub(super) fn in_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
