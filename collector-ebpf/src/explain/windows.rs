//! What EXPLAIN says of a query that aggregates: keys and states, and what is done when a window is closed.

use crate::compile::CompiledProbe;
use crate::compile::aggregate::WindowParts;
use crate::compile::aggregate::plan::{
    Aggregate, Bucket, Cells, KEYS_DEFAULT, MAP_BYTES_DEFAULT, Source, WindowPlan, map_bytes,
};
use crate::compile::pair::Pair;
use crate::compile::split::Split;

/// What runs where, in a line.
pub(crate) fn summary(split: &Split, pair: Option<&Pair>, plan: &WindowPlan) -> String {
    let mut parts = vec![match plan.bucket {
        Some(bucket) => format!("windows of {}", duration(bucket)),
        None => "one window".to_owned(),
    }];
    parts.extend(super::events(split, pair));
    let after: Vec<&str> = plan
        .aggregates
        .iter()
        .filter(|aggregate| !in_kernel(aggregate))
        .map(|aggregate| aggregate.text.as_str())
        .collect();
    if after.is_empty() {
        parts.push("aggregated in kernel".to_owned());
    } else {
        parts.push(format!("{} over the kernel's groups", after.join(", ")));
    }
    parts.join("; ")
}

fn in_kernel(aggregate: &Aggregate) -> bool {
    matches!(aggregate.source, Source::Kernel(_))
}

/// The lines about windows, groups and aggregates.
pub(crate) fn lines(probe: &CompiledProbe, parts: &WindowParts) -> Vec<String> {
    let (plan, split) = (&parts.plan, probe.split.as_ref());
    let mut lines = vec![match plan.bucket {
        Some(bucket) => format!("Window: {}, closed by exchanging the map", duration(bucket)),
        None => "Window: one, until the query's bound on time".to_owned(),
    }];
    for (index, group) in split.outputs[..plan.groups].iter().enumerate() {
        let place = if split.in_kernel[index] { "in kernel" } else { "of each of the kernel's groups" };
        lines.push(format!("Key: {}, {place}", group.text));
    }
    for aggregate in &plan.aggregates {
        let place = match aggregate.source {
            Source::Kernel(input) => format!("in kernel, {}", cells(&plan.inputs[input].cells)),
            Source::After { .. } => "over the kernel's groups".to_owned(),
        };
        lines.push(format!("Aggregate {:?}: {place}: {}", aggregate.function, aggregate.text));
    }
    for column in &probe.columns {
        lines.push(format!("Column {}: {}", column.name, column.sql_type.sql()));
    }
    let maps = probe.object.windows.expect("a query with windows has their maps");
    let (key_bytes, value_bytes) = (maps.key_bytes, maps.value_bytes);
    let bound = match maps.keys_max {
        Some(keys_max) => {
            let bytes = map_bytes(key_bytes, value_bytes, keys_max, 1);
            format!("{keys_max} groups; {bytes} bytes on a host with one CPU")
        }
        None => {
            format!("{KEYS_DEFAULT} groups, or fewer that take {} MiB; set max_keys for more", MAP_BYTES_DEFAULT >> 20)
        }
    };
    lines.push(format!("Maps: two per-CPU hashes, key {key_bytes} bytes, state {value_bytes} bytes; {bound}"));
    lines
}

fn cells(cells: &Cells) -> String {
    let Cells { count, sum, squares, greatest, least, buckets } = cells;
    let named = [
        ("count", count),
        ("sum", sum),
        ("squares", squares),
        ("greatest", greatest),
        ("least", least),
        ("buckets", buckets),
    ];
    let placed: Vec<String> =
        named.iter().filter_map(|(name, offset)| offset.map(|offset| format!("{name} at {offset}"))).collect();
    placed.join(", ")
}

fn duration(bucket: Bucket) -> String {
    let ns = bucket.width_ns;
    if ns % 1_000_000_000 == 0 { format!("{} s", ns / 1_000_000_000) } else { format!("{} ms", ns as f64 / 1e6) }
}
