//! What the README says of the commands is what the code says.

use std::{env, fs, path::Path};

const BEGIN: &str = "<!-- commands: kept equal to the code by a test -->";
const END: &str = "<!-- end of commands -->";

/// With `UPDATE_README` set, writes the table instead of checking it.
#[test]
fn the_table_of_commands_in_the_readme_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let table = tern::bot::command_table();
    let expected = format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim());
    if env::var_os("UPDATE_README").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(readme == expected, "run `UPDATE_README=1 cargo test --test readme`:\n{table}");
    }
}
