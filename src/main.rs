//! `demeanor`: see `demeanor --help`.

fn main() -> std::process::ExitCode {
    demeanor::main()
}
