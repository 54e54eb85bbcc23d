//! The functions that Redis does for us (`library.lua`), and which of two texts of them is the newer one.

/// The text, for `FUNCTION LOAD`.
pub const TEXT: &str = include_str!("library.lua");

/// The function that says the revision of the text that Redis has.
pub const REVISION_FUNCTION: &str = "shaveet1_revision";

/// The text's revision, which it says itself.
pub const REVISION: i64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_its_revision() {
        assert!(TEXT.starts_with("#!lua name=shaveet1\n"));
        assert!(TEXT.contains(&format!("\nlocal REVISION = {REVISION}\n")));
        assert!(TEXT.contains(&format!("function_name = '{REVISION_FUNCTION}'")));
    }
}
