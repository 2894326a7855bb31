//! Statements about a session and its transactions, which a server answers itself.
//!
//! Invariant: a statement is recognised as PostgreSQL recognises it, or it is left to the planner.

use sqlparser::ast::Ident;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::script::ScriptStatement;
use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};

/// A statement about a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionCommand {
    /// `BEGIN` or `START TRANSACTION`
    Begin {
        /// The statement's words.
        words: &'static str,
        /// `READ ONLY` or `READ WRITE`.
        read_only: Option<bool>,
    },
    /// `COMMIT` or `END`.
    Commit {
        /// `AND CHAIN`: begin another transaction.
        chain: bool,
    },
    /// `ROLLBACK` or `ABORT`.
    Rollback {
        /// `AND CHAIN`: begin another transaction.
        chain: bool,
    },
    /// `SAVEPOINT name`
    Savepoint(String),
    /// `RELEASE name`
    Release(String),
    /// `ROLLBACK TO name`
    RollbackTo(String),
    /// `SET TRANSACTION …` or `SET SESSION CHARACTERISTICS AS TRANSACTION …`
    SetTransaction {
        /// `READ ONLY` or `READ WRITE`.
        read_only: Option<bool>,
        /// For all transactions to come, not for the one that is open.
        session: bool,
    },
    /// `SET name = value`
    Set {
        /// The setting, in lower case.
        name: String,
        /// The values as one text. `None` is `DEFAULT`.
        value: Option<String>,
        /// `SET LOCAL`: until the transaction ends.
        local: bool,
    },
    /// `RESET name`
    Reset(String),
    /// `RESET ALL`
    ResetAll,
    /// `SHOW name`
    Show(String),
    /// `SHOW ALL`
    ShowAll,
    /// `DISCARD what`
    Discard(&'static str),
    /// `DEALLOCATE name`; `None` for all statements.
    Deallocate(Option<String>),
    /// `DECLARE name CURSOR FOR query`
    Declare(Box<DeclareCursor>),
    /// `FETCH` or `MOVE`
    Fetch {
        /// The cursor.
        cursor: String,
        /// How many rows; `None` for all that are left.
        rows: Option<u64>,
        /// `MOVE`: the rows are not returned.
        skip: bool,
    },
    /// `CLOSE name`; `None` for all cursors.
    Close(Option<String>),
    /// `UNLISTEN`
    Unlisten,
}

/// `DECLARE name [BINARY] [NO SCROLL] CURSOR [WITH HOLD] FOR query`
#[derive(Debug, Clone, PartialEq)]
pub struct DeclareCursor {
    /// The cursor's name.
    pub name: String,
    /// Its rows have the binary form.
    pub binary: bool,
    /// It stays open when its transaction ends.
    pub hold: bool,
    /// The query.
    pub query: ScriptStatement,
}

/// What `SHOW` lists instead of a setting.
const LISTS: [&str; 12] = [
    "CATALOGS",
    "COLUMNS",
    "CONNECTION",
    "CONNECTIONS",
    "CREATE",
    "DATABASES",
    "FIELDS",
    "FILES",
    "FUNCTIONS",
    "SCHEMAS",
    "SECRETS",
    "TABLES",
];

/// The words of a transaction's modes.
const MODES: [&str; 9] = [
    "COMMITTED",
    "DEFERRABLE",
    "ISOLATION",
    "LEVEL",
    "NOT",
    "READ",
    "REPEATABLE",
    "SERIALIZABLE",
    "UNCOMMITTED",
];

const DISCARDED: [&str; 5] = ["ALL", "PLANS", "SEQUENCES", "TEMPORARY", "TEMP"];

impl ScriptStatement {
    /// The statement as a command about the session; `None` if it is another statement.
    ///
    /// # Errors
    /// [`ErrorKind::Syntax`], or [`ErrorKind::Unsupported`] for a command without a counterpart here.
    pub fn session_command(&self) -> Result<Option<SessionCommand>> {
        let mut cursor = Cursor::new(self.tokens.clone());
        let parsed = parse(&mut cursor, self).map_err(|error| error.at(self.location()))?;
        if let Some(SessionCommand::Declare(_)) | None = parsed {
            return Ok(parsed);
        }
        cursor.expect_end()?;
        Ok(parsed)
    }

    /// Whether the statement begins with these words, in any case.
    pub fn begins_with(&self, words: &[&str]) -> bool {
        Cursor::new(self.tokens.iter().take(words.len()).cloned().collect()).at_words(words)
    }
}

fn parse(cursor: &mut Cursor, statement: &ScriptStatement) -> Result<Option<SessionCommand>> {
    let unsupported = |why: &str| Err(Error::new(ErrorKind::Unsupported, why));
    Ok(Some(if cursor.accept_words(&["BEGIN"]) {
        accept_work(cursor);
        let read_only = parse_modes(cursor);
        let words = "BEGIN";
        SessionCommand::Begin { words, read_only }
    } else if cursor.accept_words(&["START", "TRANSACTION"]) {
        let read_only = parse_modes(cursor);
        let words = "START TRANSACTION";
        SessionCommand::Begin { words, read_only }
    } else if cursor.accept_words(&["COMMIT"]) || cursor.accept_words(&["END"]) {
        accept_work(cursor);
        let chain = parse_chain(cursor);
        SessionCommand::Commit { chain }
    } else if cursor.accept_words(&["ROLLBACK"]) || cursor.accept_words(&["ABORT"]) {
        accept_work(cursor);
        if cursor.accept_words(&["TO"]) {
            cursor.accept_words(&["SAVEPOINT"]);
            SessionCommand::RollbackTo(name(cursor, "the name of a savepoint")?)
        } else {
            let chain = parse_chain(cursor);
            SessionCommand::Rollback { chain }
        }
    } else if cursor.accept_words(&["SAVEPOINT"]) {
        SessionCommand::Savepoint(name(cursor, "the name of a savepoint")?)
    } else if cursor.accept_words(&["RELEASE"]) {
        cursor.accept_words(&["SAVEPOINT"]);
        SessionCommand::Release(name(cursor, "the name of a savepoint")?)
    } else if cursor.accept_words(&["SET"]) {
        return parse_set(cursor);
    } else if cursor.accept_words(&["RESET"]) {
        match cursor.accept_words(&["ALL"]) {
            true => SessionCommand::ResetAll,
            false => SessionCommand::Reset(setting(cursor)?),
        }
    } else if cursor.accept_words(&["SHOW"]) {
        if LISTS.iter().any(|list| cursor.at_words(&[list])) {
            return Ok(None);
        }
        match cursor.accept_words(&["ALL"]) {
            true => SessionCommand::ShowAll,
            false => SessionCommand::Show(setting(cursor)?),
        }
    } else if cursor.accept_words(&["DISCARD"]) {
        let what = DISCARDED.iter().find(|what| cursor.accept_words(&[what]));
        let Some(what) = what else {
            return Err(cursor.expected("ALL, PLANS, SEQUENCES or TEMPORARY"));
        };
        SessionCommand::Discard(what)
    } else if cursor.accept_words(&["DEALLOCATE"]) {
        cursor.accept_words(&["PREPARE"]);
        match cursor.accept_words(&["ALL"]) {
            true => SessionCommand::Deallocate(None),
            false => {
                let name = name(cursor, "the name of a prepared statement")?;
                SessionCommand::Deallocate(Some(name))
            }
        }
    } else if cursor.accept_words(&["DECLARE"]) {
        parse_declare(cursor, statement)?
    } else if cursor.accept_words(&["FETCH"]) {
        parse_fetch(cursor, false)?
    } else if cursor.accept_words(&["MOVE"]) {
        parse_fetch(cursor, true)?
    } else if cursor.accept_words(&["CLOSE"]) {
        match cursor.accept_words(&["ALL"]) {
            true => SessionCommand::Close(None),
            false => SessionCommand::Close(Some(name(cursor, "the name of a cursor")?)),
        }
    } else if cursor.accept_words(&["UNLISTEN"]) {
        cursor.skip(1);
        SessionCommand::Unlisten
    } else if cursor.at_words(&["LISTEN"]) || cursor.at_words(&["NOTIFY"]) {
        return unsupported("LISTEN and NOTIFY are not supported");
    } else if cursor.at_words(&["LOCK"]) {
        return unsupported("LOCK is not supported");
    } else {
        return Ok(None);
    }))
}

fn name(cursor: &mut Cursor, what: &str) -> Result<String> {
    cursor.identifier(what).map(|name| fold(&name))
}

fn accept_work(cursor: &mut Cursor) {
    if !cursor.accept_words(&["WORK"]) {
        cursor.accept_words(&["TRANSACTION"]);
    }
}

/// Parses the modes of a transaction. Isolation levels have no effect: each statement sees the files
/// that are there when it starts.
fn parse_modes(cursor: &mut Cursor) -> Option<bool> {
    let mut read_only = None;
    loop {
        if cursor.accept_words(&["READ", "ONLY"]) {
            read_only = Some(true);
        } else if cursor.accept_words(&["READ", "WRITE"]) {
            read_only = Some(false);
        } else if !MODES.iter().any(|word| cursor.accept_words(&[word]))
            && !cursor.accept(&Token::Comma)
        {
            return read_only;
        }
    }
}

fn parse_chain(cursor: &mut Cursor) -> bool {
    if cursor.accept_words(&["AND", "NO", "CHAIN"]) {
        return false;
    }
    cursor.accept_words(&["AND", "CHAIN"])
}

fn parse_set(cursor: &mut Cursor) -> Result<Option<SessionCommand>> {
    let session = cursor.accept_words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]);
    if session || cursor.accept_words(&["TRANSACTION"]) {
        let read_only = parse_modes(cursor);
        return Ok(Some(SessionCommand::SetTransaction { read_only, session }));
    }
    let local = cursor.accept_words(&["LOCAL"]);
    if !local {
        cursor.accept_words(&["SESSION"]);
    }
    if cursor.at_words(&["ROLE"]) || cursor.at_words(&["AUTHORIZATION"]) {
        let why = "the user of a session can't be changed";
        return Err(Error::new(ErrorKind::Unsupported, why).with_hint("connect as the other user"));
    }
    let name = setting(cursor)?;
    let is_time_zone = name == "timezone";
    let assigns = cursor.accept(&Token::Eq) || cursor.accept_words(&["TO"]);
    if !assigns && !is_time_zone {
        return Err(cursor.expected("= or TO"));
    }
    let value = match cursor.accept_words(&["DEFAULT"]) {
        true => None,
        false => Some(values(cursor)?),
    };
    Ok(Some(SessionCommand::Set { name, value, local }))
}

/// The name of a setting, in lower case.
fn setting(cursor: &mut Cursor) -> Result<String> {
    if cursor.accept_words(&["TIME", "ZONE"]) {
        return Ok("timezone".to_owned());
    }
    if cursor.accept_words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        return Ok("transaction_isolation".to_owned());
    }
    if cursor.accept_words(&["SESSION", "AUTHORIZATION"]) {
        return Ok("session_authorization".to_owned());
    }
    let what = "the name of a setting";
    let mut name = cursor.identifier(what)?.value;
    while cursor.accept(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier(what)?.value);
    }
    Ok(name.to_lowercase())
}

/// The values of a setting, as one text.
fn values(cursor: &mut Cursor) -> Result<String> {
    let mut values = Vec::new();
    loop {
        let sign = if cursor.accept(&Token::Minus) {
            "-"
        } else {
            ""
        };
        let value = match cursor.peek() {
            Some(Token::Word(word)) => word.value.clone(),
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => {
                text.clone()
            }
            Some(Token::Number(number, _)) => number.clone(),
            _ => return Err(cursor.expected("a value")),
        };
        cursor.skip(1);
        values.push(format!("{sign}{value}"));
        if !cursor.accept(&Token::Comma) {
            return Ok(values.join(", "));
        }
    }
}

fn parse_declare(cursor: &mut Cursor, statement: &ScriptStatement) -> Result<SessionCommand> {
    let name = name(cursor, "the name of a cursor")?;
    let mut binary = false;
    while !cursor.accept_words(&["CURSOR"]) {
        if cursor.accept_words(&["BINARY"]) {
            binary = true;
        } else if !(cursor.accept_words(&["ASENSITIVE"])
            || cursor.accept_words(&["INSENSITIVE"])
            || cursor.accept_words(&["NO", "SCROLL"]))
        {
            if cursor.at_words(&["SCROLL"]) {
                let why = "cursors go only forward";
                return Err(Error::new(ErrorKind::Unsupported, why).with_hint("leave SCROLL out"));
            }
            return Err(cursor.expected("CURSOR"));
        }
    }
    let hold = cursor.accept_words(&["WITH", "HOLD"]);
    if !hold {
        cursor.accept_words(&["WITHOUT", "HOLD"]);
    }
    cursor.expect_words(&["FOR"])?;
    if cursor.at_end() {
        return Err(cursor.expected("a query"));
    }
    let query = statement.with_tokens(statement.tokens[cursor.position()..].to_vec());
    Ok(SessionCommand::Declare(Box::new(DeclareCursor {
        name,
        binary,
        hold,
        query,
    })))
}

fn parse_fetch(cursor: &mut Cursor, skip: bool) -> Result<SessionCommand> {
    let backwards = ["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"];
    if backwards.iter().any(|word| cursor.at_words(&[word])) {
        let why = "cursors go only forward";
        return Err(Error::new(ErrorKind::Unsupported, why)
            .with_hint("FETCH NEXT, FETCH n and FETCH ALL are possible"));
    }
    let rows = if cursor.accept_words(&["NEXT"]) {
        Some(1)
    } else {
        cursor.accept_words(&["FORWARD"]);
        if cursor.accept_words(&["ALL"]) {
            None
        } else if let Some(Token::Number(number, _)) = cursor.peek() {
            let rows = number.parse::<u64>();
            let rows = rows.map_err(|_| cursor.expected("a number of rows"))?;
            cursor.skip(1);
            Some(rows)
        } else {
            Some(1)
        }
    };
    if !cursor.accept_words(&["FROM"]) {
        cursor.accept_words(&["IN"]);
    }
    let cursor: Ident = cursor.identifier("the name of a cursor")?;
    Ok(SessionCommand::Fetch {
        cursor: fold(&cursor),
        rows,
        skip,
    })
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::GenericDialect;

    use super::*;
    use crate::sql::split_script;

    fn command(sql: &str) -> Result<Option<SessionCommand>> {
        let mut script = split_script(sql, &GenericDialect {});
        script.statements.remove(0).session_command()
    }

    fn begin(words: &'static str, read_only: Option<bool>) -> SessionCommand {
        SessionCommand::Begin { words, read_only }
    }

    fn set(name: &str, value: Option<&str>) -> SessionCommand {
        SessionCommand::Set {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            local: false,
        }
    }

    #[test]
    fn commands_are_recognised() {
        let cases = [
            ("begin", begin("BEGIN", None)),
            (
                "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
                begin("BEGIN", Some(true)),
            ),
            (
                "start transaction read write",
                begin("START TRANSACTION", Some(false)),
            ),
            ("end work", SessionCommand::Commit { chain: false }),
            ("commit and chain", SessionCommand::Commit { chain: true }),
            ("abort", SessionCommand::Rollback { chain: false }),
            (
                "ROLLBACK TO SAVEPOINT \"A\"",
                SessionCommand::RollbackTo("A".to_owned()),
            ),
            ("release s", SessionCommand::Release("s".to_owned())),
            ("set x = 1", set("x", Some("1"))),
            (
                "SET SESSION a.B TO 'v', -2, w",
                set("a.b", Some("v, -2, w")),
            ),
            ("set time zone 'UTC'", set("timezone", Some("UTC"))),
            ("set datestyle to default", set("datestyle", None)),
            (
                "set session characteristics as transaction read only",
                SessionCommand::SetTransaction {
                    read_only: Some(true),
                    session: true,
                },
            ),
            ("reset all", SessionCommand::ResetAll),
            (
                "show Time Zone",
                SessionCommand::Show("timezone".to_owned()),
            ),
            (
                "SHOW TRANSACTION ISOLATION LEVEL",
                SessionCommand::Show("transaction_isolation".to_owned()),
            ),
            ("discard all", SessionCommand::Discard("ALL")),
            ("deallocate all", SessionCommand::Deallocate(None)),
            (
                "fetch forward 100 from \"c\"",
                SessionCommand::Fetch {
                    cursor: "c".to_owned(),
                    rows: Some(100),
                    skip: false,
                },
            ),
            (
                "move all in c",
                SessionCommand::Fetch {
                    cursor: "c".to_owned(),
                    rows: None,
                    skip: true,
                },
            ),
            (
                "fetch c",
                SessionCommand::Fetch {
                    cursor: "c".to_owned(),
                    rows: Some(1),
                    skip: false,
                },
            ),
            ("close all", SessionCommand::Close(None)),
            ("unlisten *", SessionCommand::Unlisten),
        ];
        for (sql, expected) in cases {
            assert_eq!(command(sql).unwrap(), Some(expected), "{sql}");
        }
    }

    #[test]
    fn a_cursor_has_a_query() {
        let sql = "DECLARE \"c\" BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1";
        let Some(SessionCommand::Declare(declared)) = command(sql).unwrap() else {
            panic!("{sql}");
        };
        assert!(declared.binary && declared.hold);
        assert_eq!(declared.query.tokens.len(), 2);
        assert!(command("declare c cursor for").is_err());
    }

    #[test]
    fn other_statements_are_left_to_the_planner() {
        for sql in [
            "select 1",
            "show tables",
            "show create table t",
            "SHOW SECRETS",
        ] {
            assert_eq!(command(sql).unwrap(), None, "{sql}");
        }
        for sql in [
            "set x 1",
            "commit x",
            "fetch prior from c",
            "declare c scroll cursor for select 1",
            "listen x",
            "set role r",
        ] {
            assert!(command(sql).is_err(), "{sql}");
        }
    }
}
