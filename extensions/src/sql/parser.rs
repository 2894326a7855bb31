//! Recognises Tidegate's statements and hands everything else to DataFusion's parser.
//!
//! Invariant: sqlparser and DataFusion log the text that they parse. They get the value of a secret
//! only after its literals were replaced by `$1, $2, …`, and they never get a connection's options.

use datafusion::sql::parser::DFParserBuilder;
use sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, TableFactor, TableWithJoins};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::ast::{
    CopyFrom, CopyOut, CopySource, CopyTo, Explain, RecoverExport, Relation, ShowFiles, SqlOption,
    Statement, name_list,
};
use super::catalog::{CatalogStatement, at_catalog_statement, parse_catalog_statement};
use super::cursor::{Cursor, has_stored_as};
use super::dialect::SqlDialect;
use super::options::{
    COPY_FROM_OPTIONS, COPY_OPTIONS, Known, RECOVER_OPTIONS, SHOW_FILES_OPTIONS, parse_options,
};
use super::script::ScriptStatement;
use crate::error::{Error, ErrorKind, Result};

/// Parses one statement of a script.
///
/// # Errors
/// [`ErrorKind::Syntax`] with the place in the script, or [`ErrorKind::InvalidParameter`] for an
/// option that is unknown or given twice.
pub fn parse_statement(statement: ScriptStatement, sql: &SqlDialect) -> Result<Statement> {
    let start = statement.location();
    parse_tokens(Cursor::new(statement.tokens), sql).map_err(|error| error.at(start))
}

fn parse_tokens(mut cursor: Cursor, sql: &SqlDialect) -> Result<Statement> {
    let statement = if at_catalog_statement(&cursor, 0) {
        match parse_catalog_statement(&mut cursor, sql)? {
            CatalogStatement::Secret(statement) => Statement::Secret(Box::new(statement)),
            CatalogStatement::Connection(statement) => Statement::Connection(Box::new(statement)),
        }
    } else if cursor.accept_words(&["RECOVER", "EXPORT"]) {
        parse_recover(&mut cursor, sql)?
    } else if cursor.accept_words(&["SHOW", "FILES"]) {
        parse_show_files(&mut cursor, sql)?
    } else if cursor.accept_words(&["SUMMARIZE"]) {
        parse_summarize(&mut cursor, sql)?
    } else if at_explain_of_ours(&cursor) {
        return parse_explain(cursor, sql);
    } else if cursor.at_words(&["COPY"]) && !cursor.at_words(&["COPY", "INTO"]) {
        let tokens = cursor.into_tokens();
        if has_stored_as(&tokens) {
            return parse_datafusion(Cursor::new(tokens), sql);
        }
        cursor = Cursor::new(tokens);
        parse_copy(&mut cursor, sql)?
    } else {
        return parse_datafusion(cursor, sql);
    };
    cursor.expect_end()?;
    Ok(statement)
}

fn parse_datafusion(cursor: Cursor, sql: &SqlDialect) -> Result<Statement> {
    let dialect = sql.dialect();
    let mut parser = DFParserBuilder::new(cursor.into_tokens())
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(sql.recursion_limit())
        .build()?;
    let mut statements = parser.parse_statements()?;
    match statements.pop_front() {
        Some(statement) if statements.is_empty() => Ok(Statement::DataFusion(Box::new(statement))),
        _ => Err(Error::new(ErrorKind::Syntax, "expected one statement")),
    }
}

fn parse_copy(cursor: &mut Cursor, sql: &SqlDialect) -> Result<Statement> {
    let dialect = sql.dialect();
    let dialect = dialect.as_ref();
    cursor.expect_words(&["COPY"])?;
    let source = if cursor.accept(&Token::LParen) {
        let query = cursor.parse_with(dialect, sql.recursion_limit(), |parser| {
            parser.parse_query()
        })?;
        cursor.expect(&Token::RParen)?;
        CopySource::Query(query)
    } else {
        let name = cursor.parse_with(dialect, sql.recursion_limit(), |parser| {
            parser.parse_object_name(false)
        })?;
        CopySource::Relation(name, parse_column_list(cursor)?)
    };
    if cursor.accept_words(&["FROM"]) {
        let location = cursor.location();
        let CopySource::Relation(table, columns) = source else {
            let why = "COPY … FROM needs the name of a table";
            return Err(Error::new(ErrorKind::Syntax, why).at(location));
        };
        if cursor.at_words(&["STDIN"]) {
            let why = "COPY … FROM STDIN is not supported";
            return Err(Error::new(ErrorKind::Unsupported, why)
                .with_hint("name a file: COPY t FROM 'data.csv'")
                .at(location));
        }
        let path =
            cursor.parse_with(dialect, sql.recursion_limit(), |parser| parser.parse_expr())?;
        let options = parse_with_options(cursor, COPY_FROM_OPTIONS, "COPY … FROM")?;
        return Ok(Statement::CopyFrom(Box::new(CopyFrom {
            table,
            columns,
            path,
            path_location: location,
            options,
        })));
    }
    cursor.expect_words(&["TO"])?;
    if cursor.accept_words(&["STDOUT"]) {
        let options = parse_with_options(cursor, COPY_OPTIONS, "COPY")?;
        return Ok(Statement::CopyOut(Box::new(CopyOut { source, options })));
    }
    let target_location = cursor.location();
    let target = cursor.parse_with(dialect, sql.recursion_limit(), |parser| parser.parse_expr())?;
    let options = parse_with_options(cursor, COPY_OPTIONS, "COPY")?;
    Ok(Statement::CopyTo(Box::new(CopyTo {
        source,
        target,
        target_location,
        options,
    })))
}

fn parse_recover(cursor: &mut Cursor, sql: &SqlDialect) -> Result<Statement> {
    let dialect = sql.dialect();
    let target_location = cursor.location();
    let target = cursor.parse_with(dialect.as_ref(), sql.recursion_limit(), |parser| {
        parser.parse_expr()
    })?;
    let options = parse_with_options(cursor, RECOVER_OPTIONS, "RECOVER EXPORT")?;
    Ok(Statement::RecoverExport(Box::new(RecoverExport {
        target,
        target_location,
        options,
    })))
}

fn parse_show_files(cursor: &mut Cursor, sql: &SqlDialect) -> Result<Statement> {
    if !cursor.accept_words(&["IN"]) {
        cursor.expect_words(&["FROM"])?;
    }
    let dialect = sql.dialect();
    let path_location = cursor.location();
    let path = cursor.parse_with(dialect.as_ref(), sql.recursion_limit(), |parser| {
        parser.parse_expr()
    })?;
    let options = parse_with_options(cursor, SHOW_FILES_OPTIONS, "SHOW FILES")?;
    Ok(Statement::ShowFiles(Box::new(ShowFiles {
        path,
        path_location,
        options,
    })))
}

fn parse_summarize(cursor: &mut Cursor, sql: &SqlDialect) -> Result<Statement> {
    let dialect = sql.dialect();
    let dialect = dialect.as_ref();
    let is_query = cursor.peek() == Some(&Token::LParen)
        || ["SELECT", "WITH", "VALUES", "TABLE"]
            .iter()
            .any(|word| cursor.at_words(&[word]));
    let source = match is_query {
        true => CopySource::Query(cursor.parse_with(dialect, sql.recursion_limit(), |parser| {
            parser.parse_query()
        })?),
        false => {
            let name = cursor.parse_with(dialect, sql.recursion_limit(), |parser| {
                parser.parse_object_name(false)
            })?;
            CopySource::Relation(name, Vec::new())
        }
    };
    Ok(Statement::Summarize(Box::new(source)))
}

/// `[WITH] (…)`, or nothing.
fn parse_with_options(
    cursor: &mut Cursor,
    known: &[Known],
    statement: &str,
) -> Result<Vec<SqlOption>> {
    if cursor.accept_words(&["WITH"]) || cursor.peek() == Some(&Token::LParen) {
        return parse_options(cursor, known, statement);
    }
    Ok(Vec::new())
}

fn parse_column_list(cursor: &mut Cursor) -> Result<Vec<Ident>> {
    if cursor.peek() == Some(&Token::LParen) {
        return cursor.name_list("the name of a column");
    }
    Ok(Vec::new())
}

/// The number of tokens of `EXPLAIN` and its options, which begin at the cursor.
fn explain_prefix(cursor: &Cursor) -> usize {
    let mut count = 1;
    loop {
        match cursor.peek_nth(count) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                match word.value.to_ascii_uppercase().as_str() {
                    "ANALYZE" | "VERBOSE" => count += 1,
                    "FORMAT" => count += 2,
                    _ => return count,
                }
            }
            _ => return count,
        }
    }
}

fn at_explain_of_ours(cursor: &Cursor) -> bool {
    if !cursor.at_words(&["EXPLAIN"]) {
        return false;
    }
    let first = explain_prefix(cursor);
    at_catalog_statement(cursor, first)
        || cursor.at_words_from(first, &["RECOVER", "EXPORT"])
        || cursor.at_words_from(first, &["SUMMARIZE"])
        || cursor.at_words_from(first, &["SHOW", "FILES"])
        || (cursor.at_words_from(first, &["COPY"])
            && !cursor.at_words_from(first, &["COPY", "INTO"]))
}

fn parse_explain(mut cursor: Cursor, sql: &SqlDialect) -> Result<Statement> {
    let prefix = explain_prefix(&cursor);
    let (mut analyze, mut verbose, mut format) = (false, false, None);
    cursor.skip(1);
    while cursor.position() < prefix {
        if cursor.accept_words(&["ANALYZE"]) {
            analyze = true;
        } else if cursor.accept_words(&["VERBOSE"]) {
            verbose = true;
        } else {
            cursor.expect_words(&["FORMAT"])?;
            format = Some(cursor.identifier("a format")?.value);
        }
    }
    let is_copy = cursor.at_words(&["COPY"]);
    let mut tokens = cursor.into_tokens();
    if is_copy && has_stored_as(&tokens) {
        return parse_datafusion(Cursor::new(tokens), sql);
    }
    let explained = tokens.split_off(prefix);
    Ok(Statement::Explain(Explain {
        analyze,
        verbose,
        format,
        statement: Box::new(parse_tokens(Cursor::new(explained), sql)?),
    }))
}

/// The `INSERT` that a `COPY … FROM` stands for. `selected` are the columns of the files to read.
pub(crate) fn copy_to_insert(
    copy: &CopyFrom,
    function: &str,
    arguments: &[String],
    selected: Option<&[Ident]>,
    sql: &SqlDialect,
) -> Result<Statement> {
    let columns = match copy.columns.as_slice() {
        [] => String::new(),
        columns => format!(" ({})", name_list(columns)),
    };
    let selected = selected.map_or_else(|| "*".to_owned(), name_list);
    let text = format!(
        "INSERT INTO {}{columns} SELECT {selected} FROM {function}({})",
        Relation(&copy.table),
        arguments.join(", ")
    );
    parse_own(&text, sql)
}

/// Parses a statement that one of Tidegate's statements stands for.
///
/// # Errors
/// [`ErrorKind::Internal`] if there is none.
pub(crate) fn parse_own(text: &str, sql: &SqlDialect) -> Result<Statement> {
    let dialect = sql.dialect();
    let script = super::script::split_script(text, dialect.as_ref());
    match script.statements.into_iter().next() {
        Some(statement) => parse_datafusion(Cursor::new(statement.tokens), sql),
        None => Err(Error::new(ErrorKind::Internal, "a statement is empty")),
    }
}

/// The query that reads a source's rows.
pub(crate) fn source_to_query(source: CopySource, sql: &SqlDialect) -> Result<Box<Query>> {
    let (name, columns) = match source {
        CopySource::Query(query) => return Ok(query),
        CopySource::Relation(name, columns) => (name, columns),
    };
    let selected = match columns.as_slice() {
        [] => "*".to_owned(),
        named => name_list(named),
    };
    let text = format!("SELECT {selected} FROM relation");
    let mut query = Parser::new(sql.dialect().as_ref())
        .with_recursion_limit(sql.recursion_limit())
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_query())?;
    // Put the original names back: they have their location in the user's text.
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(TableWithJoins {
            relation: TableFactor::Table { name: parsed, .. },
            ..
        }) = select.from.first_mut()
    {
        *parsed = name;
        for (item, column) in select.projection.iter_mut().zip(columns) {
            *item = SelectItem::UnnamedExpr(Expr::Identifier(column));
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::super::script::split_script;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Statement> {
        let sql = SqlDialect::new("generic".to_owned(), 50).unwrap();
        let mut script = split_script(text, sql.dialect().as_ref());
        assert!(script.error.is_none(), "{text}");
        assert_eq!(script.statements.len(), 1, "{text}");
        parse_statement(script.statements.remove(0), &sql)
    }

    /// Plain names and quoted names, some of which contain quotes.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9_]{0,8}",
            "[a-zA-Z \"';$é]{1,8}".prop_map(|name| format!("\"{}\"", name.replace('"', "\"\""))),
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        "[ -~é]{0,12}".prop_map(|text| format!("'{}'", text.replace('\'', "''")))
    }

    fn spaced(word: &'static str) -> impl Strategy<Value = String> {
        (any::<bool>(), any::<bool>()).prop_map(move |(underscores, lower)| {
            let word = match underscores {
                true => word.replace(' ', "_"),
                false => word.to_owned(),
            };
            if lower { word.to_lowercase() } else { word }
        })
    }

    fn copy() -> impl Strategy<Value = String> {
        let source = prop_oneof![
            name(),
            (name(), name(), name()).prop_map(|(t, a, b)| format!("{t} ({a}, {b})")),
            ("[a-z]{1,8}", text())
                .prop_map(|(t, x)| format!("(SELECT a, {x} FROM {t} ORDER BY 1)")),
        ];
        let target = prop_oneof![
            text(),
            (text(), text()).prop_map(|(a, b)| format!("{a} || lower({b})")),
        ];
        let format = prop_oneof![Just("parquet".to_owned()), Just("'csv'".to_owned()), text()];
        let equals = prop_oneof![Just(" "), Just("="), Just(" = ")];
        (
            source,
            target,
            (spaced("AWS CONNECTION"), name()),
            (spaced("FORMAT"), format),
            (spaced("MAX FILE SIZE"), 0u64..1 << 40),
            equals,
        )
            .prop_map(
                |(source, target, (c, connection), (f, format), (m, size), equals)| {
                    format!(
                        "COPY {source} TO {target} WITH \
                     ({c}{equals}{connection}, {f}{equals}{format}, {m}{equals}{size})"
                    )
                },
            )
    }

    fn connection() -> impl Strategy<Value = String> {
        (name(), text(), name(), text(), any::<bool>()).prop_map(
            |(c, id, secret, region, if_not)| {
                let if_not = if if_not { "IF NOT EXISTS " } else { "" };
                format!(
                    "CREATE CONNECTION {if_not}{c} TO AWS (ACCESS_KEY_ID {id}, \
                 SECRET ACCESS KEY = SECRET {secret}, region {region})"
                )
            },
        )
    }

    #[test]
    fn quotes_in_a_row_stay_as_many() {
        let written = "COPY (SELECT '''''''') TO 'a''''b' WITH (FORMAT = csv)";
        assert_eq!(parse(written).unwrap().to_string(), written);
    }

    proptest! {
        #[test]
        fn a_statement_prints_as_sql_that_parses_the_same(
            written in prop_oneof![copy(), connection()],
            explained in any::<bool>(),
        ) {
            let written = if explained { format!("EXPLAIN VERBOSE {written}") } else { written };
            let first = parse(&written).unwrap();
            let printed = first.to_string();
            let second = parse(&printed).unwrap();
            // Locations may differ, so only the printed texts are compared.
            prop_assert_eq!(second.to_string(), printed);
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_repeat_a_secret(rest in "[ -~]{0,40}") {
            for start in ["CREATE SECRET s AS 'hunter2' ", "CREATE CONNECTION c TO AWS (SESSION TOKEN 'hunter2' "] {
                let sql = SqlDialect::new("generic".to_owned(), 50).unwrap();
                let script = split_script(&format!("{start}{rest}"), sql.dialect().as_ref());
                for statement in script.statements {
                    let parsed = parse_statement(statement, &sql);
                    let shown = format!("{parsed:?}");
                    prop_assert!(!shown.contains("hunter2"), "it is repeated");
                }
                let shown = format!("{:?}", script.error);
                prop_assert!(!shown.contains("hunter2"), "it is repeated");
            }
        }
    }
}
