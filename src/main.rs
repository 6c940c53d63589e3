//! The program: parse, dispatch, print the error chain, exit code.

fn main() -> std::process::ExitCode {
    #[cfg(panic = "unwind")]
    abort_on_panic();
    rbox::cmd::main()
}

/// As the release build does: a forked child that unwound would undo its parent's work.
#[cfg(panic = "unwind")]
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}
