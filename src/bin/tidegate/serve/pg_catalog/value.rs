//! Values of catalog queries.
//!
//! Invariant: values of one type have one kind of value, so that they can be compared and hashed. A type
//! that has no kind of its own is a text; its operators are refused.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A value. Its type of PostgreSQL is that of the expression it comes from.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Whole numbers, and numbers of objects: `oid`, `regclass` and the like.
    Int(i64),
    /// Also `numeric`.
    Float(f64),
    /// Also `name`, `"char"`, `json`, `aclitem`.
    Text(Arc<str>),
    /// Microseconds since 1970: `timestamp`, `timestamptz`, `date`; or their number: `interval`.
    Micros(i64),
    /// Arrays, and the vectors `int2vector` and `oidvector`.
    List(Arc<[Value]>),
    /// Rows and other records.
    Record(Arc<[Value]>),
}

/// The values of a row.
pub(super) type Row = Arc<[Value]>;

impl Value {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Arc::from(text.as_ref()))
    }

    pub(super) fn list(values: impl IntoIterator<Item = Value>) -> Self {
        Self::List(values.into_iter().collect())
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is true. NULL is not.
    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(super) fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Float(number) => Some(number.round() as i64),
            _ => None,
        }
    }

    /// The number of an object; 0 stands for none.
    pub(super) fn as_oid(&self) -> u32 {
        self.as_int()
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0)
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> &[Value] {
        match self {
            Self::List(items) | Self::Record(items) => items,
            _ => &[],
        }
    }

    /// About the bytes that it takes.
    pub(super) fn size(&self) -> usize {
        let own = std::mem::size_of::<Self>();
        match self {
            Self::Text(text) => own + text.len(),
            Self::List(items) | Self::Record(items) => {
                own + items.iter().map(Self::size).sum::<usize>()
            }
            _ => own,
        }
    }

    /// The order of two values; NULL comes last.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Greater,
            (_, Self::Null) => Ordering::Less,
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Micros(a), Self::Micros(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::List(a), Self::List(b)) | (Self::Record(a), Self::Record(b)) => {
                let pairs = a.iter().zip(b.iter());
                let first = pairs.map(|(a, b)| a.order(b)).find(|order| order.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (a, b) => match (a.as_float(), b.as_float()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => Ordering::Equal,
            },
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => 0_u8.hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Int(number) => (*number as f64).to_bits().hash(state),
            Self::Float(number) => number.to_bits().hash(state),
            Self::Text(text) => text.hash(state),
            Self::Micros(micros) => micros.hash(state),
            Self::List(items) | Self::Record(items) => items.hash(state),
        }
    }
}
