//! Rows that hold no more text than they show.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use probepilot_catalog::batch::Envelope;

/// Text that nothing shows is kept up to this size: copying costs more than it frees.
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// Copies the text of rows that were cut out of larger ones: log and tail would hold the whole.
pub fn compact(envelope: &mut Envelope) {
    for batch in &mut envelope.batches {
        let columns: Vec<Option<ArrayRef>> = batch.rows.columns().iter().map(compact_column).collect();
        if columns.iter().all(Option::is_none) {
            continue;
        }
        let old = batch.rows.columns();
        let columns = columns.into_iter().zip(old).map(|(new, old)| new.unwrap_or_else(|| old.clone())).collect();
        batch.rows =
            RecordBatch::try_new(batch.rows.schema(), columns).expect("columns keep their type and their length");
    }
}

/// The column with text of its own, or `None` when it has little to spare.
fn compact_column(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
            wasteful(held, || views.total_buffer_bytes_used()).then(|| Arc::new(views.gc()) as ArrayRef)
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
            wasteful(held, || views.total_buffer_bytes_used()).then(|| Arc::new(views.gc()) as ArrayRef)
        }
        _ => None,
    }
}

fn wasteful(held: usize, shown: impl Fn() -> usize) -> bool {
    held > SPARE_BYTES_MAX && held - SPARE_BYTES_MAX > 2 * shown()
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;
    use probepilot_catalog::batch::Batch;
    use probepilot_catalog::table::TableId;

    use super::*;

    #[test]
    fn a_slice_of_much_text_keeps_only_its_own() {
        let all =
            StringViewArray::from_iter_values((0..10_000).map(|n| format!("a text of more than twelve bytes {n}")));
        let rows = RecordBatch::try_from_iter([("text", Arc::new(all) as ArrayRef)]).expect("one column");
        let batches = vec![Batch { table: TableId(1), rows: rows.slice(5_000, 10) }];
        let mut envelope = Envelope { producer: "test".into(), epoch: 1, number: 1, batches };
        let before = envelope.memory_bytes();
        compact(&mut envelope);
        assert_eq!(envelope.batches[0].rows, rows.slice(5_000, 10));
        assert!(envelope.memory_bytes() < 1_000 && before > 100_000, "{} of {before}", envelope.memory_bytes());
    }
}
