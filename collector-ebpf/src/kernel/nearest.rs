//! The names closest to a misspelt one, for hints.

/// Names in a hint.
const NEAREST_MAX: usize = 3;

/// Up to three of `names` that look like `wanted`, best first: a few letters differ, or one contains the other.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_ascii_lowercase();
    // A third of the letters may be wrong; with fewer than three letters everything would be near.
    let distance_max = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_ascii_lowercase();
            let close = distance(&wanted, &lower, distance_max);
            // An exec looked for as `process_exec` or a whole name cut short: right letters, wrong length.
            let contained = || {
                let (short, long) = if wanted.len() < lower.len() { (&wanted, &lower) } else { (&lower, &wanted) };
                (short.len() >= 4 && long.contains(short.as_str())).then(|| distance_max + long.len() - short.len())
            };
            close.or_else(contained).map(|distance| (distance, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup_by(|a, b| a.1 == b.1);
    near.into_iter().take(NEAREST_MAX).map(|(_, name)| name).collect()
}

/// Letters to insert, delete or replace (or neighbours to swap) to make `b` of `a`; `None` above `max`.
fn distance(a: &str, b: &str, max: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > max {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    Some(above[b.len()]).filter(|distance| *distance <= max)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const NAMES: [&str; 5] =
        ["sched_process_exec", "sched_process_exit", "sched_process_fork", "sys_enter_openat", "sys_enter_openat2"];

    #[track_caller]
    fn check(wanted: &str, expected: &[&str]) {
        assert_eq!(nearest(wanted, NAMES), expected, "near {wanted}");
    }

    #[test]
    fn a_letter_off_comes_first() {
        check("sched_proces_exec", &["sched_process_exec", "sched_process_exit", "sched_process_fork"]);
        check("sys_enter_opneat", &["sys_enter_openat", "sys_enter_openat2"]);
    }

    #[test]
    fn a_part_of_a_name_finds_the_name() {
        check("process_exec", &["sched_process_exec"]);
        check("openat", &["sys_enter_openat", "sys_enter_openat2"]);
    }

    #[test]
    fn nothing_is_near_to_nonsense() {
        check("zzzzzz", &[]);
        check("", &[]);
    }
}
