//! What an answer must be: a JSON schema or a grammar, as the tokens that may come next (llguidance).
//!
//! Schemas come from strangers. llguidance counts what compiling and masking cost and refuses what exceeds `limits`;
//! only local references are followed; white space in JSON is one space behind a comma or colon, so that no model can
//! spend its answer on it.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::{Failure, guard};

const SOURCE_BYTES: usize = 512 << 10;
const MAX_TOKEN_BYTES: usize = 255;

pub struct Vocabulary {
    factory: ParserFactory,
}

pub struct Constraint {
    matcher: Matcher,
}

/// A token as the C side has it. Special ones cannot be spelled by text.
#[repr(C)]
pub struct Piece {
    bytes: *const u8,
    length: usize,
    is_special: bool,
}

fn limits() -> ParserLimits {
    ParserLimits {
        max_grammar_size: 200_000,
        max_lexer_states: 50_000, // about 2 kB each
        precompute_large_lexemes: false,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

fn open_vocabulary(words: Vec<Vec<u8>>, ends: &[u32]) -> Result<Vocabulary, Failure> {
    let failure = |e: anyhow::Error| Failure::refused(format!("{e:#}"));
    let Some(first) = ends.first() else {
        return Err(Failure::refused("the vocabulary has no token that ends an answer"));
    };
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, *first), &words).with_eos_tokens(ends);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let capabilities = InferenceCapabilities::default();
    let mut factory = ParserFactory::new(&environment, capabilities, &slices).map_err(failure)?;
    *factory.limits_mut() = limits();
    factory.quiet();
    Ok(Vocabulary { factory })
}

fn grammar(kind: c_int, source: &str) -> Result<TopLevelGrammar, Failure> {
    let mut schema = match kind {
        0 => json!({"type": "object"}),
        1 => serde_json::from_str(source).map_err(|e| Failure::refused(format!("the schema is not JSON: {e}")))?,
        2 => return Ok(TopLevelGrammar::from_lark(source.to_string())),
        _ => return Ok(TopLevelGrammar::from_regex(source)),
    };
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    let Value::Object(fields) = &mut schema else {
        return Err(Failure::refused("the schema is no JSON object"));
    };
    let spaces = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
    fields.insert("x-guidance".into(), spaces);
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn open_constraint(vocabulary: &Vocabulary, kind: c_int, source: &str) -> Result<Constraint, Failure> {
    if source.len() > SOURCE_BYTES {
        return Err(Failure::refused(format!("{} bytes; {SOURCE_BYTES} are the most", source.len())));
    }
    let parser = vocabulary.factory.create_parser(grammar(kind, source)?);
    let matcher = Matcher::new(parser);
    match matcher.get_error() {
        Some(error) => Err(Failure::refused(error)),
        None => Ok(Constraint { matcher }),
    }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_vocabulary_open(
    vocabulary: *mut *mut Vocabulary,
    pieces: *const Piece,
    n_pieces: usize,
    ends: *const u32,
    n_ends: usize,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        let pieces = std::slice::from_raw_parts(pieces, n_pieces);
        let word = |piece: &Piece| {
            let bytes = std::slice::from_raw_parts(piece.bytes, piece.length);
            let kept = &bytes[..bytes.len().min(MAX_TOKEN_BYTES)];
            if piece.is_special { [&[TokTrie::SPECIAL_TOKEN_MARKER], kept].concat() } else { kept.to_vec() }
        };
        let words = pieces.iter().map(word).collect();
        let opened = open_vocabulary(words, std::slice::from_raw_parts(ends, n_ends))?;
        *vocabulary = Box::into_raw(Box::new(opened));
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_vocabulary_close(vocabulary: *mut Vocabulary) {
    if !vocabulary.is_null() {
        drop(unsafe { Box::from_raw(vocabulary) });
    }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_open(
    constraint: *mut *mut Constraint,
    vocabulary: *const Vocabulary,
    kind: c_int,
    source: *const c_char,
    length: usize,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        let source = std::slice::from_raw_parts(source.cast(), length);
        let source = str::from_utf8(source).map_err(|e| Failure::refused(format!("not UTF-8: {e}")))?;
        *constraint = Box::into_raw(Box::new(open_constraint(&*vocabulary, kind, source)?));
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_fork(
    fork: *mut *mut Constraint,
    constraint: *const Constraint,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        *fork = Box::into_raw(Box::new(Constraint { matcher: (*constraint).matcher.deep_clone() }));
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_mask(
    constraint: *mut Constraint,
    mask: *mut u32,
    n_words: usize,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        let allowed = (*constraint).matcher.compute_mask_or_eos().map_err(|e| Failure::refused(format!("{e:#}")))?;
        let mask = std::slice::from_raw_parts_mut(mask, n_words);
        let words = allowed.as_slice();
        let n = words.len().min(n_words);
        mask[..n].copy_from_slice(&words[..n]);
        mask[n..].fill(0);
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_accept(
    constraint: *mut Constraint,
    token: u32,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        (*constraint).matcher.consume_token(token).map_err(|e| Failure::refused(format!("{e:#}")))?;
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_is_finished(constraint: *const Constraint) -> bool {
    unsafe { (*constraint).matcher.is_stopped() }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_close(constraint: *mut Constraint) {
    if !constraint.is_null() {
        drop(unsafe { Box::from_raw(constraint) });
    }
}
