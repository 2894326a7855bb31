use std::sync::Arc;

use arrow::array::{
    Array, Decimal128Array, Int32Array, ListArray, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use proptest::prelude::*;

use super::numeric::push_numeric;
use super::types::oid;
use super::*;

fn rows(columns: Vec<(&str, ArrayRef)>, format: ValueFormat) -> Vec<Vec<u8>> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let formats = vec![format; batch.num_columns()];
    let mut rows = Vec::new();
    let written = PgRows::new(&batch).unwrap();
    let all = written.each(0, &formats, |row| {
        rows.push(row.to_vec());
        true
    });
    assert_eq!(all.unwrap(), batch.num_rows());
    rows
}

#[test]
fn a_row_has_the_length_of_each_value() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(-7), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["ab", ""]));
    let columns = vec![("n", numbers), ("t", texts)];
    let text = rows(columns.clone(), ValueFormat::Text);
    assert_eq!(text[0], b"\0\x02\0\0\0\x02-7\0\0\0\x02ab");
    assert_eq!(text[1], b"\0\x02\xff\xff\xff\xff\0\0\0\0");
    let binary = rows(columns, ValueFormat::Binary);
    assert_eq!(binary[0], b"\0\x02\0\0\0\x04\xff\xff\xff\xf9\0\0\0\x02ab");
}

#[test]
fn rows_go_on_where_they_were_stopped() {
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..5));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let written = PgRows::new(&batch).unwrap();
    let mut seen = 0;
    let first = written.each(0, &[], |_| {
        seen += 1;
        seen < 2
    });
    assert_eq!(first.unwrap(), 2);
    assert_eq!(written.each(2, &[], |_| true).unwrap(), 3);
    assert_eq!(written.each(5, &[], |_| true).unwrap(), 0);
}

#[test]
fn an_array_has_its_dimension_and_type() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        Some(vec![]),
    ]);
    let field = Field::new("l", list.data_type().clone(), true);
    assert_eq!(pg_type(&field).oid, 1007);
    let written = rows(vec![("l", Arc::new(list))], ValueFormat::Binary);
    let mut expected = vec![0, 1, 0, 0, 0, 32];
    for word in [1, 1, 23, 2, 1, 4, 1, -1] {
        expected.extend_from_slice(&i32::to_be_bytes(word));
    }
    assert_eq!(written[0], expected);
    assert_eq!(
        &written[1][6..],
        [[0; 8].as_slice(), &[0, 0, 0, 23]].concat()
    );
}

#[test]
fn nested_lists_are_texts() {
    let item = Field::new_list_field(DataType::Int32, true);
    let inner = Field::new_list_field(DataType::List(Arc::new(item)), true);
    let field = Field::new("l", DataType::List(Arc::new(inner)), true);
    assert_eq!(pg_type(&field).oid, oid::TEXT);
}

#[test]
fn nanoseconds_are_rounded_to_microseconds() {
    let before = -1_i64;
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
        946_684_800_000_000_499,
        946_684_800_000_000_500,
        before,
    ]));
    let written = rows(vec![("t", times)], ValueFormat::Binary);
    let micros = |row: &Vec<u8>| i64::from_be_bytes(row[6..].try_into().unwrap());
    assert_eq!(micros(&written[0]), 0);
    assert_eq!(micros(&written[1]), 1);
    assert_eq!(micros(&written[2]), -946_684_800_000_000);
}

proptest! {
    #[test]
    fn numbers_keep_their_digits(value in any::<i128>(), shift in 0u32..127, scale in 0i8..=38) {
        let value = (value >> shift) % 10_i128.pow(38);
        let decimals = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale);
        let decimals: ArrayRef = Arc::new(decimals.unwrap());
        let text = rows(vec![("d", Arc::clone(&decimals))], ValueFormat::Text).remove(0);
        let binary = rows(vec![("d", decimals)], ValueFormat::Binary).remove(0);
        let read = numeric_text(&binary[6..]).unwrap();
        prop_assert_eq!(read.as_bytes(), &text[6..]);
    }

    #[test]
    fn numeric_reads_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = numeric_text(&bytes);
    }
}

/// What PostgreSQL 15 returns for `select numeric_send(…)`.
#[test]
fn numerics_are_those_of_postgres() {
    let cases = [
        ("0", "0000000000000000"),
        ("0.00", "0000000000000002"),
        ("12345.678", "0003000100000003000109291a7c"),
        ("-0.0001", "0001ffff400000040001"),
        ("10000", "00010001000000000001"),
        ("100000000.5", "00040002000000010001000000001388"),
    ];
    for (text, expected) in cases {
        let mut out = Vec::new();
        push_numeric(text, &mut out);
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{text}");
    }
}
