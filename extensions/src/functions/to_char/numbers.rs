//! Templates of PostgreSQL's `to_char` and `to_number` for numbers.
//!
//! Invariant: a number is written as PostgreSQL writes it, with the decimal point and thousands
//! separator of the locale `C`. Patterns that depend on the locale's currency are refused.
//!
//! The rules: `NUM_processor` in PostgreSQL's `src/backend/utils/adt/formatting.c`.

use crate::error::{Error, ErrorKind, Result};

/// The digits of a double that PostgreSQL writes.
pub(super) const DOUBLE_DIGITS: usize = 15;
/// The digits of a real number that PostgreSQL writes.
pub(super) const REAL_DIGITS: usize = 6;

/// The width of a Roman number.
const ROMAN_WIDTH: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Nine,
    Zero,
    Point,
    Comma,
    /// `S`, which the digits write.
    AnchoredSign,
    Minus,
    Plus,
    Sign,
    /// `PR`, which the digits write.
    Brackets,
    Text(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Before,
    After,
}

/// A parsed template.
#[derive(Debug, Clone, Default)]
pub(super) struct NumberTemplate {
    pieces: Vec<Piece>,
    /// The number of digits before and after the decimal point.
    before: usize,
    after: usize,
    has_point: bool,
    /// `FM`
    is_bare: bool,
    /// The place of the first and the end of the last `0`, among all digits.
    first_zero: Option<usize>,
    zeros_end: usize,
    anchor: Option<Anchor>,
    has_plus: bool,
    has_minus: bool,
    in_brackets: bool,
    is_scientific: bool,
    is_roman: bool,
    /// The Roman number is written in lower case.
    is_lower: bool,
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

impl NumberTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// A pattern that PostgreSQL refuses there, or that is not supported.
    pub(super) fn parse(template: &str) -> Result<Self> {
        let mut parsed = Self::default();
        let mut anchored_at = None;
        let mut rest = template;
        let mut in_quotes = false;
        while let Some(first) = rest.chars().next() {
            let after = &rest[first.len_utf8()..];
            if first == '"' {
                (in_quotes, rest) = (!in_quotes, after);
                continue;
            }
            // Patterns are all upper or all lower case.
            let starts = |pattern: &str| {
                rest.starts_with(pattern) || rest.starts_with(&pattern.to_ascii_lowercase())
            };
            let known = ["EEEE", "FM", "MI", "PL", "SG", "PR", "RN", "TH"];
            let word = known.into_iter().find(|word| !in_quotes && starts(word));
            if let Some(word) = word {
                rest = &rest[word.len()..];
                match word {
                    "EEEE" => parsed.is_scientific = true,
                    "FM" => parsed.is_bare = true,
                    "RN" => (parsed.is_roman, parsed.is_lower) = (true, !after.starts_with('N')),
                    "MI" => {
                        parsed.has_minus = true;
                        parsed.pieces.push(Piece::Minus);
                    }
                    "PL" => {
                        parsed.has_plus = true;
                        parsed.pieces.push(Piece::Plus);
                    }
                    "SG" => {
                        (parsed.has_plus, parsed.has_minus) = (true, true);
                        parsed.pieces.push(Piece::Sign);
                    }
                    "PR" => {
                        parsed.in_brackets = true;
                        parsed.pieces.push(Piece::Brackets);
                    }
                    _ => return Err(unsupported(word)),
                }
                continue;
            }
            rest = after;
            if in_quotes {
                parsed.pieces.push(Piece::Text(first));
                continue;
            }
            match first.to_ascii_uppercase() {
                digit @ ('9' | '0') => {
                    if parsed.in_brackets {
                        return Err(refuse("PR must be the last pattern of a template"));
                    }
                    if digit == '0' {
                        if parsed.first_zero.is_none() && !parsed.has_point {
                            parsed.first_zero = Some(parsed.before);
                        }
                        parsed.zeros_end = parsed.before + parsed.after + 1;
                    }
                    match parsed.has_point {
                        true => parsed.after += 1,
                        false => parsed.before += 1,
                    }
                    parsed.pieces.push(match digit {
                        '0' => Piece::Zero,
                        _ => Piece::Nine,
                    });
                }
                '.' | 'D' => {
                    if parsed.has_point {
                        return Err(refuse("a template has one decimal point"));
                    }
                    parsed.has_point = true;
                    parsed.pieces.push(Piece::Point);
                }
                ',' | 'G' => parsed.pieces.push(Piece::Comma),
                'S' => {
                    if parsed.anchor.is_some() {
                        return Err(refuse("a template has one S"));
                    }
                    parsed.anchor = Some(match parsed.has_point {
                        true => Anchor::After,
                        false => Anchor::Before,
                    });
                    anchored_at = Some(parsed.before);
                    parsed.pieces.push(Piece::AnchoredSign);
                }
                'L' | 'V' | 'B' | 'C' | '\\' => return Err(unsupported(&first.to_string())),
                _ => parsed.pieces.push(Piece::Text(first)),
            }
        }
        if parsed.has_point && parsed.after == 0 {
            return Err(unsupported("a decimal point without a digit after it"));
        }
        if parsed.is_roman && !parsed.pieces.is_empty() {
            return Err(unsupported("RN with other patterns"));
        }
        let has_sign = parsed.has_plus || parsed.has_minus;
        if parsed.anchor.is_some() && (has_sign || parsed.in_brackets) {
            return Err(refuse("S can't be combined with MI, PL, SG or PR"));
        }
        // An `S` after all digits before the point.
        if parsed.anchor == Some(Anchor::Before) && anchored_at == Some(parsed.before) {
            parsed.anchor = Some(Anchor::After);
        }
        Ok(parsed)
    }

    /// Writes a number, given as decimal digits with an optional sign and point.
    ///
    /// # Errors
    /// The template can't be written with this number.
    pub(super) fn write_decimal(&self, number: &str, is_integer: bool) -> Result<String> {
        let (is_negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number),
        };
        if self.is_roman {
            return Ok(self.write_roman(is_negative, digits));
        }
        if self.is_scientific {
            return self.write_scientific(is_negative, digits, is_integer);
        }
        let rounded = round(digits, self.after);
        let is_negative = is_negative && rounded.contains(|c| matches!(c, '1'..='9'));
        Ok(self.write(is_negative, rounded))
    }

    /// Writes a double, or a real number as a double, with at most `digits` digits.
    ///
    /// # Errors
    /// It is not finite, or the template can't be written with it.
    pub(super) fn write_double(&self, number: f64, digits: usize) -> Result<String> {
        if !number.is_finite() {
            return Err(refuse("to_char of a number that is not finite"));
        }
        if self.is_roman || self.is_scientific {
            return Err(unsupported("RN or EEEE with a double"));
        }
        let whole = format!("{:.0}", number.abs());
        let after = self.after.min(digits.saturating_sub(whole.len()));
        let rounded = format!("{:.after$}", number.abs());
        let mut template = self.clone();
        template.after = after;
        Ok(template.write(number.is_sign_negative(), rounded))
    }

    fn write(&self, is_negative: bool, rounded: String) -> String {
        let length = rounded.find('.').unwrap_or(rounded.len());
        let number = match length > self.before {
            true => format!("{}.{}", "#".repeat(self.before), "#".repeat(self.after)),
            false => rounded,
        };
        Writer::new(self, is_negative, number.into_bytes(), length).write()
    }

    fn write_roman(&self, is_negative: bool, digits: &str) -> String {
        const LETTERS: [(u32, &str); 13] = [
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let number: u32 = round(digits, 0).parse().unwrap_or(u32::MAX);
        if is_negative || !(1..=3999).contains(&number) {
            return "#".repeat(ROMAN_WIDTH);
        }
        let (mut rest, mut roman) = (number, String::new());
        for (value, letters) in LETTERS {
            while rest >= value {
                roman.push_str(letters);
                rest -= value;
            }
        }
        if self.is_lower {
            roman.make_ascii_lowercase();
        }
        match self.is_bare {
            true => roman,
            false => format!("{roman:>ROMAN_WIDTH$}"),
        }
    }

    fn write_scientific(
        &self,
        is_negative: bool,
        digits: &str,
        is_integer: bool,
    ) -> Result<String> {
        let is_digit = |piece: &Piece| matches!(piece, Piece::Nine | Piece::Zero | Piece::Point);
        if !self.pieces.iter().all(is_digit) || self.is_bare {
            return Err(unsupported("EEEE with other patterns"));
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        let leading = all.bytes().take_while(|digit| *digit == b'0').count();
        let significant = all.get(leading..).unwrap_or_default();
        let mut exponent = whole.len() as i64 - leading as i64 - 1;
        let mantissa = match significant.split_at_checked(1) {
            Some((first, rest)) => round(&format!("{first}.{rest}"), self.after),
            None => {
                exponent = 0;
                round("0", self.after)
            }
        };
        // PostgreSQL rounds INTEGER as a double and BIGINT as a decimal, and Tidegate's literals are
        // BIGINT where PostgreSQL's are INTEGER.
        let rest = significant.get(self.after + 1..).unwrap_or_default();
        let is_tie = rest.trim_end_matches('0') == "5";
        if is_integer && (is_tie || mantissa.starts_with("10")) {
            return Err(unsupported(
                "EEEE of an integer that lies between two results",
            ));
        }
        let sign = if is_negative { "-" } else { " " };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        Ok(format!(
            "{sign}{mantissa}e{exponent_sign}{:02}",
            exponent.abs()
        ))
    }

    /// Reads a number whose signs and separators stand where the template has them.
    ///
    /// # Errors
    /// The text does not fit the template. PostgreSQL would pass over what does not fit.
    pub(super) fn read(&self, written: &str) -> Result<String> {
        let invalid = || {
            refuse(format!(
                "\"{written}\" does not fit the template of to_number"
            ))
        };
        let has_text = |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Brackets);
        if self.is_roman || self.is_scientific || self.pieces.iter().any(has_text) {
            return Err(unsupported("to_number with RN, EEEE, PR or text"));
        }
        let is_sign = |piece: &&Piece| {
            matches!(
                piece,
                Piece::AnchoredSign | Piece::Minus | Piece::Plus | Piece::Sign
            )
        };
        let ends_with_sign = self.pieces.last().filter(is_sign).is_some();
        let begins_with_sign = self.pieces.first().filter(is_sign).is_some();
        let signs = self.pieces.iter().filter(is_sign).count();
        if signs > 1 || signs == 1 && !begins_with_sign && !ends_with_sign {
            return Err(unsupported("to_number with a sign inside the number"));
        }
        let text = written.trim_ascii();
        let (sign, text) = match (begins_with_sign, ends_with_sign) {
            (false, true) => match text.strip_suffix(['-', '+']) {
                Some(number) => (&text[number.len()..], number),
                None => ("", text),
            },
            _ => match text.strip_prefix(['-', '+']) {
                Some(number) => (&text[..1], number),
                None => ("", text),
            },
        };
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if self.has_point => (whole, fraction),
            Some(_) => return Err(invalid()),
            None => (text, ""),
        };
        // The separators of the text, and those of the template, by the digits before them.
        let places = |is_comma: &mut dyn Iterator<Item = bool>| {
            let (mut digits, mut places) = (0, Vec::new());
            for is_comma in is_comma {
                match is_comma {
                    true => places.push(digits),
                    false => digits += 1,
                }
            }
            (digits, places)
        };
        let before = self
            .pieces
            .iter()
            .take_while(|piece| **piece != Piece::Point);
        let mut before = before.filter_map(|piece| match piece {
            Piece::Comma => Some(true),
            Piece::Nine | Piece::Zero => Some(false),
            _ => None,
        });
        let (_, wanted) = places(&mut before);
        let (digits, found) = places(&mut whole.chars().map(|c| c == ','));
        let are_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == ',');
        let fits = are_digits(whole)
            && fraction.chars().all(|c| c.is_ascii_digit())
            && digits <= self.before
            && fraction.len() <= self.after
            && digits + fraction.len() > 0
            && found.iter().all(|place| wanted.contains(place))
            && (found.is_empty()
                || found.len() == wanted.iter().filter(|at| **at < digits).count());
        if !fits {
            return Err(invalid());
        }
        let sign = if sign == "-" { "-" } else { "" };
        let whole = whole.replace(',', "");
        Ok(match fraction {
            "" => format!("{sign}{whole}"),
            fraction => format!("{sign}{whole}.{fraction}"),
        })
    }
}

fn unsupported(pattern: &str) -> Error {
    let why = format!("{pattern} in a template for numbers is not supported");
    Error::new(ErrorKind::Unsupported, why)
}

/// Rounds decimal digits to `places` after the point, halves away from zero.
fn round(digits: &str, places: usize) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let mut kept: Vec<u8> = whole.bytes().collect();
    kept.extend(fraction.bytes().chain(std::iter::repeat(b'0')).take(places));
    if fraction
        .as_bytes()
        .get(places)
        .is_some_and(|digit| *digit >= b'5')
    {
        let mut carries = true;
        for digit in kept.iter_mut().rev() {
            match *digit {
                b'9' => *digit = b'0',
                _ => {
                    *digit += 1;
                    carries = false;
                    break;
                }
            }
        }
        if carries {
            kept.insert(0, b'1');
        }
    }
    let kept: String = kept.into_iter().map(char::from).collect();
    let (whole, fraction) = kept.split_at(kept.len() - places);
    match fraction {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Writes one number, place by place.
struct Writer<'a> {
    template: &'a NumberTemplate,
    is_negative: bool,
    number: Vec<u8>,
    /// The next digit or point of the number.
    next: usize,
    /// The last digit or point that `FM` keeps.
    last_relevant: Option<usize>,
    /// The current place of the template's digits and point.
    place: usize,
    /// How many places the number has fewer than the template has before the point.
    blanks: usize,
    /// The places of all digits, without the last one.
    places: usize,
    has_brackets: bool,
    is_sign_written: bool,
    has_begun: bool,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(
        template: &'a NumberTemplate,
        is_negative: bool,
        number: Vec<u8>,
        length: usize,
    ) -> Self {
        let blanks = template.before.saturating_sub(length);
        let has_brackets = template.in_brackets && (is_negative || !template.is_bare);
        let is_sign_written = match template.has_plus || template.has_minus {
            true => template.has_minus || !template.has_plus,
            false => !is_negative && template.is_bare && template.anchor.is_none(),
        };
        let mut places = (template.after + template.before).saturating_sub(1);
        if !is_sign_written && blanks == 0 {
            places += 1;
        }
        let mut last_relevant = None;
        if template.is_bare && template.has_point {
            let point = number.iter().position(|c| *c == b'.');
            let last = number.iter().rposition(|c| *c != b'0');
            last_relevant = point.map(|point| last.unwrap_or(point).max(point));
            if let Some(relevant) = &mut last_relevant
                && template.zeros_end > blanks
            {
                let last_zero = (number.len() - 1).min(template.zeros_end - blanks);
                *relevant = (*relevant).max(last_zero);
            }
        }
        Self {
            template,
            is_negative,
            number,
            next: 0,
            last_relevant,
            place: 0,
            blanks,
            places,
            has_brackets,
            is_sign_written,
            has_begun: false,
            out: String::new(),
        }
    }

    fn write(mut self) -> String {
        let is_bare = self.template.is_bare;
        for piece in &self.template.pieces {
            match piece {
                Piece::Nine | Piece::Zero | Piece::Point => self.write_place(*piece),
                Piece::Comma if self.has_begun => self.out.push(','),
                Piece::Comma if !is_bare => self.out.push(' '),
                Piece::Minus if self.is_negative => self.out.push('-'),
                Piece::Plus if !self.is_negative => self.out.push('+'),
                Piece::Minus | Piece::Plus if !is_bare => self.out.push(' '),
                Piece::Sign => self.out.push(self.sign()),
                Piece::Text(c) => self.out.push(*c),
                Piece::Comma
                | Piece::Minus
                | Piece::Plus
                | Piece::AnchoredSign
                | Piece::Brackets => {}
            }
        }
        self.out
    }

    fn sign(&self) -> char {
        if self.is_negative { '-' } else { '+' }
    }

    /// Whether a zero before the point is written as a blank: `9.9` writes ` .1`.
    fn is_hidden_zero(&self) -> bool {
        self.template.first_zero.is_none()
            && self.next == 0
            && self.number.first() == Some(&b'0')
            && self.template.after != 0
    }

    fn ends_at_point(&self) -> bool {
        let relevant = self.last_relevant.and_then(|at| self.number.get(at));
        relevant == Some(&b'.')
    }

    fn write_place(&mut self, piece: Piece) {
        self.has_begun = false;
        let is_bare = self.template.is_bare;
        let first_zero = self.template.first_zero;
        let is_reached = self.place >= self.blanks || first_zero == Some(self.place);
        if !self.is_sign_written && is_reached && (!self.is_hidden_zero() || self.ends_at_point()) {
            match self.template.anchor {
                Some(Anchor::Before) => {
                    self.out.push(self.sign());
                    self.is_sign_written = true;
                }
                Some(Anchor::After) => {}
                None if self.has_brackets => {
                    self.out.push(if self.is_negative { '<' } else { ' ' });
                    self.is_sign_written = true;
                }
                None => {
                    match self.is_negative {
                        true => self.out.push('-'),
                        false if !is_bare => self.out.push(' '),
                        false => {}
                    }
                    self.is_sign_written = true;
                }
            }
        }
        let is_zero_place = first_zero.is_some_and(|first| first <= self.place);
        if self.place < self.blanks {
            if is_zero_place {
                self.out.push('0');
                self.has_begun = true;
            } else if !is_bare {
                self.out.push(' ');
            }
        } else {
            match self.number.get(self.next) {
                Some(b'.') => self.out.push('.'),
                Some(digit) => {
                    let is_cut = self.last_relevant.is_some_and(|last| self.next > last);
                    if is_cut && piece != Piece::Zero {
                    } else if self.is_hidden_zero() {
                        if !is_bare {
                            self.out.push(' ');
                        } else if self.ends_at_point() {
                            self.out.push('0');
                        }
                    } else {
                        self.out.push(char::from(*digit));
                        self.has_begun = true;
                    }
                }
                None => {}
            }
            if self.next < self.number.len() {
                self.next += 1;
            }
        }
        let mut end =
            self.places + usize::from(self.blanks > 0) + usize::from(self.template.has_point);
        if self.last_relevant == Some(self.next) {
            end = self.place;
        }
        if self.place + 1 == end {
            if self.is_sign_written && self.has_brackets {
                self.out.push(if self.is_negative { '>' } else { ' ' });
            } else if self.template.anchor == Some(Anchor::After) {
                self.out.push(self.sign());
            }
        }
        self.place += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::NumberTemplate;

    #[test]
    fn numbers_are_written_as_in_postgres() {
        let cases = [
            ("125", "999", " 125"),
            ("-125", "999", "-125"),
            ("125", "999D99", " 125.00"),
            ("125.8", "999", " 126"),
            ("0.5", "999D99", "    .50"),
            ("0", "FM999.99", "0."),
            ("125", "0000", " 0125"),
            ("-125", "S999", "-125"),
            ("125", "999S", "125+"),
            ("1234567.891", "9,999,999.99", " 1,234,567.89"),
            ("125", "FM9,999,990.00", "125.00"),
            ("-125", "999PR", "<125>"),
            ("125", "999PR", " 125 "),
            ("125", "9.99EEEE", " 1.25e+02"),
            ("125", "RN", "           CXXV"),
            ("-125", "999MI", "125-"),
            ("1234567.891", "999", " ###"),
            ("148.5", "999.999", " 148.500"),
            ("-0.1", "99.99", "  -.10"),
            ("-0.1", "FM9.99", "-.1"),
            ("12", "9990999.9", "    0012.0"),
            ("485", "SG999", "+485"),
        ];
        for (number, template, wanted) in cases {
            let written = NumberTemplate::parse(template)
                .unwrap()
                .write_decimal(number, false);
            assert_eq!(written.unwrap(), wanted, "{number} {template}");
        }
    }
}
