//! Whole numbers as text, without the machinery of `format!`, which takes ten times as long and is on the way of every
//! answer.

/// Appends a number in decimal digits.
pub fn write(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).expect("one digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// How many digits a number has.
#[must_use]
pub fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The digits of `u64::MAX`.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn written(number: u64) -> String {
        let mut out = b"x".to_vec();
        super::write(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ends_are_written_whole() {
        assert_eq!(written(0), "x0");
        assert_eq!(written(u64::MAX), format!("x{}", u64::MAX));
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(number: u64, shift in 0..64_u32) {
            prop_assert_eq!(written(number >> shift), format!("x{}", number >> shift));
            prop_assert_eq!(super::digits(number >> shift), written(number >> shift).len() - 1);
        }
    }
}
