//! The names of functions that rewritten expressions call.
//!
//! Invariant: PostgreSQL has no function of such a name with other arguments.

/// The pattern of `SIMILAR TO` and its escape character, as a regular expression.
pub(crate) const SIMILAR_TO: &str = "similar_to_escape";
/// The pattern of `LIKE` and its escape character, as a pattern with the escape character `\`.
pub(crate) const LIKE: &str = "like_escape";
/// A cast to `JSON`.
pub(crate) const JSON: &str = "json_in";
/// A cast to `JSONB`.
pub(crate) const JSONB: &str = "jsonb_in";
/// `->`
pub(crate) const JSON_GET: &str = "json_get";
/// `->>`
pub(crate) const JSON_GET_TEXT: &str = "json_get_text";
/// `#>`
pub(crate) const JSON_GET_PATH: &str = "json_get_path";
/// `#>>`
pub(crate) const JSON_GET_PATH_TEXT: &str = "json_get_path_text";
/// A cast to `UUID`.
pub(crate) const UUID: &str = "uuid_in";
/// `to_date` and `to_timestamp` with a template of PostgreSQL: a timestamp without a zone.
pub(crate) const READ_TIME: &str = "read_time";
