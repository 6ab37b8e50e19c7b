//! Where a template can tell Python from Rust: methods of values, and how values print.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

/// Python methods on texts, lists and maps: minijinja's own collection, behind a bound for the two whose result
/// can be far larger than what went in.
pub fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let argument = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or("");
    if let Some(text) = value.as_str() {
        match name {
            "replace" => {
                let n_bytes = text.matches(argument(0)).count().saturating_mul(argument(1).len());
                state.consume_fuel(n_bytes as u64 / 64)?;
            }
            "join" => {
                for item in args.first().map(Value::try_iter).transpose()?.into_iter().flatten() {
                    let n_bytes = text.len() + item.as_str().map_or(0, str::len);
                    state.consume_fuel(1 + n_bytes as u64 / 64)?;
                }
            }
            "removeprefix" => return Ok(text.strip_prefix(argument(0)).unwrap_or(text).into()),
            "removesuffix" => return Ok(text.strip_suffix(argument(0)).unwrap_or(text).into()),
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Jinja2's test: unlike in minijinja, `none` is not iterable.
pub fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Jinja2's test: what has a length and can be indexed, texts and maps too.
pub fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
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
