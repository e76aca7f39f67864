//! Log-linear buckets: integers from zero on, small ones exactly, larger ones to an eighth of their power of two.
//!
//! A value from 0 to 15 has a bucket of its own. Every power of two above has eight buckets, so a bucket is at most an
//! eighth as wide as its least value, and its middle differs from any value in it by at most 1/16: 6.25 %.

/// Buckets that values can fall into, rounded up to a power of two, by which the kernel bounds the index.
pub const BUCKETS: usize = 512;

/// The bits behind the highest one that tell buckets apart.
pub const FINE_BITS: u32 = 3;

/// Values below it are their own bucket.
pub const EXACT_BELOW: i64 = 1 << (FINE_BITS + 1);

/// The bucket of a value; `None` below zero.
pub fn bucket(value: i64) -> Option<usize> {
    let value = u64::try_from(value).ok()?;
    if value < EXACT_BELOW as u64 {
        return usize::try_from(value).ok();
    }
    let shift = value.ilog2() - FINE_BITS;
    usize::try_from((u64::from(shift) << FINE_BITS) + (value >> shift)).ok()
}

/// The least value of a bucket, and the least above it.
pub fn bounds(bucket: usize) -> (i64, i64) {
    let bucket = bucket as i64;
    if bucket < EXACT_BELOW {
        return (bucket, bucket + 1);
    }
    let shift = (bucket >> FINE_BITS) - 1;
    let fine = (bucket & ((1 << FINE_BITS) - 1)) | 1 << FINE_BITS;
    let begin = (fine as u64) << shift;
    (begin as i64, i64::try_from(begin + (1_u64 << shift)).unwrap_or(i64::MAX))
}

/// The value that stands for a bucket: its middle.
pub fn middle(bucket: usize) -> i64 {
    let (begin, end) = bounds(bucket);
    begin + (end - 1 - begin) / 2
}

/// The value below or at which this share of the counted values lies; `None` when nothing was counted.
pub fn percentile(counts: &[u64], share: f64) -> Option<i64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
    let mut below = 0;
    for (index, count) in counts.iter().enumerate() {
        below += count;
        if below >= rank {
            return Some(middle(index));
        }
    }
    None
}

/// `[[begin, end, count], …]` of the buckets that have values: from `begin` on, below `end`.
pub fn json(counts: &[u64]) -> String {
    let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let filled: Vec<String> = filled
        .map(|(index, count)| {
            let (begin, end) = bounds(index);
            format!("[{begin}, {end}, {count}]")
        })
        .collect();
    format!("[{}]", filled.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_near_its_middle() {
        let mut values: Vec<i64> = (0..5_000).collect();
        values.extend((0..63).flat_map(|bit| [(1_i64 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        values.push(i64::MAX);
        for value in values {
            let index = bucket(value).unwrap();
            assert!(index < BUCKETS, "{value}");
            let (begin, end) = bounds(index);
            assert!(begin <= value && (value < end || end == i64::MAX), "{value} is not in {begin}..{end}");
            let error = (middle(index) - value).abs() as f64;
            assert!(error <= value as f64 / 16.0, "{value} is told as {}", middle(index));
        }
        assert_eq!(bucket(-1), None);
    }

    #[test]
    fn buckets_join_without_gaps() {
        for index in 0..487 {
            assert_eq!(bounds(index).1, bounds(index + 1).0, "{index}");
        }
    }

    #[test]
    fn percentiles_are_values_of_that_rank() {
        let mut counts = vec![0; BUCKETS];
        for value in 1..=10 {
            counts[bucket(value).unwrap()] += 1;
        }
        let shares = [0.0, 0.1, 0.5, 0.51, 0.99, 1.0];
        assert_eq!(shares.map(|share| percentile(&counts, share)), [1, 1, 5, 6, 10, 10].map(Some));
        assert_eq!(percentile(&[0; BUCKETS], 0.5), None);
        assert_eq!(json(&counts[..3]), "[[1, 2, 1], [2, 3, 1]]");
    }
}
