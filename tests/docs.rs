//! What the guide for admins shows is what Tern takes, says and counts.

use std::{collections::BTreeSet, fs, path::Path};

use tern::config::Config;

const GUIDE: &str = include_str!("../docs/admin.md");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/registration.example.yaml");

/// The content of the code blocks in this language, without their indentation.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = GUIDE.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start() == format!("```{language}") {
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let block = block.map(|line| line.get(indent..).unwrap_or_default());
            blocks.push(block.collect::<Vec<_>>().join("\n"));
        }
    }
    blocks
}

#[test]
fn the_configuration_in_the_guide_loads() {
    let blocks = blocks("yaml");
    let config = blocks.iter().find(|block| block.starts_with("# config.yaml")).unwrap();
    let registration =
        fs::read_to_string(EXAMPLE).unwrap().replace("example\\.org", "old\\.example");
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("config.yaml"), folder.path().join("registration.yaml"));
    fs::write(&copy, registration).unwrap();
    let config = config.replace("/etc/tern/registration.yaml", copy.to_str().unwrap());
    fs::write(&path, config).unwrap();
    let config = Config::load(&path, []).unwrap();
    let covers = |user: &str| config.appservices.covering(user.try_into().unwrap()).is_some();
    assert!(covers("@anyone:old.example") && !covers("@anyone:new.example"));
    assert_eq!(config.bot.user_id, "@tern:old.example");
}

#[test]
fn all_yaml_in_the_guide_is_yaml() {
    let blocks = blocks("yaml");
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        serde_yaml::from_str::<serde_yaml::Mapping>(&block).unwrap();
    }
}

#[test]
fn what_the_guide_says_of_check_and_metrics_is_in_the_code() {
    let source = |path: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path);
        // Sentences go over several lines.
        fs::read_to_string(path)
            .unwrap()
            .replace("\\\n", "")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let check = [source("check/registrations.rs"), source("bot/error.rs")].concat();
    let (_, table) = GUIDE.split_once("| it says |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let said = table.lines().skip(2).filter_map(|line| line.split('|').nth(1));
    let said: Vec<_> = said.map(str::trim).collect();
    assert!(said.len() > 5);
    for said in said {
        assert!(check.contains(said), "{said}");
    }
    let metrics = |text: &str| -> BTreeSet<String> {
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        words.filter(|word| word.starts_with("tern_")).map(ToOwned::to_owned).collect()
    };
    assert_eq!(metrics(GUIDE), metrics(&source("measure.rs")));
}

#[test]
fn the_tests_that_the_page_on_security_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    for folder in ["src", "tests"] {
        read_below(&root.join(folder), &mut source).unwrap();
    }
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let tables = page.lines().filter(|line| line.starts_with('|'));
    let named: Vec<_> = tables.filter_map(|row| row.split('|').nth(3)).collect();
    let named = named.iter().flat_map(|tests| tests.split('`').skip(1).step_by(2));
    let mut count = 0;
    for test in named {
        assert!(source.contains(&format!("fn {test}(")), "{test}");
        count += 1;
    }
    assert!(count > 20);
}

/// The Rust code below a folder.
fn read_below(folder: &Path, into: &mut String) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_below(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
