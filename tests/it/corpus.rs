//! The statements in `tests/same_sql` have the value that PostgreSQL 15 gives, or fail.
//!
//! Invariant: no statement has another value than PostgreSQL's, unless its line ends with
//! `-- differs: ` and the reason, which `docs/sql.md` explains. A line is an expression or a query.
//! `⟨a¦b⟩` in a line stands for two statements, one with `a` and one with `b`. `TIDEGATE_SQL_SEED=7`
//! (or `0..100`) replays or widens the random expressions; a failure prints its seed.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate::{Engine, Session};

use crate::servers::postgres;
use crate::texts::{seeds, written};

const FILES: [(&str, &str); 8] = [
    ("aggregates", include_str!("../same_sql/aggregates.sql")),
    ("arrays", include_str!("../same_sql/arrays.sql")),
    ("casts", include_str!("../same_sql/casts.sql")),
    ("logic", include_str!("../same_sql/logic.sql")),
    ("numbers", include_str!("../same_sql/numbers.sql")),
    ("queries", include_str!("../same_sql/queries.sql")),
    ("texts", include_str!("../same_sql/texts.sql")),
    ("times", include_str!("../same_sql/times.sql")),
];

/// A statement, as Tidegate and as PostgreSQL read it.
pub(crate) struct Statement {
    pub(crate) ours: String,
    pub(crate) theirs: String,
    /// The values are known to differ.
    differs: bool,
}

impl Statement {
    pub(crate) fn new(ours: String, theirs: String) -> Self {
        Self {
            ours,
            theirs,
            differs: false,
        }
    }

    fn same(sql: String) -> Self {
        Self::new(sql.clone(), sql)
    }
}

fn statements(file: &str) -> Vec<Statement> {
    let lines = file.lines().filter(|line| !line.starts_with("--"));
    let of_line = |line: &str| {
        let (text, differs) = match line.split_once(" -- differs: ") {
            Some((text, _)) => (text, true),
            None => (line, false),
        };
        let expanded = expand(text).into_iter().map(|text| {
            let first = text.split(' ').next().unwrap();
            let sql = match ["select", "with", "values", "table"].contains(&first) {
                true => text,
                false => format!("select {text}"),
            };
            Statement {
                differs,
                ..Statement::same(sql)
            }
        });
        expanded.collect::<Vec<_>>()
    };
    lines.flat_map(of_line).collect()
}

/// The texts that a line with alternatives stands for.
fn expand(line: &str) -> Vec<String> {
    let Some((before, rest)) = line.split_once('⟨') else {
        return vec![line.to_owned()];
    };
    let (alternatives, after) = rest.split_once('⟩').unwrap();
    let after = expand(after);
    let texts = alternatives.split('¦').flat_map(|alternative| {
        let texts = after.iter();
        texts.map(move |after| format!("{before}{alternative}{after}"))
    });
    texts.collect()
}

/// The rows of a statement in PostgreSQL's text format, and the types of its columns.
#[derive(Debug, Clone, Default)]
struct Answer {
    rows: Vec<String>,
    types: Vec<String>,
}

/// The answers of PostgreSQL; `None` for an error.
fn ask_postgres(statements: &[Statement]) -> Vec<Option<Answer>> {
    let mut script =
        "\\set ON_ERROR_STOP 0\n\\pset tuples_only on\n\\pset format unaligned\n".to_owned();
    script.push_str("SET TIME ZONE 'UTC';\n");
    for Statement { theirs, .. } in statements {
        writeln!(script, "\\echo @rows\nCOPY ({theirs}) TO STDOUT;").unwrap();
        writeln!(script, "\\echo @error :ERROR\n{theirs} \\gdesc").unwrap();
        writeln!(script, "\\echo @end").unwrap();
        // An unfinished statement must not swallow the next one.
        writeln!(script, "\\r").unwrap();
    }
    let output = String::from_utf8(postgres().execute(&script)).unwrap();
    let blocks = output.split("@rows\n").skip(1);
    let answer = |block: &str| {
        let (rows, rest) = block.split_once("@error false\n")?;
        let types = rest.split("@end").next()?;
        let types: Vec<String> = types
            .lines()
            .filter_map(|line| Some(line.rsplit_once('|')?.1.to_owned()))
            .collect();
        let rows = rows.lines().map(str::to_owned).collect();
        (!types.is_empty()).then_some(Answer { rows, types })
    };
    blocks.map(answer).collect()
}

async fn ask(session: &Session, sql: &str) -> Result<Vec<String>, String> {
    let written = written(session, &format!("COPY ({sql}) TO STDOUT")).await;
    let text = String::from_utf8(written.map_err(|error| error.to_string())?).unwrap();
    Ok(text.lines().map(str::to_owned).collect())
}

/// Whether two values of a PostgreSQL type are the same.
fn is_same(data_type: &str, ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        return true;
    }
    let close = |most: f64| match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(ours), Ok(theirs)) => (ours - theirs).abs() <= most * theirs.abs(),
        _ => false,
    };
    match data_type.split('(').next().unwrap() {
        "double precision" => close(1e-15),
        "real" => close(1e-6),
        "numeric" => match (significant(ours), significant(theirs)) {
            (Some((ours, a)), Some((theirs, b))) => ours.abs_diff(theirs) <= 5 && a == b,
            _ => false,
        },
        "numeric[]" => {
            let items = |list: &str| -> Vec<String> {
                let items = list.trim_matches(['{', '}']).split(',');
                items.map(str::to_owned).collect()
            };
            let (ours, theirs) = (items(ours), items(theirs));
            let mut pairs = ours.iter().zip(&theirs);
            ours.len() == theirs.len()
                && pairs.all(|(ours, theirs)| is_same("numeric", ours, theirs))
        }
        "interval" => length(ours).is_some_and(|ours| length(theirs) == Some(ours)),
        _ => false,
    }
}

/// The length of an interval in microseconds, as PostgreSQL compares intervals.
fn length(interval: &str) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    let mut words = interval.split(' ');
    let mut length = 0;
    while let Some(word) = words.next() {
        if let Some((hours, rest)) = word.split_once(':') {
            let sign = if hours.starts_with('-') { -1 } else { 1 };
            let (minutes, seconds) = rest.split_once(':')?;
            let hours: i64 = hours.trim_start_matches(['-', '+']).parse().ok()?;
            let seconds: f64 = seconds.parse().ok()?;
            let minutes = hours * 60 + minutes.parse::<i64>().ok()?;
            length += sign * (minutes * 60_000_000 + (seconds * 1e6).round() as i64);
            continue;
        }
        let count: i64 = word.parse().ok()?;
        length += count
            * match words.next()? {
                "year" | "years" => 360 * DAY,
                "mon" | "mons" => 30 * DAY,
                _ => DAY,
            };
    }
    Some(length)
}

/// The first 17 significant digits of a number, and the place of the first one.
fn significant(number: &str) -> Option<(i128, i64)> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let kept = all.trim_start_matches('0');
    if kept.is_empty() {
        return Some((0, 0));
    }
    let place = kept.len() as i64 - fraction.len() as i64 + exponent;
    let padded = format!("{kept:0<17}");
    Some((sign * padded[..17].parse::<i128>().ok()?, place))
}

fn is_same_answer(ours: &[String], theirs: &Answer) -> bool {
    let same_row = |(ours, theirs_row): (&String, &String)| {
        let (ours, theirs_row): (Vec<&str>, Vec<&str>) =
            (ours.split('\t').collect(), theirs_row.split('\t').collect());
        ours.len() == theirs_row.len()
            && ours
                .iter()
                .zip(&theirs_row)
                .zip(&theirs.types)
                .all(|((ours, theirs), data_type)| is_same(data_type, ours, theirs))
    };
    ours.len() == theirs.rows.len() && ours.iter().zip(&theirs.rows).all(same_row)
}

/// How many statements have the same value, are refused by Tidegate alone, have another value that is
/// listed, and have a value here alone; and the statements that have another value.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) same: usize,
    pub(crate) refused: usize,
    differ: usize,
    pub(crate) more: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

pub(crate) async fn compare(session: &Session, statements: &[Statement]) -> Compared {
    let answers = ask_postgres(statements);
    assert_eq!(answers.len(), statements.len());
    let mut compared = Compared::default();
    for (statement, theirs) in statements.iter().zip(answers) {
        let Statement {
            ours: sql, differs, ..
        } = statement;
        match (ask(session, sql).await, theirs) {
            (Err(_), None) => compared.same += 1,
            (Ok(ours), Some(theirs)) if is_same_answer(&ours, &theirs) => {
                assert!(!differs, "{sql} does not differ any more");
                compared.same += 1;
            }
            (Err(error), Some(_)) => {
                let why = error.lines().next().unwrap_or_default();
                println!("refused: {sql}: {why}");
                compared.refused += 1;
            }
            (Ok(_), _) if *differs => compared.differ += 1,
            (Ok(ours), None) => compared
                .more
                .push(format!("{sql}: {ours:?}, but an error in PostgreSQL")),
            (Ok(ours), Some(theirs)) => compared.wrong.push(format!(
                "{sql}: {ours:?}, but {:?} {:?} in PostgreSQL",
                theirs.rows, theirs.types
            )),
        }
    }
    compared
}

pub(crate) fn session() -> Session {
    Engine::builder().build().unwrap().session().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_gives_the_same() {
    let session = session();
    let (mut wrong, mut all) = (Vec::new(), 0);
    for (name, file) in FILES {
        let statements = statements(file);
        let compared = compare(&session, &statements).await;
        let Compared {
            same,
            refused,
            differ,
            more,
            ..
        } = compared;
        println!(
            "{name}: {same} same, {refused} refused, {} here alone, {differ} listed differences",
            more.len()
        );
        all += statements.len();
        wrong.extend(compared.wrong);
    }
    assert!(all >= 1500, "{all} statements");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A random expression of a type: `n` is a number, `b` a boolean, `t` a text.
fn random_expression(random: &mut StdRng, kind: char, depth: usize) -> String {
    let leaf = depth == 0 || random.random_bool(0.2);
    let mut of = |kind| random_expression(random, kind, depth.saturating_sub(1));
    match kind {
        'n' if leaf => {
            let digits = random.random_range(-9_999_999..9_999_999_i64);
            match random.random_range(0..8) {
                0 => format!("({})", digits % 100),
                1 => format!("({digits})"),
                2 => format!("({}.{:02})", digits / 100, digits.abs() % 100),
                3 => format!("(0.{:06})", digits.abs() % 1_000_000),
                4 => format!("({digits} * 0.5::double precision)"),
                5 => format!("({})::real", digits % 1000),
                6 => format!("({})::smallint", digits % 1000),
                _ => "null::numeric(10,2)".to_owned(),
            }
        }
        'n' => {
            let (a, b) = (of('n'), of('n'));
            let test = of('b');
            match random.random_range(0..12) {
                0..4 => format!("({a} {} {b})", ["+", "-", "*"][random.random_range(0..3)]),
                4 => format!("abs({a})"),
                5 => format!("round({a})"),
                6 => format!("{}({a})", ["ceil", "floor", "-"][random.random_range(0..3)]),
                7 => format!("coalesce({a}, {b})"),
                8 => format!(
                    "{}({a}, {b})",
                    ["greatest", "least", "nullif"][random.random_range(0..3)]
                ),
                9 => format!("(case when {test} then {a} else {b} end)"),
                10 => format!(
                    "({a})::{}",
                    ["bigint", "numeric(20,3)", "double precision"][random.random_range(0..3)]
                ),
                _ => format!("({a} % {b})"),
            }
        }
        'b' if leaf => ["true", "false", "null::boolean"][random.random_range(0..3)].to_owned(),
        'b' => {
            let (a, b, c) = (of('n'), of('n'), of('n'));
            let (p, q) = (of('b'), of('b'));
            let (s, t) = (of('t'), of('t'));
            let op = ["=", "<>", "<", "<=", ">", ">="][random.random_range(0..6)];
            match random.random_range(0..9) {
                0 | 1 => format!("({a} {op} {b})"),
                2 => format!("({a} between {b} and {c})"),
                3 => format!("({a} in ({b}, {c}))"),
                4 => format!("({p} {} {q})", ["and", "or"][random.random_range(0..2)]),
                5 => format!("(not {p})"),
                6 => format!(
                    "({a} is {} {b})",
                    ["distinct from", "not distinct from"][random.random_range(0..2)]
                ),
                7 => format!("({s} {op} {t})"),
                _ => format!("({s} is null)"),
            }
        }
        _ if leaf => ["''", "'abc'", "'A b'", "'10'", "null::text", "'naïve'"]
            [random.random_range(0..6)]
        .to_owned(),
        _ => {
            let (a, b, n, p) = (of('t'), of('t'), of('n'), of('b'));
            match random.random_range(0..7) {
                0 | 1 => format!("({a} || {b})"),
                // The number of decimal places may differ.
                2 => format!("({n})::double precision::text"),
                3 => format!("concat({a}, ({n})::double precision, {p})"),
                4 => format!("substr({a}, {})", random.random_range(-1..4)),
                5 => format!("coalesce({a}, {b})"),
                _ => format!("(case when {p} then {a} else {b} end)"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_expressions() {
    let session = session();
    for seed in seeds("TIDEGATE_SQL_SEED", 0..2) {
        let mut random = StdRng::seed_from_u64(seed);
        let statements = (0..400).map(|number| {
            let kind = ['n', 'b', 't'][number % 3];
            let mut sql = random_expression(&mut random, kind, 3);
            if kind == 'n' && number % 2 == 0 {
                let divisor = random_expression(&mut random, 'n', 0);
                sql = format!("{sql} / {divisor}");
            }
            Statement::same(format!("select {sql}"))
        });
        let statements: Vec<Statement> = statements.collect();
        let compared = compare(&session, &statements).await;
        let Compared { same, refused, .. } = compared;
        println!("seed {seed}: {same} same, {refused} refused");
        let wrong = compared.wrong.join("\n");
        assert!(wrong.is_empty(), "TIDEGATE_SQL_SEED={seed}:\n{wrong}");
    }
}
