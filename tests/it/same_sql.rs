//! Expressions have the value that PostgreSQL 15 gives, or fail.
//!
//! Invariant: no expression has another value than PostgreSQL's. `TIDEGATE_SQL_SEED=7` (or `0..100`)
//! replays or widens the random expressions; a failure prints its seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::corpus::{Compared, Statement, compare, session};
use crate::texts::seeds;

/// An expression, as Tidegate and as PostgreSQL read it. Their texts are compared.
fn as_text(ours: &str, theirs: &str) -> Statement {
    let [ours, theirs] = [ours, theirs].map(|sql| format!("select cast(({sql}) as text)"));
    Statement::new(ours, theirs)
}

/// Compares `count` random expressions of each seed, and gives the numbers of those with the same value
/// and of those that only Tidegate refuses to `check`.
async fn compare_random(
    what: &str,
    count: usize,
    random_expression: impl Fn(&mut StdRng) -> Statement,
    check: impl Fn(usize, usize),
) {
    let session = session();
    for seed in seeds("TIDEGATE_SQL_SEED", 0..2) {
        let mut random = StdRng::seed_from_u64(seed);
        let expressions = (0..count).map(|_| random_expression(&mut random));
        let expressions: Vec<Statement> = expressions.collect();
        let compared = compare(&session, &expressions).await;
        let Compared { same, refused, .. } = compared;
        println!("{what}, seed {seed}: {same} same, {refused} refused");
        let wrong = [compared.wrong, compared.more].concat();
        assert!(
            wrong.is_empty(),
            "{what}, seed {seed}:\n{}",
            wrong.join("\n")
        );
        check(same, refused);
    }
}

/// Template patterns and separators.
const PIECES: [&str; 58] = [
    "YYYY", "YYY", "YY", "Y", "Y,YYY", "IYYY", "IYY", "IY", "I", "BC", "AD", "B.C.", "A.D.",
    "MONTH", "MON", "MM", "DAY", "DY", "DDD", "IDDD", "DD", "D", "ID", "W", "WW", "IW", "CC", "J",
    "Q", "RM", "HH", "HH12", "HH24", "MI", "SS", "MS", "US", "FF1", "FF3", "FF6", "SSSS", "SSSSS",
    "AM", "PM", "A.M.", "P.M.", "-", "/", ":", " ", ".", ",", "\"T\"", "\"at \"", "T", "x", "é",
    "OF",
];

fn random_template(random: &mut StdRng) -> String {
    let mut template = String::new();
    for _ in 0..random.random_range(1..7) {
        if random.random_bool(0.15) {
            template.push_str("FM");
        }
        let piece = PIECES.choose(random).unwrap();
        match random.random_range(0..4) {
            0 => template.push_str(&piece.to_lowercase()),
            1 => {
                let (first, rest) = piece.split_at(piece.chars().next().unwrap().len_utf8());
                template.push_str(first);
                template.push_str(&rest.to_lowercase());
            }
            _ => template.push_str(piece),
        }
        if random.random_bool(0.1) {
            template.push_str(["TH", "th"].choose(random).unwrap());
        }
    }
    template
}

/// From the year 1 to 9999, in microseconds.
const TIMES: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_of_to_char() {
    let expression = |random: &mut StdRng| {
        let template = random_template(random);
        let micros = match random.random_bool(0.5) {
            true => random.random_range(TIMES),
            // Whole hours and days of our time.
            false => random.random_range(0..500_000) * 3_600_000_000,
        };
        let ours =
            format!("to_char(arrow_cast({micros}, 'Timestamp(Microsecond, None)'), '{template}')");
        let theirs = format!(
            "to_char(TIMESTAMP '1970-01-01' + '{} days'::interval
                    + '{} microseconds'::interval, '{template}')",
            micros.div_euclid(86_400_000_000),
            micros.rem_euclid(86_400_000_000)
        );
        as_text(&ours, &theirs)
    };
    compare_random("to_char", 400, expression, |_, refused| {
        assert_eq!(refused, 0);
    })
    .await;
}

/// Integers at the ends of each type, and between them.
fn random_integer(random: &mut StdRng) -> String {
    let ends = [
        (i64::from(i16::MAX), "smallint"),
        (i64::from(i32::MAX), "int"),
        (i64::MAX, "bigint"),
    ];
    let (most, data_type) = *ends.choose(random).unwrap();
    let value = match random.random_range(0..4) {
        0 => most - random.random_range(0..3),
        1 => -most + random.random_range(0..3),
        2 => random.random_range(-20..20),
        _ => random.random_range(-most..most),
    };
    format!("CAST('{value}' AS {data_type})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arithmetic_of_integers() {
    let expression = |random: &mut StdRng| {
        let mut sql = random_integer(random);
        for _ in 0..random.random_range(1..3) {
            let op = ["+", "-", "*"].choose(random).unwrap();
            let right = random_integer(random);
            sql = match random.random_bool(0.5) {
                true => format!("({sql}) {op} {right}"),
                false => format!("{right} {op} ({sql})"),
            };
        }
        as_text(&sql, &sql)
    };
    compare_random("integers", 400, expression, |same, _| {
        assert!(same > 300, "{same}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn casts_to_integers() {
    let expression = |random: &mut StdRng| {
        let halves = random.random_range(-200_000..200_000);
        let number = match random.random_range(0..4) {
            0 => format!("{}.5", halves / 2),
            1 => format!("{}", f64::from(halves) / 16.0),
            2 => format!("{}", random.random_range(-40_000.0..40_000.0)),
            _ => format!("{}e{}", halves, random.random_range(-8..16)),
        };
        let from = ["double precision", "real", "numeric(38, 10)"];
        let from = from.choose(random).unwrap();
        let to = ["smallint", "int", "bigint"].choose(random).unwrap();
        let sql = format!("CAST(CAST('{number}' AS {from}) AS {to})");
        as_text(&sql, &sql)
    };
    compare_random("casts", 300, expression, |same, _| {
        assert!(same > 200, "{same}");
    })
    .await;
}
