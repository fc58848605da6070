//! Arithmetic in references: `${matrix.seed + 100}`.
//!
//! Whole numbers are exact: what leaves the range of whole numbers is an error, never a rounded
//! number. Decimal numbers are IEEE doubles, and only operations whose result is the same on every
//! machine are offered. Does not know what references stand for.

use std::fmt;
use std::sync::Arc;

use serde_json::Number;

use super::problem::{Problem, Span};
use super::reference::{self, Reference};

/// The deepest nesting of parentheses and signs.
const MAX_DEPTH: usize = 64;
/// The most numbers and operators of one expression.
const MAX_SIZE: usize = 1000;
/// The largest exponent.
const MAX_EXPONENT: i128 = 4096;

/// What stands between `${` and `}`, when it is more than one reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    source: Arc<str>,
    references: Vec<Reference>,
    tree: Tree,
}

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Number(Number),
    /// Position in [`Expr::references`].
    Ref(usize),
    Negative(Box<Tree>),
    Binary(Op, Box<Tree>, Box<Tree>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Floor,
    Modulo,
    Power,
}

/// What a reference in an expression turns out to be.
pub enum Bound {
    /// Known only later.
    Later(Reference),
    /// A number.
    Number(Number),
    /// Another expression.
    Expr(Arc<Expr>),
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Whether a text that is no reference means to be arithmetic: it begins like a reference, a number
/// or a parenthesis.
pub fn is_meant(text: &str) -> bool {
    let text = text.trim_start_matches(['(', '-', '+', ' ']);
    let word = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .map_or(text, |end| &text[..end]);
    let numeric = text.starts_with(|c: char| c.is_ascii_digit());
    numeric || (reference::is_root(word) && text[word.len()..].starts_with('.'))
}

/// Reads an expression, or says what is wrong with it.
pub fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser {
        rest: text,
        references: Vec::new(),
        depth: 0,
        size: 0,
    };
    let tree = parser.sum()?;
    parser.skip();
    if !parser.rest.is_empty() {
        return Err(parser.unexpected("an operator (+ - * / // % **)"));
    }
    Ok(Expr {
        source: text.trim().into(),
        references: parser.references,
        tree,
    })
}

struct Parser<'a> {
    rest: &'a str,
    references: Vec<Reference>,
    depth: usize,
    size: usize,
}

impl Parser<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.rest.split_whitespace().next() {
            None => format!("{wanted} is missing at the end"),
            Some(word) => format!("expected {wanted}, found `{word}`"),
        }
    }

    fn binary(&mut self, op: Op, left: Tree, right: Tree) -> Result<Tree, String> {
        self.size += 1;
        if self.size > MAX_SIZE {
            return Err(format!("more than {MAX_SIZE} operators"));
        }
        Ok(Tree::Binary(op, Box::new(left), Box::new(right)))
    }

    fn sum(&mut self) -> Result<Tree, String> {
        let mut left = self.product()?;
        loop {
            let op = match () {
                () if self.take("+") => Op::Add,
                () if self.take("-") => Op::Subtract,
                () => return Ok(left),
            };
            let right = self.product()?;
            left = self.binary(op, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Tree, String> {
        let mut left = self.signed()?;
        loop {
            self.skip();
            let op = match () {
                () if self.rest.starts_with("**") => return Ok(left),
                () if self.take("*") => Op::Multiply,
                () if self.take("//") => Op::Floor,
                () if self.take("/") => Op::Divide,
                () if self.take("%") => Op::Modulo,
                () => return Ok(left),
            };
            let right = self.signed()?;
            left = self.binary(op, left, right)?;
        }
    }

    /// A sign binds weaker than a power: `-2 ** 2` is -4.
    fn signed(&mut self) -> Result<Tree, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        let tree = if self.take("-") {
            Tree::Negative(Box::new(self.signed()?))
        } else if self.take("+") {
            self.signed()?
        } else {
            let base = self.atom()?;
            if self.take("**") {
                let exponent = self.signed()?;
                self.binary(Op::Power, base, exponent)?
            } else {
                base
            }
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn atom(&mut self) -> Result<Tree, String> {
        if self.take("(") {
            let tree = self.sum()?;
            return match self.take(")") {
                true => Ok(tree),
                false => Err(self.unexpected("`)`")),
            };
        }
        let text = self.rest;
        let wanted = "a number or a reference";
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let end = number_end(text);
            let number = match super::plain::read(&text[..end]) {
                Ok(super::plain::Plain::Number(n)) => n,
                Ok(_) => return Err(self.unexpected(wanted)),
                Err((message, _)) => return Err(message),
            };
            self.rest = &text[end..];
            return Ok(Tree::Number(number));
        }
        let end = reference_end(text);
        let reference = reference::plain(&text[..end]).ok_or_else(|| self.unexpected(wanted))?;
        self.rest = &text[end..];
        self.references.push(reference);
        Ok(Tree::Ref(self.references.len() - 1))
    }
}

fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let sign_of_exponent = matches!(bytes[end], b'+' | b'-')
            && end > 0
            && matches!(bytes[end - 1], b'e' | b'E')
            && !text.starts_with("0x");
        let goes_on = bytes[end].is_ascii_alphanumeric() || matches!(bytes[end], b'.' | b'_');
        if !goes_on && !sign_of_exponent {
            break;
        }
        end += 1;
    }
    end
}

/// A name may hold `-`, so a minus sign after a name has a space before it.
fn reference_end(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']')))
        .unwrap_or(text.len())
}

impl Expr {
    /// What it refers to.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The expression with what is known put in; `lookup` says what each reference is.
    pub fn bind(
        &self,
        lookup: &mut dyn FnMut(&Reference) -> Result<Bound, Problem>,
    ) -> Result<Expr, Problem> {
        let mut bound = Expr {
            source: self.source.clone(),
            references: Vec::new(),
            tree: Tree::Ref(0),
        };
        let known = self
            .references
            .iter()
            .map(|reference| {
                Ok(match lookup(reference)? {
                    Bound::Number(n) => Tree::Number(n),
                    Bound::Later(reference) => {
                        bound.references.push(reference);
                        Tree::Ref(bound.references.len() - 1)
                    }
                    Bound::Expr(inner) => {
                        let shift = bound.references.len();
                        bound.references.extend(inner.references.iter().cloned());
                        inner.tree.shifted(shift)
                    }
                })
            })
            .collect::<Result<Vec<Tree>, Problem>>()?;
        bound.tree = self.tree.with(&known);
        Ok(bound)
    }

    /// Its value.
    pub fn value(
        &self,
        span: Span,
        lookup: &mut dyn FnMut(&Reference) -> Result<Number, Problem>,
    ) -> Result<Number, Problem> {
        let known = self
            .references
            .iter()
            .map(lookup)
            .collect::<Result<Vec<Number>, Problem>>()?;
        let value = evaluate(&self.tree, &known).and_then(Amount::number);
        value.map_err(|message| Problem::new(span, format!("`${{{self}}}`: {message}")))
    }
}

impl Tree {
    fn shifted(&self, by: usize) -> Tree {
        match self {
            Tree::Number(n) => Tree::Number(n.clone()),
            Tree::Ref(at) => Tree::Ref(at + by),
            Tree::Negative(inner) => Tree::Negative(Box::new(inner.shifted(by))),
            Tree::Binary(op, a, b) => {
                Tree::Binary(*op, Box::new(a.shifted(by)), Box::new(b.shifted(by)))
            }
        }
    }

    fn with(&self, known: &[Tree]) -> Tree {
        match self {
            Tree::Number(n) => Tree::Number(n.clone()),
            Tree::Ref(at) => known[*at].clone(),
            Tree::Negative(inner) => Tree::Negative(Box::new(inner.with(known))),
            Tree::Binary(op, a, b) => {
                Tree::Binary(*op, Box::new(a.with(known)), Box::new(b.with(known)))
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Amount {
    Whole(i128),
    Decimal(f64),
}

impl Amount {
    fn of(number: &Number) -> Amount {
        match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => Amount::Whole(i128::from(n)),
            (_, Some(n)) => Amount::Whole(i128::from(n)),
            _ => Amount::Decimal(number.as_f64().unwrap_or(0.0)),
        }
    }

    fn decimal(self) -> f64 {
        match self {
            Amount::Whole(n) => n as f64,
            Amount::Decimal(x) => x,
        }
    }

    fn number(self) -> Result<Number, String> {
        let range = || "the result is out of range".to_owned();
        match self {
            Amount::Whole(n) => i64::try_from(n)
                .map(Number::from)
                .or_else(|_| u64::try_from(n).map(Number::from))
                .map_err(|_| range()),
            Amount::Decimal(x) => Number::from_f64(x).ok_or_else(range),
        }
    }
}

fn evaluate(tree: &Tree, known: &[Number]) -> Result<Amount, String> {
    Ok(match tree {
        Tree::Number(n) => Amount::of(n),
        Tree::Ref(at) => Amount::of(&known[*at]),
        Tree::Negative(inner) => match evaluate(inner, known)? {
            Amount::Whole(n) => Amount::Whole(-n),
            Amount::Decimal(x) => Amount::Decimal(-x),
        },
        Tree::Binary(op, a, b) => apply(*op, evaluate(a, known)?, evaluate(b, known)?)?,
    })
}

fn apply(op: Op, a: Amount, b: Amount) -> Result<Amount, String> {
    use Amount::{Decimal, Whole};
    let by_zero = matches!(b, Whole(0)) || matches!(b, Decimal(x) if x == 0.0);
    if by_zero && matches!(op, Op::Divide | Op::Floor | Op::Modulo) {
        return Err("a division by 0".to_owned());
    }
    if op == Op::Power {
        return power(a, b);
    }
    if let (Whole(x), Whole(y)) = (a, b) {
        let exact = match op {
            Op::Add => x.checked_add(y),
            Op::Subtract => x.checked_sub(y),
            Op::Multiply => x.checked_mul(y),
            Op::Floor => Some(x.div_euclid(y) - i128::from(y < 0 && x.rem_euclid(y) != 0)),
            // The sign of the divisor, as in Python.
            Op::Modulo => Some(x.rem_euclid(y) + if y < 0 && x.rem_euclid(y) != 0 { y } else { 0 }),
            // Whole where it comes out even.
            Op::Divide if x % y == 0 => Some(x / y),
            Op::Divide | Op::Power => return Ok(Decimal(x as f64 / y as f64)),
        };
        return exact
            .filter(|n| n.unsigned_abs() < 1 << 96)
            .map(Whole)
            .ok_or_else(|| "the result is out of range".to_owned());
    }
    let (x, y) = (a.decimal(), b.decimal());
    Ok(Decimal(match op {
        Op::Add => x + y,
        Op::Subtract => x - y,
        Op::Multiply => x * y,
        Op::Divide | Op::Power => x / y,
        Op::Floor => (x / y).floor(),
        Op::Modulo => x - y * (x / y).floor(),
    }))
}

/// By repeated multiplication: the system's `pow` differs between machines in the last place.
fn power(base: Amount, exponent: Amount) -> Result<Amount, String> {
    let range = || "the result is out of range".to_owned();
    let Amount::Whole(n) = exponent else {
        return Err("the exponent of `**` must be a whole number".to_owned());
    };
    if n.abs() > MAX_EXPONENT {
        return Err(format!(
            "the exponent of `**` is {n}; the limit is {MAX_EXPONENT}"
        ));
    }
    if let Amount::Whole(x) = base
        && n >= 0
    {
        let power = u32::try_from(n).ok().and_then(|n| x.checked_pow(n));
        return power
            .filter(|n| n.unsigned_abs() < 1 << 96)
            .map(Amount::Whole)
            .ok_or_else(range);
    }
    let (mut square, mut left, mut power) = (base.decimal(), n.unsigned_abs(), 1.0);
    while left > 0 {
        if left % 2 == 1 {
            power *= square;
        }
        square *= square;
        left /= 2;
    }
    let power = if n < 0 { 1.0 / power } else { power };
    match power.is_finite() {
        true => Ok(Amount::Decimal(power)),
        false => Err(range()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let span = Span::start_of(0);
        let number = |reference: &Reference| match reference.head() {
            "seed" => Ok(Number::from(7)),
            "a-b" => Ok(Number::from(2)),
            "lr" => Number::from_f64(0.1).ok_or_else(|| Problem::new(span, "")),
            _ => Err(Problem::new(span, "unknown")),
        };
        match parse(text) {
            Err(message) => message,
            Ok(expr) => match expr.value(span, &mut |r| number(r)) {
                Ok(number) => number.to_string(),
                Err(problem) => problem.message,
            },
        }
    }

    #[test]
    fn case_30_arithmetic_is_exact_and_its_rules_are_the_usual_ones() {
        for (text, result) in [
            ("matrix.seed + 100", "107"),
            ("matrix.seed+100", "107"),
            ("2 + 3 * 4 - 1", "13"),
            ("(2 + 3) * 4", "20"),
            ("7 / 2", "3.5"),
            ("8 / 2", "4"),
            ("7 // 2", "3"),
            ("-7 // 2", "-4"),
            ("7 // -2", "-4"),
            ("-7 % 3", "2"),
            ("7 % -3", "-2"),
            ("6 % -3", "0"),
            ("2 ** 10", "1024"),
            ("2 ** 3 ** 2", "512"),
            ("-2 ** 2", "-4"),
            ("2 ** -1", "0.5"),
            ("10 ** -3", "0.001"),
            ("vars.lr * 2", "0.2"),
            ("vars.a-b - 1", "1"),
            ("9223372036854775807 + 1", "9223372036854775808"),
            ("1e3 + 1", "1001.0"),
            ("0x10 + 1", "17"),
            ("1.5 // 1", "1.0"),
            ("- - 3", "3"),
        ] {
            assert_eq!(value(text), result, "{text}");
        }
    }

    #[test]
    fn case_30_arithmetic_says_what_is_wrong() {
        for (text, said) in [
            ("1 / 0", "a division by 0"),
            ("1 % 0.0", "a division by 0"),
            ("18446744073709551615 + 1", "out of range"),
            ("2 ** 200", "out of range"),
            ("2 ** 0.5", "a whole number"),
            ("2 ** 100000", "the limit is"),
            ("matrix.seed +", "missing at the end"),
            ("(1 + 2", "`)`"),
            ("1 2", "found `2`"),
            ("matrix.seed ++ x", "found `x`"),
            ("1 + matrix", "found `matrix`"),
            ("1_000 + 1", "found `1_000`"),
        ] {
            assert!(value(text).contains(said), "{text}: {}", value(text));
        }
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&"1+".repeat(100_000)).is_err());
    }

    #[test]
    fn what_means_to_be_arithmetic() {
        for text in [
            "matrix.seed + 1",
            "(vars.a)",
            "-vars.x",
            "3 * vars.x",
            "vars.x y",
        ] {
            assert!(is_meant(text), "{text}");
        }
        for text in ["HOME", "x:-1", "", "vars", "need.x", "#x", "path%.txt"] {
            assert!(!is_meant(text), "{text}");
        }
    }
}
