//! What Redis answers, as far as we have use for it.

/// A value. Maps and sets are lists (a map's keys and values in turns), in an order of our own as they have none; booleans are 0
/// and 1, other numbers texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: what Lua's `nil` and `false` become.
    Null,
    /// A whole number.
    Int(i64),
    /// A text, or any bytes.
    Text(Box<[u8]>),
    /// Several values.
    List(Vec<Value>),
    /// An error within a list. One that is the whole answer is a [`Failure::Refused`](super::Failure::Refused).
    Error(Box<str>),
}

impl Value {
    /// The number, if it is one.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes, if it is a text.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is one in UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The number, if it is a whole one that is not negative, or the text of one: our functions answer numbers as text.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Value::Int(number) => u64::try_from(*number).ok(),
            value => value.text()?.parse().ok(),
        }
    }

    /// The values, if it is a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }
}
