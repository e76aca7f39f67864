//! Who and where: the session's functions.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState};

use super::by_row::{ByRow, fail, list, number, text, utf8, wrong};
use crate::engine::settings::SERVER_VERSION;
use crate::pg_catalog::PG_CATALOG;

/// All of them.
pub(super) fn all() -> Vec<ScalarUDF> {
    let user: super::by_row::Body = |statement, _| Ok(utf8(statement.session().options.user.as_str()));
    let database: super::by_row::Body = |statement, _| Ok(utf8(statement.session().options.database.as_str()));
    let mut functions = vec![
        ByRow::new("version", 0, 0, DataType::Utf8, |statement, _| {
            let ours = statement.engine().version();
            Ok(utf8(format!("PostgreSQL {SERVER_VERSION} (ProbePilot {ours}) on {}", std::env::consts::ARCH)))
        }),
        ByRow::new("current_schema", 0, 0, DataType::Utf8, |statement, _| {
            let path = statement.session().settings.lock().search_path();
            Ok(ScalarValue::Utf8(path.into_iter().next()))
        }),
        ByRow::new("current_schemas", 1, 1, DataType::new_list(DataType::Utf8, true), |statement, arguments| {
            let mut path = statement.session().settings.lock().search_path();
            if matches!(arguments[0], ScalarValue::Boolean(Some(true))) && !path.iter().any(|name| name == PG_CATALOG) {
                path.insert(0, PG_CATALOG.to_owned());
            }
            Ok(list(&path))
        }),
        ByRow::new("pg_backend_pid", 0, 0, DataType::Int32, |statement, _| {
            Ok(ScalarValue::Int32(Some(statement.session().options.process_id)))
        }),
        ByRow::new("current_setting", 1, 2, DataType::Utf8, |statement, arguments| {
            let Some(name) = text(&arguments[0]) else { return wrong("current_setting", &arguments[0]) };
            match statement.session().settings.lock().get(name) {
                Ok(value) => Ok(utf8(value)),
                Err(_) if matches!(arguments.get(1), Some(ScalarValue::Boolean(Some(true)))) => {
                    Ok(ScalarValue::Utf8(None))
                }
                Err(error) => fail(error),
            }
        }),
        ByRow::new("set_config", 3, 3, DataType::Utf8, |statement, arguments| {
            let (Some(name), Some(value)) = (text(&arguments[0]), text(&arguments[1])) else {
                return wrong("set_config", &arguments[0]);
            };
            let mut settings = statement.session().settings.lock();
            let local = matches!(arguments[2], ScalarValue::Boolean(Some(true)));
            let set = if local { settings.set_local(name, value) } else { settings.set(name, value) };
            match set.and_then(|()| settings.get(name)) {
                Ok(value) => Ok(utf8(value)),
                Err(error) => fail(error),
            }
        })
        .volatile(),
        ByRow::new("inet_client_addr", 0, 0, DataType::Utf8, |statement, _| {
            Ok(ScalarValue::Utf8(statement.session().options.client_address.clone()))
        }),
        ByRow::new("pg_is_in_recovery", 0, 0, DataType::Boolean, |_, _| Ok(ScalarValue::Boolean(Some(false)))),
        ByRow::new("pg_advisory_unlock_all", 0, 0, DataType::Utf8, |_, _| Ok(utf8(""))),
        ByRow::new("txid_current", 0, 0, DataType::Int64, |statement, _| {
            Ok(ScalarValue::Int64(Some(statement.pin().manifest().snapshot)))
        }),
        ByRow::new(
            "pg_postmaster_start_time",
            0,
            0,
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            |statement, _| {
                let started = statement.session().started_unix_ns;
                Ok(ScalarValue::TimestampNanosecond(Some(started), Some("UTC".into())))
            },
        ),
        ByRow::new("pg_cancel_backend", 1, 1, DataType::Boolean, |statement, arguments| {
            let Some(process_id) = number(&arguments[0]).and_then(|number| i32::try_from(number).ok()) else {
                return wrong("pg_cancel_backend", &arguments[0]);
            };
            let queries = statement.engine().queries();
            let options = &statement.session().options;
            let others =
                queries.running().iter().any(|query| query.process_id == process_id && query.user != options.user);
            if others && options.role != "admin" {
                let message = "permission denied to cancel query";
                return fail(
                    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                        .detail("Only admins may cancel queries of other users."),
                );
            }
            Ok(ScalarValue::Boolean(Some(queries.cancel_session(process_id) > 0)))
        })
        .volatile(),
    ];
    functions.extend(
        ["current_user", "session_user", "user", "current_role"]
            .map(|name| ByRow::new(name, 0, 0, DataType::Utf8, user)),
    );
    functions
        .extend(["current_database", "current_catalog"].map(|name| ByRow::new(name, 0, 0, DataType::Utf8, database)));
    functions.into_iter().map(ByRow::into_udf).collect()
}
