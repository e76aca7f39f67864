//! `truncated` and `probe_error` of stored rows, through psql: in new tables, in altered ones and in those of an older server.

use std::path::Path;
use std::process::Stdio;

use probepilot_catalog::Control;

use crate::support::{Server, may_attach};

/// Every file that somebody tries to open in the directory of this number, which there is not.
const READS: &str = "SELECT tid, user_string(filename, 8) AS path FROM tracepoint.sys_enter_openat WHERE dfd = 1000001";
const READS_NOTHING: &str = "SELECT tid, 'none' AS path FROM tracepoint.sys_enter_openat WHERE dfd = 1000001";

/// Tries to open such a file.
fn open(path: &std::ffi::CStr) {
    open_at(path.as_ptr());
}

fn open_at(path: *const libc::c_char) {
    // SAFETY: the kernel reads a string, or refuses to where there is none; no file is opened in none.
    unsafe { libc::openat(1_000_001, path, libc::O_RDONLY) };
}

const ROWS: &str = "SELECT path, truncated, probe_error FROM opens ORDER BY time";

#[test]
fn kernel_rows_say_what_was_cut_and_what_could_not_be_read() {
    let Some(server) = Server::with_probes(&format!("CREATE PROBE opens AS {READS}")) else { return };
    let described = server.psql("\\d+ opens");
    let columns: Vec<&str> = described.lines().filter_map(|line| line.split('|').next()).collect();
    let first = columns.iter().position(|name| *name == "path").expect("the table has its columns");
    assert_eq!(columns[first..first + 3], ["path", "truncated", "probe_error"], "{described}");
    assert!(described.contains("longer than what was read"), "{described}");

    open(c"fits");
    open(c"exactly8");
    open(c"longer than eight");
    // Nothing lies at this address.
    open_at(std::ptr::without_provenance(8));
    server.wait_for(ROWS, "fits|f|\nexactly8|f|\nlonger t|t|\n|f|path: unreadable");
    let counted = "SELECT cause, max(count) FROM system.probe_loss WHERE probe = 'opens' GROUP BY 1 ORDER BY 1";
    server.wait_for(counted, "truncated|1\nunreadable|1");
    assert_eq!(server.psql("SELECT count(*) FROM opens WHERE NOT truncated AND probe_error IS NULL"), "2");

    // Who reads nothing has nothing to tell; the columns stay.
    server.psql(&format!("ALTER PROBE opens AS {READS_NOTHING}"));
    open(c"whatever");
    server.wait_for(&format!("{ROWS} DESC LIMIT 1"), "none|f|");
    server.psql(&format!("ALTER PROBE opens AS {READS}"));
    open(c"longer than eight");
    server.wait_for(&format!("{ROWS} DESC LIMIT 1"), "longer t|t|");

    let complaint = server.psql_error("CREATE PROBE p AS SELECT pid AS truncated FROM tracepoint.sys_enter_openat");
    assert!(complaint.contains("42939"), "{complaint}");
}

#[test]
fn kernel_a_probe_that_begins_to_read_has_them_from_then_on() {
    let Some(server) = Server::with_probes(&format!("CREATE PROBE opens AS {READS_NOTHING}")) else { return };
    assert!(!server.psql("\\d opens").contains("truncated"));
    open(c"before");
    server.wait_for("SELECT count(*) FROM opens", "1");
    server.psql(&format!("ALTER PROBE opens AS {READS}"));
    open(c"after");
    server.wait_for(ROWS, "none||\nafter|f|");
}

#[test]
fn kernel_a_table_of_an_older_server_gets_the_columns_of_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let old = format!("CREATE PROBE opens AS {READS_NOTHING}");
    if !may_attach() {
        return;
    }
    let server = Server::start(directory.path(), &[]);
    server.psql(&old);
    open(c"before");
    server.wait_for("SELECT count(*) FROM opens", "1");
    assert!(server.terminate().0.success());
    // To the table it looks as if the server that made it had not known the columns.
    set_text(directory.path(), "opens", &format!("CREATE PROBE opens AS {READS}"));

    let server = Server::start(directory.path(), &[]);
    assert_eq!(server.psql("SELECT state FROM system.probes WHERE name = 'opens'"), "running");
    open(c"longer than eight");
    server.wait_for(ROWS, "none||\nlonger t|t|");
}

/// Changes the text of a stored probe while no server runs.
fn set_text(directory: &Path, name: &str, sql: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let control = Control::open_sqlite(&directory.join("control.sqlite")).await.unwrap();
        let probe = control.probe_by_name(name).await.unwrap().expect("the probe is there");
        control.replace_probe(probe.id, sql).await.unwrap();
        control.close().await;
    });
}

#[test]
fn kernel_a_live_star_ends_with_them_and_a_select_list_is_what_was_written() {
    let Some(server) = Server::with_probes("") else { return };
    let ask = |list: &str, header: &str| {
        let mut psql = server.psql_command();
        // With the header and without the footer.
        psql.args(["-P", "tuples_only=off", "-P", "footer=off", "-c"]);
        psql.arg(format!("SELECT {list} FROM tracepoint.sys_enter_openat WHERE dfd = 1000001 LIMIT 1"));
        let mut psql = psql.stdout(Stdio::piped()).spawn().unwrap();
        while psql.try_wait().unwrap().is_none() {
            open(c"longer than eight");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().next().is_some_and(|line| line.ends_with(header)), "{text}");
        text.lines().nth(1).expect("a row").to_owned()
    };
    assert!(ask("*", "|mode|truncated|probe_error").ends_with("|f|"));
    assert_eq!(ask("user_string(filename, 8) AS path", "path"), "longer t");
    assert_eq!(ask("truncated, user_string(filename, 8) AS path", "truncated|path"), "t|longer t");
}
