//! `\if`, `\elif`, `\else` and `\endif`.
//!
//! Invariant: of the branches of a condition, the first one whose value is true runs, and no other.
//! Nothing in a branch that does not run has an effect, and its conditions are not evaluated.
//!
//! The rules are psql's: <https://www.postgresql.org/docs/current/app-psql.html#PSQL-METACOMMAND-IF>

use tidegate::{Error, ErrorKind, Result};

/// The conditions that are open in a script, from the outermost to the innermost.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions(Vec<Condition>);

#[derive(Debug, Clone, Copy)]
struct Condition {
    /// The current branch runs, if the condition itself does.
    is_true: bool,
    /// A branch has run already.
    was_true: bool,
    /// `\else` was seen.
    is_last: bool,
}

/// Whether the command opens, changes or closes a condition.
pub(super) fn is_condition(name: &str) -> bool {
    matches!(name, "if" | "elif" | "else" | "endif")
}

fn refuse(why: &str) -> Error {
    Error::new(ErrorKind::Syntax, why)
}

/// Reads a condition as psql does.
fn parse(name: &str, written: Option<&str>) -> Result<bool> {
    let value = written.unwrap_or_default().to_ascii_lowercase();
    match value.as_str() {
        "true" | "on" | "yes" | "1" | "t" | "y" => Ok(true),
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(false),
        _ => Err(refuse(&format!(
            "\\{name} takes true or false, not '{value}'"
        ))),
    }
}

impl Conditions {
    /// Whether statements and commands run.
    pub(super) fn are_true(&self) -> bool {
        self.0.iter().all(|condition| condition.is_true)
    }

    /// Whether all conditions are closed.
    pub(super) fn are_closed(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a command and its argument.
    ///
    /// # Errors
    /// The command does not belong here, or its argument is neither true nor false.
    pub(super) fn apply(&mut self, name: &str, argument: Option<&str>) -> Result<()> {
        let runs = self.are_true();
        if name == "if" {
            // A branch that does not run evaluates no conditions.
            let parsed = match runs {
                true => parse(name, argument),
                false => Ok(false),
            };
            // An invalid value counts as false.
            let is_true = matches!(parsed, Ok(true));
            self.0.push(Condition {
                is_true,
                was_true: is_true || !runs,
                is_last: false,
            });
            return parsed.map(drop);
        }
        let outer = self.0.split_last().map(|(_, outer)| outer.to_vec());
        let Some(condition) = self.0.last_mut() else {
            return Err(refuse(&format!("there is no \\if before \\{name}")));
        };
        let outer_runs = outer.is_some_and(|outer| Self(outer).are_true());
        match name {
            "endif" => {
                self.0.pop();
            }
            _ if condition.is_last => return Err(refuse(&format!("\\{name} follows \\else"))),
            "else" => {
                condition.is_true = outer_runs && !condition.was_true;
                condition.is_last = true;
            }
            _ => {
                let may_run = outer_runs && !condition.was_true;
                condition.is_true = false;
                condition.is_true = may_run && parse(name, argument)?;
                condition.was_true |= condition.is_true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_true_branch_runs() {
        let mut conditions = Conditions::default();
        let mut ran = Vec::new();
        for (name, argument) in [
            ("if", Some("false")),
            ("if", Some("nonsense")),
            ("elif", Some("nonsense")),
            ("else", None),
            ("endif", None),
            ("elif", Some("yes")),
            ("if", Some("0")),
            ("else", None),
            ("endif", None),
            ("elif", Some("nonsense")),
            ("else", None),
            ("endif", None),
        ] {
            conditions.apply(name, argument).unwrap();
            ran.push(conditions.are_true());
        }
        let expected = [
            false, false, false, false, false, true, false, true, true, false, false, true,
        ];
        assert_eq!(ran, expected);
        assert!(conditions.are_closed());
        assert!(conditions.apply("endif", None).is_err());
        assert!(conditions.apply("if", Some("maybe")).is_err());
        assert!(!conditions.are_true());
        conditions.apply("else", None).unwrap();
        assert!(conditions.are_true());
    }
}
