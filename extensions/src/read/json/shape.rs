//! The shape of JSON values: which keys objects have, in their order, and what kinds of values.
//!
//! Invariant: the shape of several values fits each of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The shape of a value or of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Shape {
    /// Only null was seen.
    #[default]
    Null,
    Boolean,
    Number,
    Text,
    /// Values of different kinds that all have a text: numbers, booleans and texts.
    Scalar,
    List(Box<Shape>),
    Object(Vec<(String, Shape)>),
    /// Values of kinds that have no common type.
    Mixed,
}

impl Shape {
    /// The shape of both.
    pub(super) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, shape) | (shape, Self::Null) => shape,
            (Self::Object(mut keys), Self::Object(others)) => {
                for (key, shape) in others {
                    match keys.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => *known = std::mem::take(known).merge(shape),
                        None => keys.push((key, shape)),
                    }
                }
                Self::Object(keys)
            }
            (Self::List(one), Self::List(other)) => Self::List(Box::new(one.merge(*other))),
            (one, other) if one == other => one,
            (one, other) if one.is_scalar() && other.is_scalar() => Self::Scalar,
            _ => Self::Mixed,
        }
    }

    /// The key whose values have no common type. `key` is the key of this shape.
    pub(super) fn find_mixed<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        match self {
            Self::Mixed => Some(key),
            Self::List(item) => item.find_mixed(key),
            Self::Object(keys) => keys.iter().find_map(|(key, shape)| shape.find_mixed(key)),
            _ => None,
        }
    }

    fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Boolean | Self::Number | Self::Text | Self::Scalar
        )
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Boolean)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Number)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Number)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Number)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut shape = Shape::Null;
        while let Some(item) = items.next_element::<Shape>()? {
            shape = shape.merge(item);
        }
        Ok(Shape::List(Box::new(shape)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut keys: Vec<(String, Shape)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if keys.iter().any(|(known, _)| *known == key) {
                entries.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom(format!(
                    "the key \"{key}\" is there twice"
                )));
            }
            keys.push((key, entries.next_value()?));
        }
        Ok(Shape::Object(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(values: &[&str]) -> Shape {
        let shapes = values
            .iter()
            .map(|text| serde_json::from_str::<Shape>(text).unwrap());
        shapes.fold(Shape::Null, Shape::merge)
    }

    #[test]
    fn shapes_fit_all_values() {
        let object = |keys: &[(&str, Shape)]| {
            let keys = keys
                .iter()
                .map(|(key, shape)| ((*key).to_owned(), shape.clone()));
            Shape::Object(keys.collect())
        };
        let found = shape(&["{\"z\":1,\"a\":null}", "{\"a\":\"x\",\"b\":[]}"]);
        let empty = Shape::List(Box::new(Shape::Null));
        let expected = object(&[("z", Shape::Number), ("a", Shape::Text), ("b", empty)]);
        assert_eq!(found, expected);
        assert_eq!(shape(&["1", "\"x\"", "true"]), Shape::Scalar);
        assert_eq!(shape(&["1", "{}"]), Shape::Mixed);
        for mixed in [
            "{\"a\":[1,{}]}",
            "{\"a\":[[1,{}]]}",
            "{\"b\":[{\"a\":[1,[]]}]}",
        ] {
            assert_eq!(shape(&[mixed]).find_mixed(""), Some("a"), "{mixed}");
        }
        assert_eq!(shape(&["{\"a\":[1,2]}"]).find_mixed(""), None);
        assert_eq!(
            shape(&["[1]", "[null]"]),
            Shape::List(Box::new(Shape::Number))
        );
        assert!(serde_json::from_str::<Shape>("{\"a\":1,\"a\":2}").is_err());
    }
}
