//! Source files, goldens and probes that nothing reaches: they compile to nothing and are never run.

use std::path::{Path, PathBuf};

use super::{File, Findings, Tree};

/// Where the built-in probes are.
pub const PROBES: &str = "collector-ebpf/probes";

/// Where their goldens are: what the compiler decided for each.
pub const PROBE_GOLDENS: &str = "collector-ebpf/tests/golden";

/// Where their kernel tests are: the event is made to happen and its row is found through psql.
pub const PROBE_TESTS: &str = "api/tests/end_to_end/kernel_probes";

pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for file in tree.with_extension("rs") {
        if !is_reached(tree, &file.path) {
            findings.error(format!("{}: no `mod` reaches this file, so it is never compiled", file.path.display()));
        }
    }
    for file in &tree.files {
        if is_golden(&file.path) && !is_golden_read(tree, &file.path) {
            findings.error(format!("{}: no test reads this golden", file.path.display()));
        }
    }
    for probe in tree.with_extension("sql").filter(|file| file.path.starts_with(PROBES)) {
        check_probe(tree, probe, findings);
    }
}

/// Says whether cargo compiles the file: as a root of its own, or by a `mod` of a file beside or above it.
fn is_reached(tree: &Tree, path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if is_crate_root(path) {
        return true;
    }
    let (directory, module) = if stem == "mod" {
        let module = path.parent().unwrap_or(Path::new(""));
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (module.parent().unwrap_or(Path::new("")).to_path_buf(), name)
    } else {
        (path.parent().unwrap_or(Path::new("")).to_path_buf(), stem.into_owned())
    };
    let by_path = format!("{}\"", path.file_name().unwrap_or_default().to_string_lossy());
    tree.with_extension("rs").any(|parent| {
        let declares = is_parent(&parent.path, &directory) && declares_module(&parent.text, &module);
        let names = parent.text.lines().any(|line| {
            let line = line.trim_start();
            (line.starts_with("#[path") || line.contains("include!(")) && line.contains(&by_path)
        });
        declares || (names && parent.path != path)
    })
}

/// Files that cargo finds by where they are.
fn is_crate_root(path: &Path) -> bool {
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    // Below a crate's `src` a folder called tests is a module like any other.
    let in_source = parts.iter().rev().skip(1).any(|part| *part == "src");
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "build.rs"] => true,
        [.., "src", "bin", _] => true,
        [.., "tests" | "benches" | "examples", name] => !in_source && *name != "mod.rs",
        [.., "tests" | "benches" | "examples", _, "main.rs"] => !in_source,
        // The fuzzer's targets: their names stand in `fuzz/Cargo.toml`, and `cargo xtask fuzz` builds each.
        ["fuzz", "targets", _] => true,
        _ => false,
    }
}

/// Says whether a `mod x;` in `parent` looks for `x` in `directory`.
fn is_parent(parent: &Path, directory: &Path) -> bool {
    let stem = parent.file_stem().unwrap_or_default();
    let home = parent.parent().unwrap_or(Path::new(""));
    if stem == "mod" || is_crate_root(parent) { home == directory } else { home.join(stem) == directory }
}

fn declares_module(text: &str, module: &str) -> bool {
    let wanted = format!("mod {module};");
    text.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let line = line.strip_prefix("pub(super) ").unwrap_or(line);
        line.starts_with(&wanted)
    })
}

fn is_golden(path: &Path) -> bool {
    path.iter().any(|part| part == "golden" || part == "goldens")
}

/// Says whether a Rust file of the same crate names the golden, its stem, or reads its directory whole.
///
/// A golden of a built-in probe has the probe's stem, and the tests go over all of them.
fn is_golden_read(tree: &Tree, golden: &Path) -> bool {
    let krate = golden.iter().take_while(|part| *part != "tests" && *part != "src").collect::<PathBuf>();
    let stem = golden.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stem = stem.split('.').next().unwrap_or_default().to_owned();
    let of_probe = tree.get(&Path::new(PROBES).join(format!("{stem}.sql"))).is_some();
    let directory = golden.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    tree.with_extension("rs").filter(|file| file.path.starts_with(&krate)).any(|file| {
        let whole_directory = file.text.contains("read_dir") && file.text.contains(&format!("{directory}\""));
        let all_probes = of_probe && file.text.contains("builtin()") && file.text.contains("golden");
        file.text.contains(&format!("\"{stem}\""))
            || file.text.contains(&format!("{stem}."))
            || whole_directory
            || all_probes
    })
}

fn check_probe(tree: &Tree, probe: &File, findings: &mut Findings) {
    let path = probe.path.display();
    let stem = probe.path.file_stem().unwrap_or_default().to_string_lossy();
    if tree.get(&Path::new(PROBE_TESTS).join(format!("{stem}.rs"))).is_none() {
        findings.error(format!("{path}: no kernel test {PROBE_TESTS}/{stem}.rs"));
    }
    let golden = tree.files.iter().any(|file| {
        file.path.starts_with(PROBE_GOLDENS)
            && file.path.file_name().is_some_and(|name| name.to_string_lossy().split('.').next() == Some(stem.as_ref()))
    });
    if !golden {
        findings.error(format!("{path}: no golden {PROBE_GOLDENS}/**/{stem}.*"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| File { path: path.into(), text: (*text).into() }).collect() }
    }

    fn errors(files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Findings::default();
        check(&tree(files), &mut findings);
        findings.errors
    }

    #[test]
    fn a_file_without_its_mod_is_found() {
        let reached = [("c/src/lib.rs", "pub mod a; // A.\n"), ("c/src/a.rs", "mod b;\n"), ("c/src/a/b.rs", "")];
        assert_eq!(errors(&reached), Vec::<String>::new());
        let forgotten = [("c/src/lib.rs", "pub mod a;\n"), ("c/src/a.rs", ""), ("c/src/a/b.rs", "")];
        assert_eq!(errors(&forgotten), ["c/src/a/b.rs: no `mod` reaches this file, so it is never compiled"]);
    }

    #[test]
    fn a_module_of_another_directory_does_not_reach_it() {
        let files =
            [("c/src/lib.rs", "mod a;\nmod x;\n"), ("c/src/a.rs", ""), ("c/src/x.rs", ""), ("c/src/a/x.rs", "")];
        assert_eq!(errors(&files).len(), 1);
    }

    #[test]
    fn a_test_file_in_a_folder_needs_a_mod_and_one_beside_it_none() {
        let files = [("c/tests/whole.rs", ""), ("c/tests/part/main.rs", "mod one;\n"), ("c/tests/part/one.rs", "")];
        assert_eq!(errors(&files), Vec::<String>::new());
        let files = [("c/tests/part/main.rs", ""), ("c/tests/part/one.rs", "")];
        assert_eq!(errors(&files).len(), 1);
    }

    #[test]
    fn a_folder_of_tests_in_the_source_is_a_module_like_any_other() {
        let files = [("c/src/lib.rs", "mod tests;\n"), ("c/src/tests/mod.rs", ""), ("c/src/tests/one.rs", "")];
        assert_eq!(errors(&files), ["c/src/tests/one.rs: no `mod` reaches this file, so it is never compiled"]);
    }

    #[test]
    fn a_path_attribute_reaches_a_file() {
        let files =
            [("c/tests/a/main.rs", "#[path = \"../support/mod.rs\"]\nmod support;\n"), ("c/tests/support/mod.rs", "")];
        assert_eq!(errors(&files), Vec::<String>::new());
    }

    #[test]
    fn a_golden_without_a_test_is_found() {
        let read = [("c/tests/plan.rs", "check(\"filter\");\n"), ("c/tests/golden/filter.txt", "")];
        assert_eq!(errors(&read), Vec::<String>::new());
        let forgotten = [("c/tests/plan.rs", "check(\"other\");\n"), ("c/tests/golden/filter.txt", "")];
        assert_eq!(errors(&forgotten), ["c/tests/golden/filter.txt: no test reads this golden"]);
    }

    #[test]
    fn a_probe_needs_a_kernel_test_and_a_golden() {
        let probe = ("collector-ebpf/probes/signal.sql", "");
        assert_eq!(errors(&[probe]).len(), 2);
        let whole = [
            probe,
            ("api/tests/end_to_end/main.rs", "mod kernel_probes;\n"),
            ("api/tests/end_to_end/kernel_probes.rs", "mod signal;\n"),
            ("api/tests/end_to_end/kernel_probes/signal.rs", ""),
            ("collector-ebpf/tests/golden/probes/signal.txt", ""),
            ("collector-ebpf/tests/probes.rs", "for probe in builtin() { golden(probe) }\n"),
        ];
        assert_eq!(errors(&whole), Vec::<String>::new());
    }
}
