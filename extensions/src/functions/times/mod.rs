//! Times as in PostgreSQL.
//!
//! Invariant: a time with a zone is an instant; a zone changes only how it is shown.
//!
//! | module | contents |
//! |---|---|
//! | `age` | functions that make intervals |
//! | `input` | texts as times |
//! | `intervals` | operators of dates and intervals |
//! | `zone` | `AT TIME ZONE` |

mod age;
mod input;
mod intervals;
mod zone;

pub(super) use age::{ScalePlanner, interval_functions, make_timestamp};
pub(super) use input::parse_times;
pub(super) use intervals::time_operators;
pub(super) use zone::AtTimeZone;
