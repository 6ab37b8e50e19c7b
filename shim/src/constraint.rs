//! What an answer must be: a JSON schema or a grammar, as the tokens that may come next (llguidance).
//!
//! Schemas come from strangers. `schema_size` refuses those whose work llguidance does not count, `limits` says what
//! it may count up to, and compiling runs within `bounded`: with a stack for as many references as a source can hold,
//! and stopped where all counting failed. Only local references are followed; white space in JSON is one space behind
//! a comma or colon, so that no model can spend its answer on it. Masks are bounded by `limits` alone.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Deserializer, Value, json};

use crate::bounds::{Bounds, bounded};
use crate::{Failure, guard, schema_size};

const SOURCE_BYTES: usize = 256 << 10;
const MAX_TOKEN_BYTES: usize = 255;
const COMPILING: Bounds = Bounds {
    name: "schema or grammar",
    bytes: 128 << 20,
    work: 40_000_000,
    recursion_bytes: 192 << 20, // a chain of definitions takes 200 bytes of stack for each byte of source
};
/// Each that broke `COMPILING` left a thread behind with all that it held. After so many, schemas that merge others
/// are no longer taken (no other kind is known that gets there), and after twice as many none is.
const STUCK_MOST: usize = 4;
static STUCK: AtomicUsize = AtomicUsize::new(0);

pub struct Vocabulary {
    factory: Arc<ParserFactory>,
}

pub struct Constraint {
    matcher: Matcher,
    ends: Vec<TokenId>,
    n_tokens: usize,
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
        max_lexer_states: 20_000, // up to 5 kB each
        precompute_large_lexemes: false,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// llguidance's first lines: what follows is its state, or where it panicked.
fn refused(error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let text = text.split("\n<").next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    Failure::refused(words.join(" ").replace("panic: ", "llguidance stumbled: "))
}

fn open_vocabulary(words: Vec<Vec<u8>>, ends: &[u32]) -> Result<Vocabulary, Failure> {
    let Some(first) = ends.first() else {
        return Err(Failure::refused("the vocabulary has no token that ends an answer"));
    };
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, *first), &words).with_eos_tokens(ends);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let capabilities = InferenceCapabilities::default();
    let mut factory = ParserFactory::new(&environment, capabilities, &slices).map_err(|e| refused(&e))?;
    *factory.limits_mut() = limits();
    factory.quiet();
    Ok(Vocabulary { factory: Arc::new(factory) })
}

fn check(schemas: &[Value]) -> Result<(), Failure> {
    let merges = schema_size::check(schemas)?;
    if STUCK.load(Ordering::Relaxed) >= if merges { STUCK_MOST } else { 2 * STUCK_MOST } {
        return Err(Failure::refused(
            "after several that asked for too much, none like it is taken until a restart",
        ));
    }
    Ok(())
}

fn schema_grammar(mut schema: Value) -> Result<TopLevelGrammar, Failure> {
    check(std::slice::from_ref(&schema))?;
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

/// The schemas in a Lark grammar. A text that looks like one counts too, which does no harm.
fn schemas_of(lark: &str) -> Vec<Value> {
    let behind =
        |(place, mark): (usize, &str)| Deserializer::from_str(&lark[place + mark.len()..]).into_iter().next();
    lark.match_indices("%json").filter_map(behind).filter_map(Result::ok).collect()
}

fn grammar(kind: c_int, source: &str) -> Result<TopLevelGrammar, Failure> {
    match kind {
        0 => schema_grammar(json!({"type": "object"})),
        1 => schema_grammar(
            serde_json::from_str(source).map_err(|e| Failure::refused(format!("the schema is not JSON: {e}")))?,
        ),
        2 => {
            check(&schemas_of(source))?;
            Ok(TopLevelGrammar::from_lark(source.to_string()))
        }
        _ => Ok(TopLevelGrammar::from_regex(source)),
    }
}

impl Constraint {
    /// The first mask is made here: it shows whether any text fits.
    fn open(factory: &ParserFactory, kind: c_int, source: &str) -> Result<Constraint, Failure> {
        let parser = factory.create_parser(grammar(kind, source)?).map_err(|e| refused(&e))?;
        let trie = factory.tok_env().tok_trie();
        let (ends, n_tokens) = (trie.eos_tokens().to_vec(), trie.vocab_size());
        let mut constraint = Constraint { matcher: Matcher::new(Ok(parser)), ends, n_tokens };
        constraint.mask(&mut vec![0; n_tokens.div_ceil(32)])?;
        Ok(constraint)
    }

    fn mask(&mut self, mask: &mut [u32]) -> Result<(), Failure> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(|e| match e.to_string() {
            text if text.starts_with("NoExtension") => Failure::refused("no text fits"),
            _ => refused(&e),
        })?;
        for (i, word) in mask.iter_mut().enumerate() {
            *word = allowed.as_slice().get(i).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// A token that is refused changes nothing.
    fn accept(&mut self, token: TokenId) -> Result<(), Failure> {
        let fits = if self.is_finished() {
            self.ends.contains(&token)
        } else {
            let is_known = (token as usize) < self.n_tokens;
            is_known && self.matcher.try_consume_tokens(&[token]).map_err(|e| refused(&e))? == 1
        };
        if fits { Ok(()) } else { Err(Failure::refused(format!("token {token} may not come next"))) }
    }

    fn is_finished(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

fn open_constraint(vocabulary: &Vocabulary, kind: c_int, source: &str) -> Result<Constraint, Failure> {
    if source.len() > SOURCE_BYTES {
        return Err(Failure::refused(format!("{} bytes; {SOURCE_BYTES} are the most", source.len())));
    }
    let (factory, source) = (vocabulary.factory.clone(), source.to_string());
    let mut stuck = false;
    let opened = bounded(COMPILING, &mut stuck, move || Constraint::open(&factory, kind, &source));
    STUCK.fetch_add(usize::from(stuck), Ordering::Relaxed);
    opened?
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
            let is_marked = bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER);
            match bytes.len() {
                // an empty word never comes: nor does a nameless special token, a text that looks like a special
                // token, or one too long for the tree
                0 => Vec::new(),
                n if piece.is_special => {
                    [&[TokTrie::SPECIAL_TOKEN_MARKER], &bytes[..n.min(MAX_TOKEN_BYTES)]].concat()
                }
                n if is_marked || n > MAX_TOKEN_BYTES => Vec::new(),
                _ => bytes.to_vec(),
            }
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
        let Constraint { matcher, ends, n_tokens } = &*constraint;
        let copy = Constraint { matcher: matcher.deep_clone(), ends: ends.clone(), n_tokens: *n_tokens };
        *fork = Box::into_raw(Box::new(copy));
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
        (*constraint).mask(std::slice::from_raw_parts_mut(mask, n_words))?;
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
        (*constraint).accept(token)?;
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_is_finished(constraint: *const Constraint) -> bool {
    unsafe { (*constraint).is_finished() }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_constraint_close(constraint: *mut Constraint) {
    if !constraint.is_null() {
        drop(unsafe { Box::from_raw(constraint) });
    }
}
