//! The program: see `tidegate-sim --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_sim::cli::main()
}
