//! Names of types, and which types, functions and operators stand for those that were written.
//!
//! Invariant: the choice is PostgreSQL's:
//! <https://www.postgresql.org/docs/15/typeconv.html>

use tidegate_extensions::format::postgres::oid;

use super::objects::{Objects, quoted};
use super::system::{Function, PG_CATALOG, System};
use super::text::{more, name_parts, qualified};
use crate::serve::fault::Fault;

/// The names of types in SQL that differ from those in `pg_type`.
const SQL_NAMES: [(&str, u32); 26] = [
    ("boolean", oid::BOOL),
    ("smallint", oid::INT2),
    ("integer", oid::INT4),
    ("int", oid::INT4),
    ("bigint", oid::INT8),
    ("real", oid::FLOAT4),
    ("float", oid::FLOAT8),
    ("double", oid::FLOAT8),
    ("double precision", oid::FLOAT8),
    ("decimal", oid::NUMERIC),
    ("dec", oid::NUMERIC),
    ("character varying", oid::VARCHAR),
    ("char varying", oid::VARCHAR),
    ("character", oid::BPCHAR),
    ("char", oid::BPCHAR),
    ("nchar", oid::BPCHAR),
    ("time without time zone", oid::TIME),
    ("time with time zone", 1266),
    ("timestamp without time zone", oid::TIMESTAMP),
    ("timestamp with time zone", oid::TIMESTAMPTZ),
    ("bit varying", 1562),
    ("string", oid::TEXT),
    ("datetime", oid::TIMESTAMP),
    ("bytes", oid::BYTEA),
    ("varchar", oid::VARCHAR),
    ("timestamp", oid::TIMESTAMP),
];

/// The type that `text` names, and its modifier; -1 for none.
///
/// # Errors
/// 42704 if there is no such type.
pub(super) fn parse_type(text: &str, objects: &Objects) -> Result<(u32, i32), Fault> {
    let missing = || Fault::new("42704", format!("type \"{text}\" does not exist"));
    let mut rest = text.trim();
    let mut is_array = false;
    while let Some(element) = rest.strip_suffix(']') {
        let start = element.rfind('[').ok_or_else(missing)?;
        rest = element[..start].trim_end();
        is_array = true;
    }
    let (mut bare, mut modifiers) = (rest.to_owned(), Vec::new());
    if !rest.contains('"')
        && let (Some(open), Some(close)) = (rest.find('('), rest.find(')'))
    {
        let numbers = rest.get(open + 1..close).unwrap_or_default().split(',');
        modifiers = numbers
            .filter_map(|number| number.trim().parse::<i32>().ok())
            .collect();
        bare = format!("{}{}", &rest[..open], &rest[close + 1..]);
    }
    let lower = bare.to_lowercase();
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    let sql_name = words.join(" ");
    let found = SQL_NAMES.iter().find(|(name, _)| *name == sql_name);
    let number = match found {
        Some((_, number)) => *number,
        None => {
            let parts = name_parts(&bare).ok_or_else(missing)?;
            let found = match parts.as_slice() {
                [name] => objects.type_number(None, name),
                [schema, name] => objects.type_number(Some(schema), name),
                [_, schema, name] => objects.type_number(Some(schema), name),
                _ => None,
            };
            found.ok_or_else(missing)?
        }
    };
    let modifier = match (number, modifiers.as_slice()) {
        (oid::VARCHAR | oid::BPCHAR, [length]) => length + 4,
        (oid::NUMERIC, [precision]) => (precision << 16) + 4,
        (oid::NUMERIC, [precision, scale]) => (precision << 16 | (scale & 0x7ff)) + 4,
        (_, [digits]) => *digits,
        _ => -1,
    };
    match is_array {
        false => Ok((number, modifier)),
        true => Ok((array_of(number).ok_or_else(missing)?, modifier)),
    }
}

/// The type of arrays of a type.
pub(super) fn array_of(element: u32) -> Option<u32> {
    let of = System::get().types.get(&element)?;
    Some(of.array).filter(|array| *array != 0)
}

/// The name of a type in SQL, as `format_type` writes it. A modifier of -1 is none.
pub(super) fn type_text(number: u32, modifier: i32, objects: &Objects) -> String {
    let element = objects.element_type(number);
    if element != 0 && !matches!(number, oid::INT2VECTOR | oid::OIDVECTOR) {
        return format!("{}[]", type_text(element, modifier, objects));
    }
    let length = || match modifier {
        ..4 => String::new(),
        modifier => format!("({})", modifier - 4),
    };
    let digits = |name: &str, zone: &str| match modifier {
        ..0 => format!("{name}{zone}"),
        digits => format!("{name}({digits}){zone}"),
    };
    match number {
        oid::BOOL => "boolean".to_owned(),
        oid::INT2 => "smallint".to_owned(),
        oid::INT4 => "integer".to_owned(),
        oid::INT8 => "bigint".to_owned(),
        oid::FLOAT4 => "real".to_owned(),
        oid::FLOAT8 => "double precision".to_owned(),
        oid::CHAR => "\"char\"".to_owned(),
        oid::INTERVAL => "interval".to_owned(),
        oid::NUMERIC if modifier < 4 => "numeric".to_owned(),
        oid::BPCHAR if modifier == -1 => "bpchar".to_owned(),
        oid::BPCHAR => format!("character{}", length()),
        oid::VARCHAR => format!("character varying{}", length()),
        oid::NUMERIC => {
            let bits = modifier - 4;
            let scale = ((bits & 0x7ff) ^ 1024) - 1024;
            format!("numeric({},{scale})", bits >> 16 & 0xffff)
        }
        1560 => digits("bit", ""),
        1562 => digits("bit varying", ""),
        oid::TIME => digits("time", " without time zone"),
        1266 => digits("time", " with time zone"),
        oid::TIMESTAMP => digits("timestamp", " without time zone"),
        oid::TIMESTAMPTZ => digits("timestamp", " with time zone"),
        0 => "-".to_owned(),
        number => match objects.type_name(number) {
            Some((PG_CATALOG, name)) => quoted(&name),
            Some((schema, name)) => qualified(schema, &name, objects),
            None => "???".to_owned(),
        },
    }
}

fn category(number: u32) -> u8 {
    System::get()
        .types
        .get(&number)
        .map_or(b'U', |of| of.category)
}

/// Whether the values of a type are texts.
pub(super) fn is_text(number: u32) -> bool {
    number == oid::UNKNOWN || category(number) == b'S'
}

/// Whether the values of a type are numbers of objects that are written by their names.
pub(super) fn is_object(number: u32) -> bool {
    matches!(
        number,
        oid::REGCLASS
            | oid::REGTYPE
            | oid::REGPROC
            | oid::REGROLE
            | oid::REGNAMESPACE
            | more::REGPROCEDURE
            | more::REGOPER
            | more::REGOPERATOR
    )
}

fn is_preferred(number: u32) -> bool {
    System::get()
        .types
        .get(&number)
        .is_some_and(|of| of.is_preferred)
}

fn is_polymorphic(number: u32) -> bool {
    use more::{
        ANY, ANYARRAY, ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY, ANYELEMENT,
        ANYNONARRAY,
    };
    matches!(
        number,
        ANY | ANYARRAY
            | ANYELEMENT
            | ANYNONARRAY
            | ANYCOMPATIBLE
            | ANYCOMPATIBLEARRAY
            | ANYCOMPATIBLENONARRAY
    )
}

fn is_any_array(number: u32) -> bool {
    matches!(number, more::ANYARRAY | more::ANYCOMPATIBLEARRAY)
}

/// Whether a value of a type is taken for one of another without a cast.
pub(super) fn is_implicit(from: u32, to: u32) -> bool {
    if from == to || from == oid::UNKNOWN || to == more::ANY {
        return true;
    }
    if is_any_array(to) {
        return category(from) == b'A' || from == more::ANYARRAY;
    }
    if matches!(to, more::ANYNONARRAY | more::ANYCOMPATIBLENONARRAY) {
        return category(from) != b'A';
    }
    if is_polymorphic(to) {
        return true;
    }
    if from == more::RECORD || to == more::RECORD {
        return matches!(category(from), b'C' | b'P') && matches!(category(to), b'C' | b'P');
    }
    System::get().cast(from, to) == Some(b'i')
}

/// The candidate that the arguments choose: its place.
///
/// `None` if none takes them, or if more than one does equally well.
fn choose(candidates: &[Vec<u32>], given: &[u32]) -> Option<usize> {
    let fits = |of: &Vec<u32>| {
        let mut pairs = given.iter().zip(of);
        pairs.all(|(from, to)| is_implicit(*from, *to))
    };
    let mut left: Vec<usize> = (0..candidates.len())
        .filter(|place| fits(&candidates[*place]))
        .collect();
    let exact = |of: &Vec<u32>| given.iter().zip(of).filter(|(from, to)| from == to).count();
    keep_best(&mut left, |place| exact(&candidates[place]));
    let preferred = |of: &Vec<u32>| {
        let pairs = given.iter().zip(of);
        pairs
            .filter(|(from, to)| {
                from == to || is_preferred(**to) && category(**from) == category(**to)
            })
            .count()
    };
    keep_best(&mut left, |place| preferred(&candidates[place]));
    if left.len() <= 1 {
        return left.first().copied();
    }
    for (place, from) in given.iter().enumerate() {
        if *from != oid::UNKNOWN {
            continue;
        }
        let at = |candidate: usize| candidates[candidate][place];
        let is_text = left.iter().any(|of| category(at(*of)) == b'S');
        let first = category(at(left[0]));
        let is_same = left.iter().all(|of| category(at(*of)) == first);
        let wanted = match (is_text, is_same) {
            (true, _) => b'S',
            (_, true) => first,
            _ => continue,
        };
        let kept: Vec<usize> = left
            .iter()
            .copied()
            .filter(|of| category(at(*of)) == wanted)
            .collect();
        if !kept.is_empty() {
            left = kept;
        }
        let kept: Vec<usize> = left
            .iter()
            .copied()
            .filter(|of| is_preferred(at(*of)))
            .collect();
        if !kept.is_empty() {
            left = kept;
        }
    }
    if left.len() == 1 {
        return left.first().copied();
    }
    // All known arguments of one type: the unknown ones are of it, too.
    let mut known = given.iter().filter(|from| **from != oid::UNKNOWN);
    let Some(first) = known.next().copied() else {
        return left.first().copied();
    };
    if known.all(|other| *other == first) {
        let same: Vec<u32> = vec![first; given.len()];
        let fits = |of: usize| {
            let mut pairs = same.iter().zip(&candidates[of]);
            pairs.all(|(from, to)| is_implicit(*from, *to))
        };
        let kept: Vec<usize> = left.iter().copied().filter(|of| fits(*of)).collect();
        if kept.len() == 1 {
            return kept.first().copied();
        }
    }
    // Equally good ones differ in polymorphic arguments only.
    left.first().copied()
}

fn keep_best(left: &mut Vec<usize>, score: impl Fn(usize) -> usize) {
    let best = left.iter().map(|place| score(*place)).max();
    left.retain(|place| Some(score(*place)) == best);
}

/// A function or operator that was chosen.
pub(super) struct Chosen {
    /// The types that its arguments must have.
    pub(super) arguments: Vec<u32>,
    pub(super) returns: u32,
    /// The type that stands for polymorphic ones.
    element: u32,
}

impl Chosen {
    /// The type that stands for a declared one.
    pub(super) fn actual(&self, declared: u32) -> u32 {
        match declared {
            of if is_any_array(of) => array_of(self.element).unwrap_or(oid::TEXT_ARRAY),
            of if is_polymorphic(of) => self.element,
            of => of,
        }
    }
}

/// Puts the types of the arguments in the place of polymorphic ones.
fn resolve(declared: &[u32], returns: u32, given: &[u32], objects: &Objects) -> Chosen {
    let pairs = || declared.iter().zip(given);
    let mut element = 0;
    for (of, from) in pairs() {
        if *from == oid::UNKNOWN {
            continue;
        }
        if is_any_array(*of) {
            let found = objects.element_type(*from);
            if found != 0 {
                element = found;
            }
        } else if is_polymorphic(*of) && *of != more::ANY && element == 0 {
            element = *from;
        }
    }
    if element == 0 {
        element = oid::TEXT;
    }
    let array = |given: u32| match given {
        oid::INT2VECTOR | oid::OIDVECTOR | more::ANYARRAY => given,
        _ => array_of(element).unwrap_or(oid::TEXT_ARRAY),
    };
    let arguments = pairs().map(|(of, from)| match *of {
        more::ANY => *from,
        of if is_any_array(of) => array(*from),
        of if is_polymorphic(of) => element,
        of => of,
    });
    let mut chosen = Chosen {
        arguments: arguments.collect(),
        returns,
        element,
    };
    chosen.returns = chosen.actual(returns);
    chosen
}

/// The function that a call means.
///
/// # Errors
/// 42883 if there is none.
pub(super) fn choose_function(
    namespace: Option<u32>,
    name: &str,
    given: &[u32],
    objects: &Objects,
) -> Result<(&'static Function, Chosen), Fault> {
    let all = System::get().functions(name);
    // One that lists its arguments comes before one that takes any number of them.
    let mut named: Vec<&Function> = all
        .iter()
        .filter(|function| {
            let wanted = namespace.unwrap_or(PG_CATALOG);
            function.namespace == wanted && matches!(function.kind, b'f' | b'a' | b'w')
        })
        .collect();
    named.sort_by_key(|function| function.is_variadic);
    let mut functions = Vec::new();
    let mut candidates = Vec::new();
    for function in named {
        let count = function.arguments.len();
        let least = count - function.defaults.min(count);
        if function.is_variadic && given.len() + 1 >= count && count > 0 {
            let mut arguments = function.arguments[..count - 1].to_vec();
            let last = function.arguments[count - 1];
            let element = match last {
                more::ANY => more::ANY,
                more::ANYARRAY => more::ANYELEMENT,
                more::ANYCOMPATIBLEARRAY => more::ANYCOMPATIBLE,
                array => objects.element_type(array),
            };
            arguments.resize(given.len().max(arguments.len()), element);
            functions.push(function);
            candidates.push(arguments);
        } else if (least..=count).contains(&given.len()) {
            functions.push(function);
            candidates.push(function.arguments[..given.len()].to_vec());
        }
    }
    let chosen = match candidates.len() {
        1 => Some(0),
        _ => choose(&candidates, given),
    };
    let missing = || {
        let types: Vec<String> = given.iter().map(|of| type_text(*of, -1, objects)).collect();
        let why = format!("function {name}({}) does not exist", types.join(", "));
        Fault::new("42883", why)
    };
    let place = chosen.ok_or_else(missing)?;
    let function = functions[place];
    Ok((
        function,
        resolve(&candidates[place], function.returns, given, objects),
    ))
}

/// The operator that is meant. A prefix operator has one argument.
///
/// # Errors
/// 42883 if there is none.
pub(super) fn choose_operator(
    name: &str,
    given: &[u32],
    objects: &Objects,
) -> Result<Chosen, Fault> {
    let all = System::get().operators(name);
    let is_prefix = given.len() == 1;
    let operators: Vec<_> = all
        .iter()
        .filter(|of| (of.left == 0) == is_prefix)
        .collect();
    let candidates: Vec<Vec<u32>> = operators
        .iter()
        .map(|of| match is_prefix {
            true => vec![of.right],
            false => vec![of.left, of.right],
        })
        .collect();
    // A literal without a type is first taken for one of the other side's type.
    let same: Vec<u32> = match given {
        [oid::UNKNOWN, right] => vec![*right, *right],
        [left, oid::UNKNOWN] => vec![*left, *left],
        other => other.to_vec(),
    };
    let exact = candidates.iter().position(|of| *of == same);
    let place = exact.or_else(|| choose(&candidates, given));
    let place = place.ok_or_else(|| {
        let types: Vec<String> = given.iter().map(|of| type_text(*of, -1, objects)).collect();
        let text = match types.as_slice() {
            [left, right] => format!("{left} {name} {right}"),
            [one] => format!("{name} {one}"),
            _ => name.to_owned(),
        };
        Fault::new("42883", format!("operator does not exist: {text}"))
    })?;
    Ok(resolve(
        &candidates[place],
        operators[place].returns,
        given,
        objects,
    ))
}

/// The type of a CASE, a UNION or an ARRAY of values with these types.
///
/// # Errors
/// 42804 if they have none in common.
pub(super) fn common_type(types: &[u32], what: &str, objects: &Objects) -> Result<u32, Fault> {
    let mut common = oid::UNKNOWN;
    for of in types.iter().copied().filter(|of| *of != oid::UNKNOWN) {
        if common == oid::UNKNOWN {
            common = of;
        } else if of != common {
            if category(of) != category(common) {
                let why = format!(
                    "{what} types {} and {} cannot be matched",
                    type_text(common, -1, objects),
                    type_text(of, -1, objects)
                );
                return Err(Fault::new("42804", why));
            }
            let is_better =
                !is_preferred(common) && is_implicit(common, of) && !is_implicit(of, common);
            if is_better {
                common = of;
            }
        }
    }
    Ok(match common {
        oid::UNKNOWN => oid::TEXT,
        other => other,
    })
}
