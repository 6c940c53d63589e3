use super::*;
use crate::spec::event::Subject;

fn happening(id: usize) -> Happening {
    Happening::new(Subject::Volume, "create", id.to_string()).with("driver", "local")
}

fn ids(reader: &mut Reader) -> Vec<usize> {
    let mut ids = Vec::new();
    let mut take = |event: Event| {
        ids.push(event.what.id.parse().unwrap());
        io::Result::Ok(())
    };
    reader.read(&mut take).unwrap();
    ids
}

fn record() -> (tempfile::TempDir, Events) {
    let directory = tempfile::tempdir().unwrap();
    let events = Events { directory: directory.path().join("events") };
    (directory, events)
}

#[test]
fn what_is_recorded_is_read_once_and_in_order() {
    let (_directory, events) = record();
    let mut reader = events.reader();
    assert!(ids(&mut reader).is_empty());
    events.append(happening(1)).unwrap();
    events.append(happening(2)).unwrap();
    assert_eq!(ids(&mut reader), [1, 2]);
    assert!(ids(&mut reader).is_empty());
    events.append(happening(3)).unwrap();
    assert_eq!(ids(&mut reader), [3]);
    let mut times = Vec::new();
    let mut take = |event: Event| {
        times.push(event.time);
        io::Result::Ok(())
    };
    events.reader().read(&mut take).unwrap();
    assert!(times.len() == 3 && times.is_sorted());
}

#[test]
fn the_beginning_of_a_line_is_neither_read_nor_continued() {
    let (_directory, events) = record();
    events.append(happening(1)).unwrap();
    let mut reader = events.reader();
    open(&events.path(1)).unwrap().write_all(b"{\"time\":\"20").unwrap();
    assert_eq!(ids(&mut reader), [1]);
    events.append(happening(2)).unwrap();
    assert_eq!(ids(&mut reader), [2]);
    assert_eq!(ids(&mut events.reader()), [1, 2]);
}

#[test]
fn a_line_that_is_damaged_hides_no_other() {
    let (_directory, events) = record();
    events.append(happening(1)).unwrap();
    open(&events.path(1)).unwrap().write_all(b"\0\0\0\0\n").unwrap();
    events.append(happening(2)).unwrap();
    assert_eq!(ids(&mut events.reader()), [1, 2]);
}

#[test]
fn the_oldest_goes_and_a_reader_behind_goes_on_with_what_is_left() {
    let (_directory, events) = record();
    events.append(happening(0)).unwrap();
    let mut behind = events.reader();
    assert_eq!(ids(&mut behind), [0]);
    let filler = "x".repeat(100 << 10);
    for id in 1..80 {
        events.append(happening(id).with("filler", &filler)).unwrap();
    }
    assert_eq!(numbers(&events.directory).unwrap().len(), FILES);
    let kept = ids(&mut events.reader());
    assert!(kept.len() >= 30 && kept.last() == Some(&79) && kept.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let read = ids(&mut behind);
    assert!(read.len() > kept.len() && read.starts_with(&[1, 2]), "its own file first, then what is left: {read:?}");
}

#[test]
fn writers_at_once_lose_and_repeat_nothing() {
    let (_directory, events) = record();
    let mut reader = events.reader();
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let events = &events;
                let filler = "x".repeat(2000);
                scope.spawn(move || {
                    (0..400).for_each(|id| events.append(happening(writer * 1000 + id).with("f", &filler)).unwrap());
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            seen.extend(ids(&mut reader));
        }
    });
    seen.extend(ids(&mut reader));
    for writer in 0..4 {
        let own: Vec<usize> = seen.iter().copied().filter(|id| id / 1000 == writer).collect();
        assert_eq!(own, (0..400).map(|id| writer * 1000 + id).collect::<Vec<_>>());
    }
}
