//! Chat templates, rendered as Hugging Face's `apply_chat_template` renders them, within bounds: a template comes
//! out of a stranger's model file and may loop for ever, recurse, or multiply strings.

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use crate::bounds::{Bounds, bounded};
use crate::{Failure, clock, generation, guard, python, text_in, text_out, to_json};

/// The engine charges 1 fuel an instruction, and 1 for each 64 bytes that it makes or reads. What a template may
/// spend grows with the conversation, so that a long one passes and a short one cannot occupy a core for long.
const FUEL: usize = 1_000_000;
const FUEL_PER_MESSAGE: usize = 10_000;
const FUEL_PER_BYTE: usize = 16;
const WORK_PER_FUEL: usize = 4;
const MEMORY_BYTES: usize = 64 << 20;
const RECURSION_BYTES: usize = 16 << 20; // ten times what real templates need
const MEMORY_PER_BYTE: usize = 64;
const SOURCE_BYTES: usize = 256 << 10;
const NAME: &str = "chat template";

pub struct Template {
    environment: Environment<'static>,
    knows_tools: bool,
    spent: AtomicBool, // it went out of bounds once, which cost a thread: it does not run again
}

fn one_line(error: &Error) -> String {
    let mut line = match error.detail() {
        _ if error.kind() == ErrorKind::OutOfFuel => "out of fuel: it loops for too long or makes too much".into(),
        Some(detail) if error.kind() == ErrorKind::InvalidOperation => detail.to_string(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if let Some(number) = error.line() {
        line += &format!(" (line {number})");
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{line}: {source}"),
        None => line,
    }
}

fn raise_exception(text: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, text))
}

fn compile(source: &str, bos: &str, eos: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(200);
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(python::print);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", to_json::to_json);
    environment.add_filter("trim", python::trim);
    environment.add_filter("int", python::int);
    environment.add_filter("float", python::float);
    environment.remove_filter("pprint"); // takes cubic time on nested values
    environment.remove_global("debug");
    environment.add_test("callable", python::is_callable);
    environment.add_test("iterable", python::is_iterable);
    environment.add_test("sequence", python::is_sequence);
    environment.add_global("bos_token", bos);
    environment.add_global("eos_token", eos);
    environment.add_global("tools", ());
    environment.add_global("documents", ());
    environment.add_template_owned(NAME, generation::without_tags(source))?;
    Ok(environment)
}

fn bounds(n_bytes: usize, fuel: usize) -> Bounds {
    Bounds {
        name: "template",
        bytes: MEMORY_BYTES + MEMORY_PER_BYTE * n_bytes,
        work: WORK_PER_FUEL * fuel,
        recursion_bytes: RECURSION_BYTES,
    }
}

fn open(source: &str, bos: &str, eos: &str) -> Result<Template, Failure> {
    if source.len() > SOURCE_BYTES {
        return Err(Failure::refused(format!("a source of {} bytes; {SOURCE_BYTES} are the most", source.len())));
    }
    let (source, bos, eos) = (source.to_string(), bos.to_string(), eos.to_string());
    let work = move || compile(&source, &bos, &eos).map_err(|e| Failure::refused(one_line(&e)));
    let environment = bounded(bounds(0, FUEL), &mut false, work)??;
    let knows_tools =
        environment.get_template(NAME).is_ok_and(|t| t.undeclared_variables(false).contains("tools"));
    Ok(Template { environment, knows_tools, spent: AtomicBool::new(false) })
}

fn json_value(text: &str, what: &str) -> Result<serde_json::Value, Failure> {
    serde_json::from_str(text).map_err(|e| Failure::refused(format!("{what} are not JSON: {e}")))
}

fn render(
    template: &Template,
    messages: &str,
    tools: Option<&str>,
    add_generation_prompt: bool,
    now: i64,
) -> Result<String, Failure> {
    if template.spent.load(Ordering::Relaxed) {
        return Err(Failure::refused("the template asked for too much before, and is not run again"));
    }
    let n_bytes = messages.len() + tools.map_or(0, str::len);
    let messages = json_value(messages, "the messages")?;
    let tools = tools.map(|text| json_value(text, "the tools")).transpose()?;
    let n_messages = messages.as_array().map_or(0, Vec::len);
    let fuel = FUEL + FUEL_PER_MESSAGE * n_messages + FUEL_PER_BYTE * n_bytes;
    let mut environment = template.environment.clone();
    environment.set_fuel(Some(fuel as u64));
    environment.add_function("strftime_now", move |format: String| clock::strftime(now, format));
    let work = move || {
        let template = environment.get_template(NAME);
        let messages = Value::from(Serde(messages));
        let tools = Value::from(Serde(tools));
        let context = context! { messages, tools, add_generation_prompt };
        template.and_then(|template| template.render(context)).map_err(|e| Failure::refused(one_line(&e)))
    };
    let mut spent = false;
    let rendered = bounded(bounds(n_bytes, fuel), &mut spent, work);
    template.spent.fetch_or(spent, Ordering::Relaxed);
    rendered?
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_template_open(
    chat: *mut *mut Template,
    source: *const c_char,
    length: usize,
    bos: *const c_char,
    eos: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        let source = std::slice::from_raw_parts(source.cast(), length);
        let source = str::from_utf8(source).map_err(|e| Failure::refused(format!("not UTF-8: {e}")))?;
        let (bos, eos) = (text_in(bos, "the bos token")?, text_in(eos, "the eos token")?);
        *chat = Box::into_raw(Box::new(open(source, bos, eos)?));
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_template_render(
    chat: *const Template,
    messages: *const c_char,
    tools: *const c_char,
    add_generation_prompt: bool,
    now: i64,
    text: *mut *mut c_char,
    length: *mut usize,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        let messages = text_in(messages, "the text of the messages")?;
        let tools = if tools.is_null() { None } else { Some(text_in(tools, "the text of the tools")?) };
        text_out(render(&*chat, messages, tools, add_generation_prompt, now)?, text, length);
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_template_knows_tools(chat: *const Template) -> bool {
    unsafe { (*chat).knows_tools }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_template_close(chat: *mut Template) {
    if !chat.is_null() {
        let close = || drop(unsafe { Box::from_raw(chat) });
        unsafe {
            guard(std::ptr::null_mut(), 0, || {
                Ok({
                    close();
                    0
                })
            })
        };
    }
}
