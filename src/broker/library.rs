//! The functions that Redis does for us (`library.lua`), and which of two texts of them is the newer one.

/// The text, for `FUNCTION LOAD`.
pub const TEXT: &str = include_str!("library.lua");

/// The function that says the revision of the text that Redis has.
pub const REVISION_FUNCTION: &str = "shaveet1_revision";

/// The text's revision, which it says itself.
pub const REVISION: i64 = 7;

/// The function that says which life of the data it is, as far as the functions that are there know.
pub const LIFE_FUNCTION: &str = "shaveet1_life";

/// Where the text remembers that.
const LIFE: &str = "\nlocal incarnation\n";

/// The text, to take the place of functions that say that it is this life: it goes on, as Redis is the same.
#[must_use]
pub fn text_of(life: &str) -> String {
    let is_one = life.len() == 16 && life.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_one { TEXT.replacen(LIFE, &format!("\nlocal incarnation = '{life}'\n"), 1) } else { TEXT.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_its_revision() {
        assert!(TEXT.starts_with("#!lua name=shaveet1\n"));
        assert!(TEXT.contains(&format!("\nlocal REVISION = {REVISION}\n")));
        assert!(TEXT.contains(&format!("function_name = '{REVISION_FUNCTION}'")));
        assert!(TEXT.contains(&format!("function_name = '{LIFE_FUNCTION}'")));
    }

    #[test]
    fn it_goes_on_with_a_life_and_takes_nothing_else_for_one() {
        let life = "0123456789abcdef";
        let text = text_of(life);
        assert!(text.contains(&format!("\nlocal incarnation = '{life}'\n")));
        assert_eq!(text.replace(&format!(" = '{life}'"), ""), TEXT);
        assert_eq!(["", "0123456789abcde'", "0123456789abcdef0"].map(text_of), [TEXT; 3]);
    }
}
