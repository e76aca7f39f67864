//! How a segment is laid out: schema, encodings, statistics.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use probepilot_catalog::manifest::Table;
use probepilot_catalog::table::{element_column_id, time_column};

/// Rows of a row group: the unit by which scans divide work and skip rows.
pub const ROW_GROUP_ROWS: usize = 262_144;

/// Rows of a page: what the page index can skip inside a row group.
const PAGE_ROWS: usize = 16_384;

/// Compression of files cut from the log, which live for an hour or so.
pub const ZSTD_LEVEL_CUT: i32 = 1;

/// Compression of merged files, which live as long as their rows.
pub const ZSTD_LEVEL_MERGED: i32 = 3;

/// The layout of a table's files.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The Arrow schema inside the file: the table's, with field ids.
    pub schema: SchemaRef,
    /// What the writer is told.
    pub options: ArrowWriterOptions,
}

/// The layout of `table` at a zstd level.
pub fn layout(table: &Table, zstd_level: i32) -> Result<Layout, ParquetError> {
    let schema = with_field_ids(table);
    let parquet_schema = ArrowSchemaConverter::new().convert(&without_zone(&schema))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_created_by(concat!("probepilot ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(time_column(&schema).map(|time| {
            // Every column, a list too, is one of the file's.
            vec![SortingColumn { column_idx: time as i32, descending: false, nulls_first: false }]
        }));
    for field in schema.fields() {
        properties = encode_column(properties, field);
    }
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_parquet_schema(parquet_schema);
    Ok(Layout { schema, options })
}

fn encode_column(properties: WriterPropertiesBuilder, field: &Field) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(field.name().as_str());
    let plain = |properties: WriterPropertiesBuilder, encoding| {
        properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column.clone(), encoding)
    };
    match field.data_type() {
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(_, _) => {
            plain(properties, Encoding::DELTA_BINARY_PACKED)
        }
        DataType::Float32 | DataType::Float64 => plain(properties, Encoding::BYTE_STREAM_SPLIT),
        // A dictionary first; this is for what does not fit it.
        DataType::Utf8View | DataType::BinaryView => {
            properties.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY)
        }
        _ => properties,
    }
}

/// The table's schema with DuckLake's column ids as Parquet field ids.
fn with_field_ids(table: &Table) -> SchemaRef {
    let fields = table.schema.fields().iter().zip(&table.column_ids).map(|(field, id)| {
        let mut metadata: HashMap<String, String> = field.metadata().clone();
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
        let data_type = match field.data_type() {
            DataType::List(element) => DataType::List(Arc::new(element.as_ref().clone().with_metadata(HashMap::from(
                [(PARQUET_FIELD_ID_META_KEY.to_owned(), element_column_id(*id).to_string())],
            )))),
            other => other.clone(),
        };
        field.as_ref().clone().with_metadata(metadata).with_data_type(data_type)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows of the table's schema in the schema of its files.
pub fn fitted(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type() {
        DataType::List(_) => cast(column, field.data_type()),
        _ => Ok(Arc::clone(column)),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// Other engines keep nanoseconds only in timestamps without zone; ours is in the Arrow schema beside it.
fn without_zone(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => field.as_ref().clone().with_data_type(DataType::Timestamp(*unit, None)),
        _ => field.as_ref().clone(),
    });
    Schema::new(fields.collect::<Vec<_>>())
}
