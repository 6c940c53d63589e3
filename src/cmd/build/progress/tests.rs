use std::time::Duration;

use super::lines::Lines;
use super::plain::Plain;
use super::raw::Raw;
use super::tty::Board;
use super::{Display, Mode};
use crate::build::event::{Ended, Event};
use crate::cmd::format::human;

fn declared(vertex: usize, name: &str) -> [Event; 2] {
    [Event::Declared { vertex, name: name.to_owned(), inputs: Vec::new() }, Event::Started { vertex }]
}

fn output(vertex: usize, text: &str) -> Event {
    Event::Output { vertex, stream: 1, bytes: text.as_bytes().to_vec() }
}

fn done(vertex: usize, outcome: Ended) -> Event {
    Event::Done { vertex, outcome, elapsed: Duration::from_millis(1240) }
}

fn plain(events: &[Event]) -> String {
    let mut out = Vec::new();
    let mut display = Plain::new(&mut out);
    events.iter().for_each(|event| display.event(event));
    display.end();
    drop(display);
    let text = String::from_utf8(out).unwrap();
    // The clock of a step's output.
    regex::Regex::new(r"(?m)^(#\d+) \d+\.\d{3} ").unwrap().replace_all(&text, "$1 T ").into_owned()
}

#[test]
fn pieces_become_lines() {
    let mut lines = Lines::default();
    assert!(lines.take(b"a").is_empty());
    assert_eq!(lines.take(b"b\nc\r\n\n10%\r20%\nrest"), ["ab", "c", "", "20%"]);
    assert_eq!(lines.end().as_deref(), Some("rest"));
    assert_eq!(lines.end(), None);
    assert_eq!(lines.take(&[b'x'; 70_000]).len(), 1, "a line without end is cut");
}

#[test]
fn plain_lines_are_buildkits() {
    let events = [
        &declared(0, "[internal] load build definition from Dockerfile")[..],
        &[done(0, Ended::Made)],
        &declared(1, "[1/2] FROM busybox"),
        &[done(1, Ended::Cached)],
        &declared(2, "[2/2] RUN make"),
        &[output(2, "one\ntw"), output(2, "o"), done(2, Ended::Failed("exit code: 1".to_owned()))],
    ]
    .concat();
    let expected = "#1 [internal] load build definition from Dockerfile\n#1 DONE 1.2s\n\n#2 [1/2] FROM busybox\n#2 CACHED\n\n\
                    #3 [2/2] RUN make\n#3 T one\n#3 T two\n#3 ERROR: exit code: 1\n";
    assert_eq!(plain(&events), expected);
}

#[test]
fn steps_at_the_same_time_are_told_one_after_the_other() {
    let events = [
        &declared(0, "a")[..],
        &declared(1, "b"),
        &[output(0, "a1\n"), output(1, "b1\n"), output(0, "a2\n"), done(1, Ended::Made), done(0, Ended::Canceled)],
    ]
    .concat();
    assert_eq!(plain(&events), "#1 a\n#1 T a1\n#1 T a2\n#1 CANCELED\n\n#2 b\n#2 T b1\n#2 DONE 1.2s\n");
}

#[test]
fn nobody_gets_what_a_terminal_would_act_on() {
    let events = [&declared(0, "a\u{1b}[2J")[..], &[output(0, "\u{1b}[31mred\n"), done(0, Ended::Made)]].concat();
    assert_eq!(plain(&events), "#1 a\\x1b[2J\n#1 T red\n#1 DONE 1.2s\n");
}

#[test]
fn a_table_fits_its_terminal() {
    let mut board = Board::new();
    let name = "[2/2] RUN echo 漢字 and a long line that goes on and on and on and on and on and on";
    for event in [&declared(0, "[1/2] FROM x")[..], &[done(0, Ended::Cached)], &declared(1, name)].concat() {
        board.take(&event);
    }
    (0..20).for_each(|number| board.take(&output(1, &format!("line {number}\n"))));
    for width in [20, 40, 80] {
        let rows = board.rows(width, 24, false);
        assert!(rows.iter().all(|row| human::width(&row.text) <= width), "{width}");
        assert_eq!(rows.len(), 3 + 6);
        assert!(rows[0].text.starts_with("[+] Building "));
        assert!(rows.last().unwrap().text.ends_with("# line 19"));
    }
    let rows = board.rows(80, 24, false);
    assert!(rows[1].text.starts_with(" => CACHED [1/2] FROM x") && rows[1].text.ends_with(" 1.2s"), "{}", rows[1].text);
    let rows = board.rows(80, 4, false);
    assert_eq!(rows.len(), 4, "what runs is shown, what ended goes first");
    assert!(rows[3].text.ends_with("# line 19"));
    board.take(&done(1, Ended::Failed("exit code: 1".to_owned())));
    let rows = board.rows(80, usize::MAX, true);
    assert_eq!(rows.len(), 3);
    assert!(rows[2].text.starts_with(" => ERROR [2/2] RUN"));
}

#[test]
fn documents_are_buildkits() {
    let mut out = Vec::new();
    let mut display = Raw::new(&mut out);
    let events = [&declared(0, "a")[..], &[output(0, "hi"), done(0, Ended::Cached)]].concat();
    events.iter().for_each(|event| display.event(event));
    display.end();
    drop(display);
    let text = String::from_utf8(out).unwrap();
    let documents: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents[1]["vertexes"][0]["name"], "a");
    assert_eq!(documents[2]["logs"][0]["data"], "aGk=");
    assert_eq!(documents[2]["logs"][0]["vertex"], documents[1]["vertexes"][0]["digest"]);
    assert_eq!(documents[3]["vertexes"][0]["cached"], true);
}

#[test]
fn modes() {
    assert_eq!("rawjson".parse(), Ok(Mode::RawJson));
    assert_eq!(
        "fancy".parse::<Mode>().unwrap_err(),
        "invalid progress mode \"fancy\": it is auto, plain, tty, quiet or rawjson"
    );
}
