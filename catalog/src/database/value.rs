//! Values on their way into statements and out of rows, the same for both databases.

use chrono::{DateTime, Utc};
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo};
use sqlx::{Arguments, Decode, Postgres, Row as _, Sqlite, Type};
use uuid::Uuid;

use crate::error::CatalogError;

/// A statement's parameter.
#[derive(Clone, Debug)]
pub(crate) enum Parameter {
    Int(Option<i64>),
    Text(Option<String>),
    Boolean(Option<bool>),
    Time(DateTime<Utc>),
    Uuid(Uuid),
}

macro_rules! parameter_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Parameter {
            fn from(value: $from) -> Parameter {
                Parameter::$variant(Some(value.into()))
            }
        }
        impl From<Option<$from>> for Parameter {
            fn from(value: Option<$from>) -> Parameter {
                Parameter::$variant(value.map(Into::into))
            }
        }
    )*};
}

parameter_from!(i64 => Int, &str => Text, String => Text, bool => Boolean);

impl From<DateTime<Utc>> for Parameter {
    fn from(value: DateTime<Utc>) -> Parameter {
        Parameter::Time(value)
    }
}

impl From<Uuid> for Parameter {
    fn from(value: Uuid) -> Parameter {
        Parameter::Uuid(value)
    }
}

/// `parameters![a, b]`: values of several types as a statement's parameters.
macro_rules! parameters {
    ($($value:expr),* $(,)?) => { vec![$($crate::database::Parameter::from($value)),*] };
}
pub(crate) use parameters;

/// A time as both databases keep it: SQLite as text (the form DuckDB writes there, so that texts compare as times do).
pub(super) struct StoredTime(DateTime<Utc>);

/// A UUID: SQLite keeps it as text.
pub(super) struct StoredUuid(Uuid);

impl Type<Sqlite> for StoredTime {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for StoredTime {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.0.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string(), buffer)
    }
}

impl Type<Postgres> for StoredTime {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

/// PostgreSQL counts from 2000-01-01.
const POSTGRES_EPOCH_UNIX_MICROSECONDS: i64 = 946_684_800_000_000;

impl Encode<'_, Postgres> for StoredTime {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.0.timestamp_micros() - POSTGRES_EPOCH_UNIX_MICROSECONDS, buffer)
    }
}

impl Type<Sqlite> for StoredUuid {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for StoredUuid {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.0.to_string(), buffer)
    }
}

impl Type<Postgres> for StoredUuid {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2950))
    }
}

impl Encode<'_, Postgres> for StoredUuid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// What a database's driver takes.
pub(super) fn arguments<'q, A>(parameters: Vec<Parameter>) -> A
where
    A: Arguments,
    Option<i64>: Encode<'q, A::Database> + Type<A::Database>,
    Option<String>: Encode<'q, A::Database> + Type<A::Database>,
    Option<bool>: Encode<'q, A::Database> + Type<A::Database>,
    StoredTime: Encode<'q, A::Database> + Type<A::Database>,
    StoredUuid: Encode<'q, A::Database> + Type<A::Database>,
{
    let mut arguments = A::default();
    for parameter in parameters {
        match parameter {
            Parameter::Int(value) => arguments.add(value),
            Parameter::Text(value) => arguments.add(value),
            Parameter::Boolean(value) => arguments.add(value),
            Parameter::Time(value) => arguments.add(StoredTime(value)),
            Parameter::Uuid(value) => arguments.add(StoredUuid(value)),
        }
        .expect("these types have no value that cannot be encoded");
    }
    arguments
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of the column at `index`, from 0. SQLite's columns have no types to check against.
    pub fn get<T>(&self, index: usize) -> Result<T, CatalogError>
    where
        T: for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>,
    {
        match self {
            Row::Sqlite(row) => row.try_get_unchecked(index),
            Row::Postgres(row) => row.try_get_unchecked(index),
        }
        .map_err(|source| CatalogError::Database { attempted: "read a row of the catalog", source })
    }
}
