//! Golden files: `rules/golden/NAME.rules` gives `NAME.listing` (the program, then warnings) or `NAME.err`.
//! `UPDATE_GOLDEN=1 cargo test -p rules-compiler --test golden` writes them anew.

use rules_compiler::{
    compile,
    diagnostic::{Colour, render},
};
use rules_program::Listing;
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Between the ends of the rules that expire.
const NOW: u64 = 1_700_000_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

fn sources() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut sources: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "rules")).collect();
    sources.sort();
    sources
}

#[test]
fn sources_give_what_is_written_beside_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        let text = fs::read_to_string(&source).expect("readable");
        let name = source.file_name().expect("a name").to_string_lossy().into_owned();
        let shown = |diagnostics: &[_]| render(diagnostics, &name, &text, Colour::Never);
        let (ending, found) = match compile(&text, NOW) {
            Ok(compiled) => {
                let listing = Listing::of(&compiled.program).expect("a program");
                ("listing", format!("{listing}\n{}", shown(&compiled.warnings())))
            }
            Err(errors) => ("err", shown(&errors)),
        };
        let golden = source.with_extension(ending);
        let found = found.trim_end().to_owned() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).expect("writable");
        }
        if fs::read_to_string(&golden).ok().as_ref() != Some(&found) {
            wrong.push(format!("{}:\n{found}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "differs from the golden file:\n{}", wrong.join("\n"));
}

#[test]
fn every_line_of_an_error_file_is_wrong() {
    let mut cases = 0;
    let lines = sources().into_iter().filter(|source| {
        let name = source.file_stem().expect("a name").to_string_lossy().into_owned();
        name.starts_with("err-") && !name.starts_with("err-file-")
    });
    for source in lines {
        let text = fs::read_to_string(&source).expect("readable");
        let errors = compile(&text, NOW).expect_err("errors");
        let found: BTreeSet<usize> = errors.iter().map(|error| error.span.line as usize).collect();
        assert_eq!(found, (1..=text.lines().count()).collect(), "{}", source.display());
        cases += found.len();
    }
    assert!(cases >= 100, "{cases}");
}

#[test]
fn the_manuals_examples_are_rules() {
    let manual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let manual = fs::read_to_string(manual).expect("docs/rules.md");
    let examples =
        manual.split("```rules\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut rules = 0;
    for example in examples {
        let compiled = compile(example, NOW).unwrap_or_else(|errors| {
            panic!("{}", render(&errors, "docs/rules.md", example, Colour::Never));
        });
        rules += compiled.file.rules.len();
    }
    assert!(rules >= 15, "{rules}");
}
