//! Runs work for a stranger on a thread of its own, and leaves that thread behind when it asks for too much.
//!
//! minijinja's fuel bounds instructions and the bytes that they make, but not what one instruction does to a nested
//! value: comparing or printing `x` after forty times `x = [x, x]` takes 2^40 steps, and a list inside itself ends
//! only with the stack. All of these allocate at every step, so the allocator is where they can be stopped. It must
//! not unwind and it must not fail (Rust would abort the process), but it need not return: a thread beyond its
//! bounds reports, and sleeps for ever. What it held stays allocated: a template is not run again
//! (`Template::spent`), and constraints come to an end after a few (`constraint::STUCK_MOST`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{Builder, Thread, current, park};

use crate::Failure;

/// Recursion that allocates nothing gets a stack that it cannot exhaust: compiling an expression, whose length is
/// bounded, and dropping nested values, which takes less stack for a level than the level took memory. The stack is
/// address space; only what is touched becomes memory.
const STACK_BYTES: usize = 112 << 20;
const STACK_PER_BYTE: usize = 3;

/// Time is counted, not measured, so that the same template passes on any machine: 1 for an allocation, and 1 more
/// for each so many bytes of it.
const WORK_BYTES: usize = 64;

const RUNNING: u8 = 0;
const DONE: u8 = 1;
const REASONS: [(u8, &str); 3] = [(2, "more memory"), (3, "more time"), (4, "deeper nesting")];

/// What `bounded` lets its work have.
pub(crate) struct Bounds {
    /// Whose work it is, in a message and as the thread's name.
    pub name: &'static str,
    pub bytes: usize,
    pub work: usize,
    /// How deep recursion may go that allocates as it descends, in bytes of stack.
    pub recursion_bytes: usize,
}

struct Signal {
    state: AtomicU8,
    caller: Thread,
}

struct Meter {
    signal: Cell<*const Signal>, // null outside of bounded()
    bytes_left: Cell<usize>,
    work_left: Cell<usize>,
    stack_floor: Cell<usize>,
}

thread_local! {
    static METER: Meter = const {
        Meter { signal: Cell::new(null()), bytes_left: Cell::new(0), work_left: Cell::new(0), stack_floor: Cell::new(0) }
    };
}

fn stack_address() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here) as usize
}

impl Meter {
    fn charge(&self, bytes: usize) {
        if self.signal.get().is_null() {
            return;
        }
        let exceeded = match (
            self.bytes_left.get().checked_sub(bytes),
            self.work_left.get().checked_sub(1 + bytes / WORK_BYTES),
        ) {
            (None, _) => 2,
            (_, None) => 3,
            _ if stack_address() < self.stack_floor.get() => 4,
            (Some(bytes_left), Some(work_left)) => {
                self.bytes_left.set(bytes_left);
                self.work_left.set(work_left);
                return;
            }
        };
        let signal = unsafe { &*self.signal.replace(null()) }; // this thread's own Arc keeps it alive
        signal.state.store(exceeded, Ordering::Release);
        signal.caller.unpark();
        loop {
            park();
        }
    }

    fn refund(&self, bytes: usize) {
        self.bytes_left.set(self.bytes_left.get().saturating_add(bytes));
    }
}

struct Metered;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        METER.with(|meter| meter.charge(layout.size()));
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        METER.with(|meter| meter.charge(layout.size()));
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        METER.with(|meter| {
            meter.charge(new_size);
            meter.refund(layout.size());
        });
        unsafe { System.realloc(old, layout, new_size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        METER.with(|meter| meter.refund(layout.size()));
        unsafe { System.dealloc(old, layout) }
    }
}

/// What `work` returns, or a failure that says which bound it broke; then `spent` is set.
pub(crate) fn bounded<T: Send + 'static>(
    bounds: Bounds,
    spent: &mut bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let signal = Arc::new(Signal { state: AtomicU8::new(RUNNING), caller: current() });
    let shared = signal.clone();
    let body = move || {
        METER.with(|meter| {
            meter.bytes_left.set(bounds.bytes);
            meter.work_left.set(bounds.work);
            meter.stack_floor.set(stack_address().saturating_sub(bounds.recursion_bytes));
            meter.signal.set(Arc::as_ptr(&shared));
        });
        let result = catch_unwind(AssertUnwindSafe(work));
        METER.with(|meter| meter.signal.set(null()));
        shared.state.store(DONE, Ordering::Release);
        shared.caller.unpark();
        result
    };
    let stack_bytes = bounds.recursion_bytes + STACK_BYTES + STACK_PER_BYTE * bounds.bytes;
    let thread = Builder::new().name(bounds.name.into()).stack_size(stack_bytes).spawn(body);
    let thread = thread.map_err(|e| Failure::io(format!("no thread: {e}")))?;
    loop {
        match signal.state.load(Ordering::Acquire) {
            RUNNING => park(),
            DONE => match thread.join() {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(payload)) | Err(payload) => resume_unwind(payload),
            },
            reason => {
                *spent = true;
                let (_, text) = REASONS.into_iter().find(|known| known.0 == reason).unwrap_or((0, "more"));
                return Err(Failure::refused(format!("the {} asks for {text} than it may have", bounds.name)));
            }
        }
    }
}
