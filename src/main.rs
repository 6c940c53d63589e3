//! The program: parse, dispatch, print the error chain, exit code.

fn main() -> std::process::ExitCode {
    rbox::cmd::main()
}
