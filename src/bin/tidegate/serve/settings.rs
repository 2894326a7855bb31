//! The settings of a session that PostgreSQL has and Tidegate knows.
//!
//! Invariant: a setting has a value that Tidegate keeps to. A value that would promise something else,
//! such as another encoding, is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::arrow::array::timezone::Tz;

use super::fault::Fault;

/// The version of PostgreSQL whose protocol, texts and SQL Tidegate follows.
pub(super) const SERVER_VERSION: &str = "15.8";
const SERVER_VERSION_NUMBER: &str = "150008";

/// The values that a setting takes.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// It can't be changed.
    Fixed,
    Any,
    Boolean,
    /// A number from and to.
    Number(i64, i64),
    /// Milliseconds, or a number with a unit.
    Duration,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// Begins with one of these, in any case and without punctuation, and keeps its default value.
    Only(&'static [&'static str]),
    /// The planner's time zone.
    TimeZone,
    /// Schemas that tables are looked up in: the planner's default.
    SearchPath,
}

struct Known {
    name: &'static str,
    /// The name in lower case.
    lower: &'static str,
    default: &'static str,
    values: Values,
    /// Clients are told its value when a session starts, and each change.
    is_reported: bool,
}

const fn known(
    name: &'static str,
    lower: &'static str,
    default: &'static str,
    values: Values,
) -> Known {
    Known {
        name,
        lower,
        default,
        values,
        is_reported: false,
    }
}

const fn reported(
    name: &'static str,
    lower: &'static str,
    default: &'static str,
    values: Values,
) -> Known {
    Known {
        is_reported: true,
        ..known(name, lower, default, values)
    }
}

/// A setting whose name is in lower case.
const fn plain(name: &'static str, default: &'static str, values: Values) -> Known {
    known(name, name, default, values)
}

const ISOLATION: Values = Values::OneOf(&[
    "serializable",
    "repeatable read",
    "read committed",
    "read uncommitted",
]);

const MESSAGES: Values = Values::OneOf(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "info", "warning",
    "error",
]);

const KNOWN: &[Known] = &[
    reported("application_name", "application_name", "", Values::Any),
    plain("backslash_quote", "safe_encoding", Values::Any),
    plain("block_size", "8192", Values::Fixed),
    plain("bytea_output", "hex", Values::Only(&["hex"])),
    reported(
        "client_encoding",
        "client_encoding",
        "UTF8",
        Values::Only(&["utf8", "unicode", "auto"]),
    ),
    plain("client_min_messages", "notice", MESSAGES),
    reported("DateStyle", "datestyle", "ISO, MDY", Values::Only(&["iso"])),
    plain("default_table_access_method", "heap", Values::Any),
    plain("default_tablespace", "", Values::Any),
    plain("default_transaction_deferrable", "off", Values::Boolean),
    plain("default_transaction_isolation", "read committed", ISOLATION),
    reported(
        "default_transaction_read_only",
        "default_transaction_read_only",
        "off",
        Values::Boolean,
    ),
    plain("escape_string_warning", "on", Values::Boolean),
    plain("extra_float_digits", "1", Values::Number(1, 3)),
    plain("idle_in_transaction_session_timeout", "0", Values::Duration),
    plain("idle_session_timeout", "0", Values::Duration),
    reported("in_hot_standby", "in_hot_standby", "off", Values::Fixed),
    reported(
        "integer_datetimes",
        "integer_datetimes",
        "on",
        Values::Fixed,
    ),
    reported(
        "IntervalStyle",
        "intervalstyle",
        "postgres",
        Values::Only(&["postgres"]),
    ),
    reported("is_superuser", "is_superuser", "off", Values::Fixed),
    plain("jit", "off", Values::Boolean),
    plain("lc_collate", "C", Values::Fixed),
    plain("lc_ctype", "C", Values::Fixed),
    plain("lc_messages", "C", Values::Any),
    plain("lc_monetary", "C", Values::Any),
    plain("lc_numeric", "C", Values::Any),
    plain("lc_time", "C", Values::Any),
    plain("lock_timeout", "0", Values::Duration),
    plain("max_identifier_length", "63", Values::Fixed),
    plain("max_index_keys", "32", Values::Fixed),
    plain("row_security", "on", Values::Boolean),
    plain("search_path", "\"$user\", public", Values::SearchPath),
    reported("server_encoding", "server_encoding", "UTF8", Values::Fixed),
    reported(
        "server_version",
        "server_version",
        SERVER_VERSION,
        Values::Fixed,
    ),
    plain("server_version_num", SERVER_VERSION_NUMBER, Values::Fixed),
    reported(
        "session_authorization",
        "session_authorization",
        "",
        Values::Fixed,
    ),
    reported(
        "standard_conforming_strings",
        "standard_conforming_strings",
        "on",
        Values::Only(&["on", "true", "yes", "1"]),
    ),
    plain("statement_timeout", "0", Values::Duration),
    plain("synchronize_seqscans", "on", Values::Boolean),
    reported("TimeZone", "timezone", "UTC", Values::TimeZone),
    plain("transaction_deferrable", "off", Values::Boolean),
    plain("transaction_isolation", "read committed", ISOLATION),
    plain("transaction_read_only", "off", Values::Boolean),
    plain("xmloption", "content", Values::Any),
];

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.lower == name)
}

/// The values of a session's settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// Values that the session was started with.
    start: BTreeMap<String, String>,
    /// Values that differ from those, by the names in lower case.
    changed: BTreeMap<String, String>,
    /// The changed values before the transaction, if it may change them.
    before_block: Option<BTreeMap<String, String>>,
    /// Values until the transaction ends.
    local: BTreeMap<String, String>,
}

impl Settings {
    /// Sets a value that the session starts with.
    ///
    /// # Errors
    /// As for [`Self::set`].
    pub(super) fn start_with(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let lower = name.to_lowercase();
        let value = checked(&lower, value)?;
        self.start.insert(lower, value);
        Ok(())
    }

    /// Sets a value that can't be changed later.
    pub(super) fn fix(&mut self, name: &str, value: &str) {
        self.start.insert(name.to_owned(), value.to_owned());
    }

    /// Whether the name is one of the settings, or one that no program defines.
    pub(super) fn knows(&self, name: &str) -> bool {
        find(name).is_some() || (name.contains('.') && !is_of_planner(name))
    }

    /// Sets a value; `None` for the one that the session was started with.
    ///
    /// # Errors
    /// 42704 for an unknown name, 22023 for a value that the setting can't have, 55P02 for a setting
    /// that can't be changed.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
    ) -> Result<(), Fault> {
        match value {
            Some(value) => {
                let value = checked(name, value)?;
                let values = if local {
                    &mut self.local
                } else {
                    &mut self.changed
                };
                values.insert(name.to_owned(), value);
            }
            None => {
                if find(name).is_some_and(|known| matches!(known.values, Values::Fixed)) {
                    return Err(fixed(name));
                }
                self.changed.remove(name);
                self.local.remove(name);
            }
        }
        if !local {
            self.local.remove(name);
        }
        Ok(())
    }

    /// Sets all values to those that the session was started with.
    pub(super) fn reset_all(&mut self) {
        self.changed.clear();
        self.local.clear();
    }

    /// The value of a setting; `None` if there is no such setting.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let values = [&self.local, &self.changed, &self.start];
        let value = values.iter().find_map(|values| values.get(name)).cloned();
        value.or_else(|| find(name).map(|known| known.default.to_owned()))
    }

    /// The settings that clients are told when a session starts, and when they change.
    pub(super) fn reported(&self) -> BTreeMap<&'static str, String> {
        let reported = KNOWN.iter().filter(|known| known.is_reported);
        let values = reported.map(|known| (known.name, self.get(known.lower).unwrap_or_default()));
        values.collect()
    }

    /// The name of a setting as PostgreSQL writes it.
    pub(super) fn written_name(name: &str) -> &str {
        find(name).map_or(name, |known| known.name)
    }

    /// Whether statements with an effect are refused.
    pub(super) fn is_read_only(&self, in_block: bool) -> bool {
        let is_on = |name| self.get(name).as_deref() == Some("on");
        let is_overridden = in_block && self.local.contains_key("transaction_read_only");
        (in_block && is_on("transaction_read_only"))
            || (!is_overridden && is_on("default_transaction_read_only"))
    }

    /// All settings, by name.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let known = KNOWN.iter().map(|known| {
            let value = self.get(known.lower).unwrap_or_default();
            (known.name.to_owned(), value)
        });
        let others = self.changed.iter().filter(|(name, _)| find(name).is_none());
        let others = others.map(|(name, value)| (name.clone(), value.clone()));
        known.chain(others).collect()
    }

    /// Begins a transaction.
    pub(super) fn begin_block(&mut self) {
        self.before_block = Some(self.changed.clone());
    }

    /// Ends a transaction: local values end, and a rollback takes back the others.
    pub(super) fn end_block(&mut self, is_rolled_back: bool) {
        self.local.clear();
        let saved = self.before_block.take();
        if let (true, Some(saved)) = (is_rolled_back, saved) {
            self.changed = saved;
        }
    }

    /// A duration; `None` for none.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        let millis = parse_millis(&self.get(name)?)?;
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// Whether a name belongs to the planner's settings.
pub(super) fn is_of_planner(name: &str) -> bool {
    let prefix = name.split('.').next().unwrap_or_default();
    prefix == "datafusion" || prefix == "parquet"
}

/// The fault of a setting that does not exist.
pub(super) fn unknown(name: &str) -> Fault {
    let why = format!("unrecognized configuration parameter \"{name}\"");
    Fault::new("42704", why)
}

fn fixed(name: &str) -> Fault {
    Fault::new("55P02", format!("parameter \"{name}\" cannot be changed"))
}

/// The value as it is kept.
fn checked(name: &str, value: &str) -> Result<String, Fault> {
    let Some(known) = find(name) else {
        if name.contains('.') && !is_of_planner(name) {
            return Ok(value.to_owned());
        }
        return Err(unknown(name));
    };
    let invalid = || {
        let why = format!(
            "invalid value for parameter \"{}\": \"{value}\"",
            known.name
        );
        Fault::new("22023", why)
    };
    let lower = value.trim().to_lowercase();
    Ok(match known.values {
        Values::Fixed => return Err(fixed(known.name)),
        Values::Any => value.to_owned(),
        Values::Boolean => match lower.as_str() {
            "on" | "true" | "yes" | "1" | "t" | "y" => "on".to_owned(),
            "off" | "false" | "no" | "0" | "f" | "n" => "off".to_owned(),
            _ => return Err(invalid()),
        },
        Values::Number(least, most) => match lower.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => number.to_string(),
            _ => {
                let hint = format!("the values are {least} to {most}");
                return Err(invalid().with_hint(hint));
            }
        },
        Values::Duration => match parse_millis(&lower) {
            Some(_) => lower,
            None => return Err(invalid().with_hint("for example: 30000, '30s' or '5min'")),
        },
        Values::OneOf(values) => match values.contains(&lower.as_str()) {
            true => lower,
            false => {
                let hint = format!("the values are {}", values.join(", "));
                return Err(invalid().with_hint(hint));
            }
        },
        Values::Only(values) => {
            let letters = lower.chars().filter(char::is_ascii_alphanumeric);
            let letters: String = letters.collect();
            if !values.iter().any(|value| letters.starts_with(value)) {
                let hint = format!("Tidegate has only {}", known.default);
                return Err(invalid().with_hint(hint));
            }
            known.default.to_owned()
        }
        Values::TimeZone => match [value.to_owned(), value.to_uppercase()]
            .into_iter()
            .find(|zone| zone.parse::<Tz>().is_ok())
        {
            Some(zone) => zone,
            None => return Err(invalid()),
        },
        Values::SearchPath => {
            let known = [
                "\"$user\"",
                "$user",
                "public",
                "pg_catalog",
                "information_schema",
                "",
            ];
            let names = value.split(',').map(|name| name.trim().to_lowercase());
            if names.clone().any(|name| {
                !known.contains(&name.trim_matches('"')) && !known.contains(&name.as_str())
            }) {
                let hint = "Tidegate looks tables up in public alone; name the schema of others";
                return Err(invalid().with_hint(hint));
            }
            value.to_owned()
        }
    })
}

fn parse_millis(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        let mut settings = Settings::default();
        let cases = [
            ("client_encoding", "utf-8", Some("UTF8")),
            ("client_encoding", "LATIN1", None),
            ("datestyle", "ISO, DMY", Some("ISO, MDY")),
            ("datestyle", "German", None),
            ("extra_float_digits", "3", Some("3")),
            ("extra_float_digits", "0", None),
            ("statement_timeout", "5min", Some("5min")),
            ("statement_timeout", "soon", None),
            ("standard_conforming_strings", "off", None),
            ("server_version", "99", None),
            ("jit", "TRUE", Some("on")),
            ("my.own", "value", Some("value")),
            ("timezone", "No/Where", None),
            ("timezone", "utc", Some("UTC")),
            (
                "search_path",
                "\"$user\", public",
                Some("\"$user\", public"),
            ),
            ("search_path", "other", None),
            ("nonsense", "1", None),
        ];
        for (name, value, expected) in cases {
            let set = settings.set(name, Some(value), false);
            assert_eq!(set.is_ok(), expected.is_some(), "{name} = {value}");
            if let Some(expected) = expected {
                assert_eq!(settings.get(name).as_deref(), Some(expected), "{name}");
            }
        }
        assert_eq!(
            settings.duration("statement_timeout"),
            Some(Duration::from_secs(300))
        );
        assert_eq!(settings.duration("lock_timeout"), None);
        assert_eq!(settings.get("nonsense"), None);
    }

    #[test]
    fn a_rollback_takes_values_back() {
        let mut settings = Settings::default();
        settings.set("application_name", Some("a"), false).unwrap();
        settings.begin_block();
        settings.set("application_name", Some("b"), false).unwrap();
        assert_eq!(settings.reported()["application_name"], "b");
        settings.set("statement_timeout", Some("1s"), true).unwrap();
        settings.end_block(true);
        assert_eq!(settings.reported()["application_name"], "a");
        assert_eq!(settings.duration("statement_timeout"), None);
        settings.begin_block();
        settings.set("application_name", Some("c"), false).unwrap();
        settings.end_block(false);
        assert_eq!(settings.get("application_name").as_deref(), Some("c"));
        settings.reset_all();
        assert_eq!(settings.get("application_name").as_deref(), Some(""));
    }
}
