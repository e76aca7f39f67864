//! What the kernel itself counts in files of /proc.

/// The sums over all processors of the lines of a file like /proc/softirqs, by what is before the colon.
pub fn per_cpu_counts(file: &str) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, rest)| (name.trim().to_owned(), sum(rest))).collect()
}

fn sum(counts: &str) -> u64 {
    counts.split_whitespace().map_while(|word| word.parse::<u64>().ok()).sum()
}
