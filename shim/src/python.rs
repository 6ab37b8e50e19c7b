//! Where a template can tell Python from Rust: methods of values, tests, and how values print.

use minijinja::value::{Kwargs, StringInput, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter, filters};

use crate::text_methods;

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

/// Python's methods of texts, lists and maps that do not change them: `text_methods`, and behind them minijinja's own
/// collection.
pub fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = text_methods::call(state, text, name, args)? {
            return Ok(result);
        }
        charge(state, text, name, args)?;
    }
    if matches!(name, "count" | "index") {
        state.consume_fuel(value.len().unwrap_or(0) as u64)?;
    }
    match (name, value.kind()) {
        ("copy", ValueKind::Map | ValueKind::Seq) => {
            let () = from_args(args)?;
            Ok(value.clone()) // values never change
        }
        ("index", ValueKind::Seq) => {
            let (what,): (&Value,) = from_args(args)?;
            let at = value.try_iter()?.position(|item| item == *what);
            at.map(Value::from).ok_or_else(|| refused(format!("{what} is not in the list")))
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// Fuel for the two methods whose result can be far larger than what went in, before it exists.
fn charge(state: &State, text: &str, name: &str, args: &[Value]) -> Result<(), Error> {
    let argument = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or("");
    match name {
        "replace" => {
            let n_bytes = text.matches(argument(0)).count().saturating_mul(argument(1).len());
            state.consume_fuel(n_bytes as u64 / 64)
        }
        "join" => {
            for item in args.first().map(Value::try_iter).transpose()?.into_iter().flatten() {
                let item = item.as_str().ok_or_else(|| refused("join takes texts only"))?;
                state.consume_fuel(1 + (text.len() + item.len()) as u64 / 64)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Jinja2's test: unlike in minijinja, `none` is not iterable.
pub fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Jinja2's test: what has a length and can be indexed; texts, maps and what is undefined, too.
pub fn is_sequence(value: &Value) -> bool {
    value.is_undefined() || matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

/// Jinja2's test, which minijinja lacks: functions and macros are its only plain objects.
pub fn is_callable(value: &Value) -> bool {
    value.kind() == ValueKind::Plain
}

/// Jinja2's filter, in time that does not grow with the number of `chars`.
pub fn trim(text: StringInput<'_>, chars: Option<&str>) -> Value {
    text_methods::stripped(text.as_str(), chars, true, true).into()
}

/// Jinja2's filter: what is no number becomes the default, 0.
pub fn int(
    state: &State,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).or(Some(0.into()));
    filters::int(state, value, default, base, options)
}

/// Jinja2's filter: what is no number becomes the default, 0.0.
pub fn float(state: &State, value: &Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).or(Some(0.0.into()));
    filters::float(state, value, default, options)
}

/// Prints `{{ value }}`.
pub fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.kind() == ValueKind::Number && !value.is_integer() {
        return Ok(out.write_str(&float_text(f64::try_from(value.clone())?, ["nan", "inf"]))?);
    }
    escape_formatter(out, state, value)
}

/// Python's `repr` of a float; `special` are its names for NaN and infinity.
pub fn float_text(value: f64, special: [&str; 2]) -> String {
    if value.is_nan() {
        return special[0].into();
    }
    if value.is_infinite() {
        return format!("{}{}", if value < 0.0 { "-" } else { "" }, special[1]);
    }
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    format!("{digits}e{sign}{exponent:0>2}")
}
