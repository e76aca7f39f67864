//! Names that look alike, for hints.

/// Names of a hint at most.
const NAMES_MAX: usize = 3;

/// The names nearest to `wanted`, best first; none when nothing is similar.
pub(super) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let far = (wanted.chars().count() / 3).max(1) + usize::from(wanted.chars().count() > 3);
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = distance(&wanted, &lower);
            let contained =
                wanted.len() >= 3 && (lower.contains(&wanted) || wanted.contains(&lower) && lower.len() >= 3);
            (distance <= far || contained).then_some((distance, name))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(NAMES_MAX).map(|(_, name)| name).collect()
}

/// A sentence that offers the names, or `None` without any.
pub(super) fn hint(names: &[&str]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.as_slice() {
        [] => None,
        [only] => Some(format!("Perhaps you meant {only}.")),
        [most @ .., last] => Some(format!("Perhaps you meant {} or {last}.", most.join(", "))),
    }
}

/// Edits (insert, remove, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_come_first_and_strange_ones_not_at_all() {
        let names = ["process_exec", "process_exit", "tcp_state", "signal"];
        assert_eq!(nearest("proces_exec", names), ["process_exec", "process_exit"]);
        assert_eq!(nearest("zzz", names), Vec::<&str>::new());
        assert_eq!(hint(&nearest("signl", names)).unwrap(), "Perhaps you meant \"signal\".");
    }
}
