//! The line editor of `cabinet run`: history, arrow keys, and pasted texts that keep their lines.

use std::ffi::{c_char, c_int};
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use crate::{Failure, guard, text_in, text_out};

pub struct LineEditor {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

fn open(history: Option<PathBuf>) -> Result<LineEditor, ReadlineError> {
    let config = Config::builder().bracketed_paste(true).max_history_size(1000)?.build();
    let mut editor = DefaultEditor::with_config(config)?;
    if let Some(path) = history.as_ref().filter(|path| path.exists()) {
        editor.load_history(path)?;
    }
    Ok(LineEditor { editor, history })
}

/// The next line, remembered at once, so that a crash loses nothing. A history that cannot be written is kept in
/// memory from then on: what was typed matters more.
fn read(editor: &mut LineEditor, prompt: &str) -> Result<String, ReadlineError> {
    let line = editor.editor.readline(prompt)?;
    let is_new = !line.trim().is_empty() && editor.editor.add_history_entry(line.as_str())?;
    editor.history = editor.history.take().filter(|path| !is_new || editor.editor.append_history(path).is_ok());
    Ok(line)
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_editor_open(
    editor: *mut *mut LineEditor,
    history_path: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        let path = match history_path.is_null() {
            true => None,
            false => Some(PathBuf::from(text_in(history_path, "the history's path")?)),
        };
        let opened = open(path).map_err(|e| Failure::io(format!("line editor: {e}")))?;
        *editor = Box::into_raw(Box::new(opened));
        Ok(0)
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_editor_read(
    editor: *mut LineEditor,
    prompt: *const c_char,
    text: *mut *mut c_char,
    length: *mut usize,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let body = || unsafe {
        match read(&mut *editor, text_in(prompt, "the prompt")?) {
            Ok(line) => Ok({
                text_out(line, text, length);
                1
            }),
            Err(ReadlineError::Eof) => Ok(0),
            Err(ReadlineError::Interrupted) => Ok(2),
            Err(e) => Err(Failure::io(format!("line editor: {e}"))),
        }
    };
    unsafe { guard(error, error_size, body) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_editor_close(editor: *mut LineEditor) {
    if !editor.is_null() {
        let close = || drop(unsafe { Box::from_raw(editor) });
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
