//! The log on real files: order, repeats, crashes, damage, back-pressure.

use std::fs;
use std::path::Path;
use std::time::Instant;

use futures::TryStreamExt;
use probepilot_catalog::batch::Batch;
use probepilot_catalog::table::TableId;

use super::*;
use crate::source::Source;

const CREDIT: usize = 1 << 30;

fn envelope(number: u64, rows: u64) -> Envelope {
    let source = Source::new(1);
    let batches = (1..=2)
        .map(|table| Batch { table: TableId(table), rows: source.rows(number * 1_000 * table as u64, rows) })
        .collect();
    Envelope { producer: "node".into(), epoch: 5, number, batches }
}

fn open(directory: &Path, committed: u64) -> Log {
    let options = LogOptions { file_bytes_max: 64 * 1024, ..LogOptions::new(directory) };
    Log::open(options, committed).expect("the log opens")
}

async fn append(log: &Log, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        log.append(envelope(number, 20), Durability::Process).await.expect("the disk has room");
    }
}

async fn read(log: &Log, after: u64, until: u64) -> Vec<(u64, Arc<Envelope>)> {
    let entries = log.subscribe(after, Arc::new(Semaphore::new(CREDIT)));
    let entries = entries.try_take_while(|entry| {
        let wanted = entry.sequence <= until;
        async move { Ok(wanted) }
    });
    if log.head() > until {
        return entries.map_ok(|entry| (entry.sequence, entry.envelope)).try_collect().await.expect("it can be read");
    }
    let mut entries = Box::pin(entries);
    let mut found = Vec::new();
    while found.last().is_none_or(|(sequence, _)| *sequence < until) {
        let entry = entries.try_next().await.expect("it can be read").expect("the log is open");
        found.push((entry.sequence, entry.envelope));
    }
    found
}

fn check_rows(found: &[(u64, Arc<Envelope>)], numbers: impl IntoIterator<Item = u64>) {
    let numbers: Vec<u64> = numbers.into_iter().collect();
    assert_eq!(found.iter().map(|(_, envelope)| envelope.number).collect::<Vec<_>>(), numbers);
    for (_, found) in found {
        let sent = envelope(found.number, 20);
        assert_eq!((&found.producer, found.epoch), (&sent.producer, sent.epoch));
        for (found, sent) in found.batches.iter().zip(&sent.batches) {
            assert_eq!(found.table, sent.table);
            assert_eq!(found.rows, sent.rows);
        }
    }
}

fn log_files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).expect("it is there").map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn what_was_appended_is_read_in_order_from_memory_and_after_a_start_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=100).await;
    assert_eq!(log.head(), 100);
    check_rows(&read(&log, 0, 100).await, 1..=100);
    check_rows(&read(&log, 60, 100).await, 61..=100);
    log.close().await;

    let log = open(directory.path(), 0);
    assert!(log_files(directory.path()).len() > 2, "files are rolled");
    assert_eq!((log.head(), log.damage()), (100, &[][..]));
    check_rows(&read(&log, 0, 100).await, 1..=100);
    append(&log, 101..=110).await;
    check_rows(&read(&log, 50, 110).await, 51..=110);
}

#[tokio::test]
async fn a_subscriber_goes_from_files_to_live_entries_without_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=50).await;
    log.close().await;
    let log = Arc::new(open(directory.path(), 0));
    let mut entries = log.subscribe(0, Arc::new(Semaphore::new(CREDIT)));
    let writing = {
        let log = log.clone();
        tokio::spawn(async move { append(&log, 51..=300).await })
    };
    for sequence in 1..=300 {
        let entry = entries.try_next().await.unwrap().expect("the log is open");
        assert_eq!((entry.sequence, entry.envelope.number), (sequence, sequence));
    }
    writing.await.unwrap();
    log.close().await;
    assert!(entries.try_next().await.unwrap().is_none(), "the stream ends with the log");
}

#[tokio::test]
async fn a_repeated_envelope_gets_its_old_sequence_also_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=3).await;
    assert_eq!(log.append(envelope(2, 20), Durability::Sync).await.unwrap(), 2);
    log.close().await;
    let log = open(directory.path(), 0);
    assert_eq!(log.append(envelope(2, 20), Durability::Process).await.unwrap(), 2);
    assert_eq!(log.append(envelope(4, 20), Durability::Sync).await.unwrap(), 4);
    assert_eq!(log.head(), 4);
}

#[tokio::test]
async fn an_entry_costs_little_more_than_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=1).await;
    let with_schemas = log.bytes();
    for number in 2..=11 {
        log.append(envelope(number, 3), Durability::Process).await.unwrap();
    }
    let entry = (log.bytes() - with_schemas) / 10;
    assert!(entry < 1_700, "{entry} bytes for two tables of three rows");
}

#[tokio::test]
async fn a_torn_end_is_cut_and_the_rest_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=5).await;
    log.close().await;
    let path = log_files(directory.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in [1, 31, 32, 33, 500] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let log = open(directory.path(), 0);
        assert_eq!((log.head(), log.damage()), (4, &[][..]), "cut by {cut}");
        check_rows(&read(&log, 0, 4).await, 1..=4);
        log.close().await;
    }
    let log = open(directory.path(), 0);
    append(&log, 5..=6).await;
    check_rows(&read(&log, 0, 6).await, 1..=6);
}

#[tokio::test]
async fn a_damaged_entry_in_the_middle_is_reported_and_the_rest_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=5).await;
    log.close().await;
    let path = log_files(directory.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut reader = file::EntryReader::open(&path).unwrap();
    let mut places = Vec::new();
    loop {
        let offset = reader.offset();
        match reader.step().unwrap() {
            file::Step::Entry { header, .. } if header.kind == format::EntryKind::Envelope => places.push(offset),
            file::Step::Entry { .. } => {}
            _ => break,
        }
    }
    let third = places[2] as usize;
    for (at, rows) in [(third + 100, Some(40)), (third + 20, None), (third, None)] {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        fs::write(&path, &broken).unwrap();
        let log = open(directory.path(), 0);
        let damage = Damage { path: path.clone(), offset: third as u64, first: 3, last: 3, rows };
        assert_eq!(log.damage(), &[damage], "byte {at}");
        assert_eq!(log.head(), 5);
        check_rows(&read(&log, 0, 5).await, [1, 2, 4, 5]);
        log.close().await;
    }
    let log = open(directory.path(), 3);
    assert_eq!(log.damage(), &[], "what is committed is in segments");
}

#[tokio::test]
async fn entries_whose_schema_is_damaged_are_counted_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=3).await;
    log.close().await;
    let path = log_files(directory.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut reader = file::EntryReader::open(&path).unwrap();
    let (mut schema, mut envelopes) = (0, Vec::new());
    loop {
        let offset = reader.offset();
        match reader.step().unwrap() {
            file::Step::Entry { header, .. } if header.kind == format::EntryKind::Schema => schema = offset,
            file::Step::Entry { .. } => envelopes.push(offset),
            _ => break,
        }
    }
    // In its payload, and in its header, so that nothing says that it was a schema.
    for at in [schema + 40, schema + 20] {
        let mut broken = whole.clone();
        broken[at as usize] ^= 0x55;
        fs::write(&path, &broken).unwrap();
        for committed in [0, 2] {
            let log = open(directory.path(), committed);
            let lost = (1..).zip(&envelopes).filter(|(sequence, _)| *sequence > committed).map(|(sequence, offset)| {
                Damage { path: path.clone(), offset: *offset, first: sequence, last: sequence, rows: Some(40) }
            });
            assert_eq!(log.damage(), lost.collect::<Vec<_>>(), "byte {at}, {committed} committed");
            assert_eq!(log.head(), 3);
            log.close().await;
        }
    }
}

#[tokio::test]
async fn files_are_trimmed_and_sequences_never_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=100).await;
    let before = log_files(directory.path()).len();
    log.trim(60);
    let after = log_files(directory.path()).len();
    assert!(after < before && after >= 1, "{before} files, then {after}");
    check_rows(&read(&log, 60, 100).await, 61..=100);
    log.close().await;
    log.trim(100);
    assert_eq!(log_files(directory.path()).len(), 0);
    let log = open(directory.path(), 100);
    log.learn(&"node".into(), 5, 100);
    assert_eq!(log.append(envelope(99, 20), Durability::Process).await.unwrap(), 100, "a repeat");
    append(&log, 101..=101).await;
    assert_eq!(log.head(), 101);
    check_rows(&read(&log, 100, 101).await, [101]);
}

#[tokio::test]
async fn a_power_cut_that_took_committed_entries_from_the_log_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    append(&log, 1..=5).await;
    log.close().await;
    let log = open(directory.path(), 9);
    assert_eq!((log.head(), log.damage()), (9, &[][..]));
    append(&log, 10..=11).await;
    log.close().await;
    let log = open(directory.path(), 9);
    assert_eq!(log.damage(), &[]);
    check_rows(&read(&log, 9, 11).await, [10, 11]);
}

#[tokio::test]
async fn appends_wait_for_a_subscriber_without_credit_and_are_refused_after_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions {
        behind_bytes_max: 20_000,
        append_wait_max: Duration::from_millis(50),
        ..LogOptions::new(directory.path())
    };
    let log = Log::open(options, 0).unwrap();
    let mut entries = log.subscribe(0, Arc::new(Semaphore::new(1)));
    append(&log, 1..=1).await;
    let held = entries.try_next().await.unwrap().expect("it takes all the credit");
    let waiting = tokio::spawn(async move {
        let entry = entries.try_next().await.unwrap().expect("the log is open");
        (entry.sequence, entries)
    });
    let mut number = 2;
    let refusal = loop {
        match log.append(envelope(number, 20), Durability::Process).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.state, SqlState::OUT_OF_MEMORY);
    assert!((3..100).contains(&number), "{number} were taken");
    let head = log.head();
    drop(held);
    let (sequence, mut entries) = waiting.await.unwrap();
    assert_eq!(sequence, 2);
    while entries.try_next().await.unwrap().expect("the log is open").sequence < head {}
    log.append(envelope(number, 20), Durability::Process).await.expect("there is room again");
}

#[tokio::test]
async fn a_paused_log_refuses_and_goes_on_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 0);
    log.pause(Some("the disk is nearly full".into()));
    let error = log.append(envelope(1, 20), Durability::Sync).await.unwrap_err();
    assert_eq!((error.state, error.message.as_str()), (SqlState::DISK_FULL, "the disk is nearly full"));
    log.pause(None);
    append(&log, 1..=1).await;
    log.close().await;
    let error = log.append(envelope(2, 20), Durability::Sync).await.unwrap_err();
    assert_eq!(error.state, SqlState::ADMIN_SHUTDOWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_senders_at_once_are_synced_in_groups() {
    let directory = tempfile::tempdir().unwrap();
    let log = Arc::new(open(directory.path(), 0));
    let begun = Instant::now();
    let senders = (0..32).map(|sender| {
        let log = log.clone();
        tokio::spawn(async move {
            for number in 1..=10 {
                let envelope = Envelope { producer: format!("client {sender}").into(), ..envelope(number, 1) };
                log.append(envelope, Durability::Sync).await.unwrap();
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    assert_eq!(log.head(), 320);
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(read(&log, 0, 320).await.len(), 320);
}
