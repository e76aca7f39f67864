//! What values look like on the wire, against what PostgreSQL 16 prints.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;

use super::*;

fn encode(array: ArrayRef, format: Format, zone: &str) -> Vec<Option<Vec<u8>>> {
    let field = Arc::new(Field::new("x", array.data_type().clone(), true));
    let wire = WireType::of_field(&field);
    let columns = [WireColumn { field: Arc::clone(&field), wire, format }];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    let zone = Zone::find(zone).unwrap();
    let mut writers = column_writers(&columns, &batch, &zone).unwrap();
    (0..batch.num_rows())
        .map(|row| {
            let mut out = BytesMut::new();
            (!writers[0].is_null(row)).then(|| writers[0].value(row, &mut out))?;
            Some(out.to_vec())
        })
        .collect()
}

fn check(array: impl Array + 'static, expected: &[&str]) {
    let values = encode(Arc::new(array), Format::Text, "UTC");
    let values: Vec<String> = values
        .into_iter()
        .map(|value| value.map_or("NULL".into(), |value| String::from_utf8(value).unwrap()))
        .collect();
    assert_eq!(values, expected);
}

fn check_binary(array: impl Array + 'static, expected: &[u8]) {
    assert_eq!(encode(Arc::new(array), Format::Binary, "UTC"), [Some(expected.to_vec())]);
}

#[test]
fn floats_have_postgresqls_digits() {
    let values = [0.0, -0.0, 1.5, 1e14, 1e15, 123_456_789_012_345_680.0, 1e-4, 1.25e-5, f64::NAN, f64::INFINITY];
    let expected = [
        "0",
        "-0",
        "1.5",
        "100000000000000",
        "1e+15",
        "1.2345678901234568e+17",
        "0.0001",
        "1.25e-05",
        "NaN",
        "Infinity",
    ];
    check(Float64Array::from(values.to_vec()), &expected);
    check(Float32Array::from(vec![0.1, 123_456.0, 1_234_567.0, 1e6]), &["0.1", "123456", "1.234567e+06", "1e+06"]);
}

#[test]
fn integers_reach_their_ends() {
    check(Int64Array::from(vec![i64::MIN, 0, i64::MAX]), &["-9223372036854775808", "0", "9223372036854775807"]);
    check(UInt64Array::from(vec![Some(u64::MAX), None]), &["18446744073709551615", "NULL"]);
    check(BooleanArray::from(vec![true, false]), &["t", "f"]);
}

#[test]
fn timestamps_follow_the_zone_and_drop_nanoseconds() {
    let ns = vec![0, 1_767_225_600_123_456_789, -1, 1_751_328_000_000_000_000];
    check(
        TimestampNanosecondArray::from(ns.clone()),
        &["1970-01-01 00:00:00", "2026-01-01 00:00:00.123456", "1969-12-31 23:59:59.999999", "2025-07-01 00:00:00"],
    );
    let zoned: ArrayRef = Arc::new(TimestampNanosecondArray::from(ns).with_timezone("UTC"));
    let berlin = encode(zoned, Format::Text, "Europe/Berlin");
    assert_eq!(berlin[1].as_deref(), Some(&b"2026-01-01 01:00:00.123456+01"[..]));
    assert_eq!(berlin[3].as_deref(), Some(&b"2025-07-01 02:00:00+02"[..]));
    let kolkata: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0]).with_timezone("UTC"));
    assert_eq!(encode(kolkata, Format::Text, "Asia/Kolkata")[0].as_deref(), Some(&b"1970-01-01 05:30:00+05:30"[..]));
}

#[test]
fn dates_before_christ_and_far_away() {
    check(
        Date32Array::from(vec![0, 11_016, -719_528, 2_932_897]),
        &["1970-01-01", "2000-02-29", "0001-01-01 BC", "10000-01-01"],
    );
}

#[test]
fn intervals_show_signs_as_postgresql_does() {
    let interval = |months, days, us: i64| IntervalMonthDayNano::new(months, days, us * 1_000);
    let array = IntervalMonthDayNanoArray::from(vec![
        interval(0, 0, 0),
        interval(14, 3, 14_706_789_000),
        interval(-1, 1, -1_000_000),
        interval(0, -1, 3_600_000_000),
    ]);
    check(array, &["00:00:00", "1 year 2 mons 3 days 04:05:06.789", "-1 mons +1 day -00:00:01", "-1 days +01:00:00"]);
    check(DurationSecondArray::from(vec![90_061]), &["1 day 01:01:01"]);
}

#[test]
fn decimals_keep_their_scale_in_both_forms() {
    let decimal = |value: i128| Decimal128Array::from(vec![value]).with_precision_and_scale(20, 3).unwrap();
    check(decimal(-1_234_500), &["-1234.500"]);
    check_binary(decimal(-1_234_500), &[0, 2, 0, 0, 0x40, 0, 0, 3, 0x04, 0xd2, 0x13, 0x88]);
    check_binary(decimal(0), &[0, 0, 0, 0, 0, 0, 0, 3]);
}

#[test]
fn lists_are_arrays_and_objects_are_json() {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("a"), Some("b c"), None, Some("NULL"), Some("q\"\\"), Some("")]);
    list.append_value(Vec::<Option<&str>>::new());
    check(list.finish(), &[r#"{a,"b c",NULL,"NULL","q\"\\",""}"#, "{}"]);

    let object = StructArray::from(vec![
        (Arc::new(Field::new("n", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef),
        (Arc::new(Field::new("s", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef),
    ]);
    check(object, &[r#"{"n":1,"s":"x"}"#, r#"{"n":null,"s":"y"}"#]);

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    check(map.finish(), &[r#"{"k":7}"#]);
}

#[test]
fn binary_arrays_have_header_and_elements() {
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(5), None]);
    let mut expected = vec![];
    for word in [1_i32, 1, 23, 2, 1, 4, 5, -1] {
        expected.extend(word.to_be_bytes());
    }
    check_binary(list.finish(), &expected);
}

#[test]
fn dictionaries_and_runs_are_their_values() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("y"), Some("x")].into_iter().collect();
    check(dictionary, &["x", "NULL", "y", "x"]);
    let empty: DictionaryArray<Int8Type> = vec![None::<&str>].into_iter().collect();
    check(empty, &["NULL"]);
    let runs: RunArray<Int32Type> = vec!["a", "a", "b"].into_iter().collect();
    check(runs, &["a", "a", "b"]);
}

#[test]
fn bytes_are_hex() {
    check(BinaryArray::from(vec![&b"\x00\xffA"[..]]), &["\\x00ff41"]);
    check_binary(FixedSizeBinaryArray::try_from_iter([[1_u8, 2]].iter()).unwrap(), &[1, 2]);
}

#[test]
fn addresses_are_inet_by_their_metadata() {
    let field = Arc::new(probepilot_sql::types::field("a", probepilot_sql::SqlType::Inet, true, None));
    let wire = WireType::of_field(&field);
    assert_eq!(wire.oid, 869);
    let array: ArrayRef = Arc::new(StringViewArray::from(vec!["10.0.0.1"]));
    let columns = [WireColumn { field: Arc::clone(&field), wire, format: Format::Binary }];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    let mut out = BytesMut::new();
    let rows = data_rows(&columns, &batch, 0..1, &Zone::UTC, 1, &mut out).unwrap();
    assert_eq!(rows, 1);
    assert_eq!(&out[..], &[b'D', 0, 0, 0, 18, 0, 1, 0, 0, 0, 8, 2, 32, 0, 4, 10, 0, 0, 1]);
}

#[test]
fn a_slice_of_a_batch_writes_its_own_rows() {
    let mut list = ListBuilder::new(Int32Builder::new());
    (0..4).for_each(|value| list.append_value([Some(value)]));
    check(list.finish().slice(2, 2), &["{2}", "{3}"]);
}
