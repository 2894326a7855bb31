//! Columns of texts that declare a type of PostgreSQL, such as `oid` or `name`, in their metadata.
//!
//! Invariant: the texts are the type's text form; the binary form is derived from them.

use arrow::datatypes::Field;

use super::push_with_length;
use super::types::{PgType, element_of, oid};
use crate::error::{Error, ErrorKind, Result};

/// The key of a field's metadata that declares its type: the type's number in `pg_type`.
pub const PG_TYPE_KEY: &str = "tidegate.pg_type";

/// The type that a field declares.
pub(super) fn declared_type(field: &Field) -> Option<PgType> {
    let number = field.metadata().get(PG_TYPE_KEY)?.parse().ok()?;
    let size = match number {
        oid::BOOL | oid::CHAR => 1,
        oid::INT2 => 2,
        oid::INT4 | oid::OID | oid::XID | oid::FLOAT4 | oid::DATE => 4,
        oid::REGPROC | oid::REGCLASS | oid::REGTYPE | oid::REGROLE | oid::REGNAMESPACE => 4,
        oid::INT8 | oid::FLOAT8 | oid::TIMESTAMP | oid::TIMESTAMPTZ => 8,
        oid::NAME => 64,
        oid::VOID => 4,
        _ => -1,
    };
    Some(PgType {
        oid: number,
        size,
        modifier: -1,
    })
}

/// Appends the binary form of a value of the type that has this text.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a type whose texts don't tell its binary form.
pub(super) fn push_declared(type_oid: u32, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let malformed = || {
        let why = format!("{text:?} is no value of the type with the number {type_oid}");
        Error::new(ErrorKind::Internal, why)
    };
    match type_oid {
        oid::OID | oid::XID => {
            let number: u32 = text.parse().map_err(|_| malformed())?;
            out.extend_from_slice(&number.to_be_bytes());
        }
        oid::INT2 => {
            let number: i16 = text.parse().map_err(|_| malformed())?;
            out.extend_from_slice(&number.to_be_bytes());
        }
        oid::INT4 => {
            let number: i32 = text.parse().map_err(|_| malformed())?;
            out.extend_from_slice(&number.to_be_bytes());
        }
        oid::INT2VECTOR => {
            push_array(oid::INT2, 0, text.split_ascii_whitespace().map(Some), out)?;
        }
        oid::OIDVECTOR => {
            push_array(oid::OID, 0, text.split_ascii_whitespace().map(Some), out)?;
        }
        oid::REGPROC | oid::REGCLASS | oid::REGTYPE | oid::REGROLE | oid::REGNAMESPACE => {
            let why = "names of objects (regclass and the like) can't be sent in binary form";
            return Err(Error::new(ErrorKind::Unsupported, why)
                .with_hint("cast them to text or oid, or ask for text"));
        }
        oid::VOID => {}
        oid::JSONB => {
            out.push(1);
            out.extend_from_slice(text.as_bytes());
        }
        _ => match element_of(type_oid) {
            Some(element) => {
                let elements = array_elements(text).ok_or_else(malformed)?;
                push_array(element, 1, elements.iter().map(Option::as_deref), out)?;
            }
            None => out.extend_from_slice(text.as_bytes()),
        },
    }
    Ok(())
}

/// Appends an array of one dimension whose first element has the number `first`. Those that count from
/// 0 are vectors, which have a dimension without elements, too.
fn push_array<'a>(
    element_type: u32,
    first: i32,
    elements: impl Iterator<Item = Option<&'a str>> + Clone,
    out: &mut Vec<u8>,
) -> Result<()> {
    let count = i32::try_from(elements.clone().count()).unwrap_or(i32::MAX);
    let dimensions = i32::from(count > 0 || first == 0);
    let has_nulls = elements.clone().any(|element| element.is_none());
    out.extend_from_slice(&dimensions.to_be_bytes());
    out.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
    out.extend_from_slice(&element_type.to_be_bytes());
    if dimensions == 0 {
        return Ok(());
    }
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&first.to_be_bytes());
    for element in elements {
        match element {
            Some(text) => push_with_length(out, |out| push_declared(element_type, text, out))?,
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
    Ok(())
}

/// The elements of an array of one dimension in text form; `None` if it is no such array. An element
/// is `None` if it is NULL.
/// <https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO>
pub fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some_and(|char| char.is_whitespace()) {
        chars.next();
    }
    if chars.peek().is_none() {
        return Some(elements);
    }
    loop {
        while chars.peek().is_some_and(|char| char.is_whitespace()) {
            chars.next();
        }
        let mut element = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => element.push(chars.next()?),
                    char => element.push(char),
                }
            }
            while chars.peek().is_some_and(|char| char.is_whitespace()) {
                chars.next();
            }
            elements.push(Some(element));
        } else {
            while let Some(char) = chars.peek().copied().filter(|char| *char != ',') {
                chars.next();
                match char {
                    '{' | '}' | '"' => return None,
                    '\\' => element.push(chars.next()?),
                    char => element.push(char),
                }
            }
            let element = element.trim_end();
            match element {
                "" => return None,
                null if null.eq_ignore_ascii_case("null") => elements.push(None),
                element => elements.push(Some(element.to_owned())),
            }
        }
        match chars.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}
