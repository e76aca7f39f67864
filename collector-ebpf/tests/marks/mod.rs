//! What rows say of strings that were cut and of memory that could not be read; the counters say the same.

use std::ffi::CString;

use arrow::array::{Array, AsArray};

use crate::host::host;
use crate::{Running, column, marks, own_pid, texts};

/// No such file: what is given to calls with it is read by probes, and by the kernel without effect.
const NO_FILE: i32 = 1_000_000;

/// An address at which nothing lies.
const NOWHERE: *const libc::c_char = std::ptr::without_provenance(8);

#[test]
fn a_row_says_what_was_cut_and_what_could_not_be_read() {
    let Some(kernel) = host() else { return };
    let hook = format!("FROM tracepoint.sys_enter_openat WHERE dfd = {NO_FILE} AND pid = {}", own_pid());
    let strings = "user_string(filename, 16) AS path, user_string(filename, 16) = 'short' AS is_short";
    let mut all = Running::start(&kernel, &format!("SELECT {strings} {hook}"), 1 << 20, 0);
    let mut cut = Running::start(&kernel, &format!("SELECT {strings} {hook} AND truncated"), 1 << 20, 0);
    let open = |path: *const libc::c_char| {
        // SAFETY: the kernel reads a string, or refuses to where there is none; no file is opened in none.
        unsafe { libc::openat(NO_FILE, path, libc::O_RDONLY) };
    };
    let [fits, long] = [16, 17].map(|bytes| CString::new("x".repeat(bytes)).unwrap());
    (0..3).for_each(|_| open(c"short".as_ptr()));
    open(fits.as_ptr());
    (0..2).for_each(|_| open(long.as_ptr()));
    (0..4).for_each(|_| open(NOWHERE));

    let rows = all.rows_until(|rows| rows.num_rows() == 10);
    let is_short = column(&rows, "is_short").as_boolean();
    let mut found: Vec<_> = (0..10)
        .map(|row| (texts(&rows, "path")[row].clone(), is_short.is_valid(row), marks(&rows)[row].clone()))
        .collect();
    found.sort();
    let kept = |path: &str, cut| (Some(path.to_owned()), true, (cut, None));
    let x16 = "x".repeat(16);
    let mut expected = vec![(None, false, (false, Some("path: unreadable".to_owned()))); 4];
    expected.extend(vec![kept("short", false); 3]);
    expected.extend([kept(&x16, false), kept(&x16, true), kept(&x16, true)]);
    assert_eq!(found, expected);
    let counters = all.probe.counters().unwrap();
    assert_eq!((counters.rows, counters.unreadable, counters.truncated), (10, 4, 2), "{counters:?}");

    let rows = cut.rows_until(|rows| rows.num_rows() == 2);
    assert_eq!(marks(&rows), [(true, None), (true, None)]);
}

#[test]
fn each_column_that_could_not_be_read_is_named() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT user_string(oldname) AS source, user_string(newname, 4) LIKE 'a%' AS begins \
         FROM tracepoint.sys_enter_renameat2 WHERE olddfd = {NO_FILE} AND pid = {}",
        own_pid()
    );
    let mut running = Running::start(&kernel, &sql, 1 << 20, 0);
    let [one, long] = ["a", "abcde"].map(|path| CString::new(path).unwrap());
    let pairs = [
        (NOWHERE, one.as_ptr()),
        (one.as_ptr(), NOWHERE),
        (NOWHERE, NOWHERE),
        (one.as_ptr(), long.as_ptr()),
        (NOWHERE, long.as_ptr()),
    ];
    for (source, target) in pairs {
        // SAFETY: the kernel reads strings, or refuses to where there are none; nothing can be moved from or to no directory.
        unsafe { libc::syscall(libc::SYS_renameat2, NO_FILE, source, NO_FILE, target, 0) };
    }
    let rows = running.rows_until(|rows| rows.num_rows() == pairs.len());
    let unreadable = |text: &str| Some(text.to_owned());
    let expected = [
        (false, unreadable("source: unreadable")),
        (false, unreadable("begins: unreadable")),
        (false, unreadable("source: unreadable, begins: unreadable")),
        (true, None),
        (true, unreadable("source: unreadable")),
    ];
    let (mut found, mut expected) = (marks(&rows), expected.to_vec());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let counters = running.probe.counters().unwrap();
    assert_eq!((counters.unreadable, counters.truncated), (5, 2), "{counters:?}");
}

#[test]
fn the_row_of_a_pair_says_what_its_start_could_not_read() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT user_string(e.filename, 4) AS path, x.ret FROM tracepoint.sys_enter_openat e \
         JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid WHERE e.dfd = {NO_FILE} AND x.pid = {}",
        own_pid()
    );
    let mut running = Running::start(&kernel, &sql, 1 << 20, 0);
    let [fits, long] = ["abcd", "abcde"].map(|path| CString::new(path).unwrap());
    for path in [fits.as_ptr(), long.as_ptr(), long.as_ptr(), NOWHERE] {
        // SAFETY: the kernel reads a string, or refuses to where there is none; no file is opened in none.
        unsafe { libc::openat(NO_FILE, path, libc::O_RDONLY) };
    }
    let rows = running.rows_until(|rows| rows.num_rows() == 4);
    let unreadable = Some("path: unreadable".to_owned());
    assert_eq!(marks(&rows), [(false, None), (true, None), (true, None), (false, unreadable)]);
    let path = |text: &str| Some(text.to_owned());
    assert_eq!(texts(&rows, "path"), [path("abcd"), path("abcd"), path("abcd"), None]);
    let counters = running.probe.counters().unwrap();
    assert_eq!((counters.rows, counters.unreadable, counters.truncated), (4, 1, 2), "{counters:?}");
}
