//! A value that can't be printed.
//!
//! Invariant: a [`SecretValue`] has no `Display`, its `Debug` does not show the value, and it is
//! overwritten with zeros when dropped. The value is read only through `expose` and `expose_str`,
//! so a text search finds every use.

use zeroize::Zeroizing;

/// The bytes of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes over without a copy.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves, for signing or encrypting; never for showing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is UTF-8; never for showing.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_nothing() {
        let value = SecretValue::new("hunter2");
        assert!(!format!("{value:?} {value:#?}").contains("hunter2"));
    }
}
