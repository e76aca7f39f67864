//! `probepilot explain` and `probepilot hooks`: what this kernel offers and what a probe becomes, without a server.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use datafusion::sql::sqlparser::ast;
use probepilot_collector_ebpf::compile::{CompileOptions, compile};
use probepilot_collector_ebpf::functions::process::{NoFacts, ProcessFacts};
use probepilot_collector_ebpf::kernel::{HookKind, Kernel, sampling};
use probepilot_sql::statement::{ProbeQuery, Statement};
use probepilot_sql::{SqlError, hooks};

/// Writes the plan, and the program when `verbose`, of every probe and hook query in a file.
pub fn explain(file: &Path, verbose: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let place = |error: SqlError| anyhow::anyhow!(quote(&file.display().to_string(), &text, &error));
    let kernel = Kernel::of_host().context("cannot read the hooks of this kernel")?;
    let facts: Arc<dyn ProcessFacts> = Arc::new(NoFacts); // Only running a program asks for them.
    for parsed in probepilot_sql::parse(&text).map_err(place)? {
        let (name, stored, query) = match parsed.statement {
            Statement::CreateProbe(probe) => (probe.name.value.clone(), true, probe.query),
            Statement::Sql(sql) => match *sql {
                ast::Statement::Query(query) if hooks::mentions_hook(&query) => {
                    ("query".to_owned(), false, ProbeQuery { text: text.as_str().into(), query, comments: Vec::new() })
                }
                _ => bail!("{}: only CREATE PROBE and SELECTs on hooks can be explained here", file.display()),
            },
            _ => bail!("{}: only CREATE PROBE and SELECTs on hooks can be explained here", file.display()),
        };
        let options = CompileOptions { name, node: String::new(), excluded_tgid: None, stored, weighted: false };
        let compiled = compile(&query, &kernel, &facts, &options).map_err(place)?;
        for line in compiled.explain(verbose) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Lists the hooks whose name fits `pattern`, where `*` stands for anything.
pub fn hooks(pattern: &str, verbose: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let kernel = Kernel::of_host().context("cannot read the hooks of this kernel")?;
    let mut found = false;
    for name in kernel.hooks() {
        if !fits(pattern, &name.name) {
            continue;
        }
        found = true;
        writeln!(out, "{}.{}", name.kind.schema(), name.name)?;
        if !verbose {
            continue;
        }
        match kernel.hook(&[name.kind.schema(), name.name.as_str()]) {
            Ok(hook) => hook.fields.iter().try_for_each(|field| writeln!(out, "    {}", field.declaration))?,
            Err(error) => writeln!(out, "    {error}")?,
        }
    }
    for (name, hook) in sampling::all().filter(|(name, _)| fits(pattern, &name.name)) {
        found = true;
        match hook.kind {
            HookKind::Profile => writeln!(out, "profile(hertz)")?,
            _ => writeln!(out, "perf('{}', period)", name.name)?,
        }
        if verbose {
            hook.fields.iter().try_for_each(|field| writeln!(out, "    {}", field.declaration))?;
        }
    }
    if found { Ok(()) } else { bail!("no hook of this kernel fits \"{pattern}\"") }
}

/// `*` stands for any run of characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(start) => rest = &rest[start + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// An error as psql shows it: the line and a mark under the place.
fn quote(file: &str, text: &str, error: &SqlError) -> String {
    let mut message = format!("{file}: {}: {}", error.state, error.message);
    if let Some(position) = error.position {
        let before: String = text.chars().take(position as usize - 1).collect();
        let line_number = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let line = text.lines().nth(line_number - 1).unwrap_or_default();
        let label = format!("LINE {line_number}: ");
        message.push_str(&format!("\n{label}{line}\n{}^", " ".repeat(label.len() + column)));
    }
    for (word, sentence) in [("DETAIL", &error.detail), ("HINT", &error.hint)] {
        if let Some(sentence) = sentence {
            message.push_str(&format!("\n{word}:  {sentence}"));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("tcp*", "tcp_probe", true),
            ("*tcp*", "sched_tcp_x", true),
            ("tcp_probe", "tcp_probe", true),
            ("tcp", "tcp_probe", false),
            ("*", "anything", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_error_is_shown_at_its_place() {
        let error =
            SqlError::new(probepilot_sql::SqlState::UNDEFINED_COLUMN, "column \"x\" does not exist").at(Some(17));
        let shown = quote("a.sql", "SELECT pid,\n    x FROM t", &error);
        assert_eq!(shown, "a.sql: 42703: column \"x\" does not exist\nLINE 2:     x FROM t\n            ^");
    }
}
